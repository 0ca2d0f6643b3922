/* SPDX-License-Identifier: MIT */
/* A service that only owes webhooks, for test_deliver.py: a real store in a file, commands on
 * standard input, an answer of one line to each.
 *
 *     create URL SECRET|- [bfl]
 *                           a task, of the first dialect or that one; its id
 *     begin                 claim the oldest task; its id
 *     complete ID           finish it
 *     start                 deliver; the options are this program's arguments
 *     stop GRACE_MS
 *     wake
 *     list                  the outbox: "id task state tries status delivered dead error" | …
 *     redeliver ID
 *     check URL             "ok", or why not
 *     forget ID             render it as gone from now on
 *     skip SECONDS          set the store's clock forward
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/store.h"
#include "webhooks/webhooks.h"

#define BACKOFF_MAX 16

static struct store *store;
static struct webhooks *webhooks;
static struct webhooks_options options = {.secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
static unsigned backoff_s[BACKOFF_MAX];
static int64_t key_id;
static _Atomic int64_t skipped_ms;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows */
static char forgotten[TASK_ID_CHARS + 1];

static int64_t store_now_ms(void *ctx)
{
    (void)ctx;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + atomic_load(&skipped_ms);
}

static enum err render(void *ctx, const struct outbox_entry *e, struct buf *out, struct errmsg *em)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    bool gone = strcmp(e->task_id, forgotten) == 0;
    pthread_mutex_unlock(&lock);
    if (gone)
        return err_set(em, ERR_NOTFOUND, "no task %s", e->task_id);
    return buf_printf(out, em, "{\"task_id\":\"%s\",\"status\":\"%s\"}", e->task_id,
                      task_state_name(e->state));
}

static void log_line(void *ctx, const char *level, const char *message)
{
    (void)ctx;
    fprintf(stderr, "%s %s\n", level, message);
}

static enum err make_key(struct errmsg *em)
{
    char *text = NULL;
    struct api_key key;
    enum err rc = store_key_create(store, "test", 0, -1, &text, &key, em);
    free(text);
    if (rc == ERR_CONFLICT) { /* the file is from before a restart */
        key_id = 1;
        return ERR_OK;
    }
    if (rc)
        return rc;
    key_id = key.id;
    api_key_deinit(&key);
    return ERR_OK;
}

static enum err create(char *url, char *secret, const char *dialect, struct errmsg *em)
{
    char prompt[] = "an apple", model[] = "nano", format[] = "png";
    struct gen_request request = {
        .prompt = prompt,
        .width_px = 256,
        .height_px = 256,
        .model = model,
        .format = format,
        .webhook_url = url,
        .webhook_secret = strcmp(secret, "-") == 0 ? NULL : secret,
    };
    struct task_new n = {.key_id = key_id,
                         .dialect = strcmp(dialect, "bfl") ? DIALECT_MAGNIFIC : DIALECT_BFL,
                         .request = &request};
    struct task task;
    bool existing;
    enum err rc = store_task_create(store, &n, &task, &existing, em);
    if (rc)
        return rc;
    printf("%s\n", task.id);
    task_deinit(&task);
    return ERR_OK;
}

static enum err begin(struct errmsg *em)
{
    struct task task;
    enum err rc = store_task_claim(store, "driver", 60000, &task, em);
    if (rc)
        return rc;
    printf("%s\n", task.id);
    task_deinit(&task);
    return ERR_OK;
}

static enum err complete(const char *id, struct errmsg *em)
{
    struct task_result result = {.blob = "picture"};
    enum err rc = store_task_complete(store, id, "driver", &result, em);
    if (!rc)
        printf("ok\n");
    return rc;
}

static void print_entry(void *ctx, const struct outbox_entry *e)
{
    (void)ctx;
    printf("%" PRId64 " %s %s %u %d %d %d %s|", e->id, e->task_id, task_state_name(e->state),
           e->tries, e->last_status, e->delivered_ms != 0, e->dead,
           e->last_error ? e->last_error : "-");
}

static enum err list(struct errmsg *em)
{
    enum err rc = store_outbox_list(store, false, 1000, print_entry, NULL, em);
    if (!rc)
        printf("\n");
    return rc;
}

static enum err redeliver(const char *id, struct errmsg *em)
{
    size_t n;
    enum err rc = store_outbox_redeliver(store, strtoll(id, NULL, 10), &n, em);
    if (!rc)
        printf("%zu\n", n);
    return rc;
}

static enum err obey(const char *verb, char *a, char *b, const char *c, struct errmsg *em)
{
    enum err rc = ERR_OK;
    if (strcmp(verb, "create") == 0)
        return create(a, b, c, em);
    if (strcmp(verb, "begin") == 0)
        return begin(em);
    if (strcmp(verb, "complete") == 0)
        return complete(a, em);
    if (strcmp(verb, "list") == 0)
        return list(em);
    if (strcmp(verb, "redeliver") == 0)
        return redeliver(a, em);
    if (strcmp(verb, "check") == 0)
        rc = webhook_url_check(a, options.allow_private, em);
    else if (strcmp(verb, "start") == 0)
        rc = webhooks_start(&options, &webhooks, em);
    else if (strcmp(verb, "skip") == 0)
        atomic_fetch_add(&skipped_ms, 1000 * strtoll(a, NULL, 10));
    else if (strcmp(verb, "wake") == 0)
        webhooks_wake(webhooks);
    else if (strcmp(verb, "stop") == 0) {
        webhooks_stop(webhooks, (unsigned)strtoul(a, NULL, 10));
        webhooks = NULL;
    } else if (strcmp(verb, "forget") == 0) {
        pthread_mutex_lock(&lock);
        snprintf(forgotten, sizeof forgotten, "%s", a);
        pthread_mutex_unlock(&lock);
    } else
        return err_set(em, ERR_USAGE, "unknown command %s", verb);
    if (!rc)
        printf("ok\n");
    return rc;
}

static void read_backoff(char *list)
{
    for (char *p = list; *p && options.n_backoff < BACKOFF_MAX; p += *p == ',')
        backoff_s[options.n_backoff++] = (unsigned)strtoul(p, &p, 10);
    options.backoff_s = backoff_s;
}

/* DATABASE allow_private concurrency per_host timeout_ms backoff,backoff… */
static bool read_arguments(int argc, char **argv)
{
    if (argc != 7)
        return false;
    options.allow_private = strcmp(argv[2], "1") == 0;
    options.concurrency = strtoul(argv[3], NULL, 10);
    options.per_host = strtoul(argv[4], NULL, 10);
    options.timeout_ms = (unsigned)strtoul(argv[5], NULL, 10);
    options.render = render;
    options.log = log_line;
    read_backoff(argv[6]);
    return true;
}

int main(int argc, char **argv)
{
    struct errmsg em;
    char line[4096], verb[32], a[3000], b[300], c[8];
    struct store_options so = {.path = argc > 1 ? argv[1] : NULL, .now_ms = store_now_ms};
    if (!read_arguments(argc, argv) || store_open(&so, &store, &em) || make_key(&em))
        return 1;
    options.store = store;
    signal(SIGXFSZ, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        a[0] = b[0] = c[0] = '\0';
        if (sscanf(line, "%31s %2999s %299s %7s", verb, a, b, c) < 1)
            continue;
        if (obey(verb, a, b, c, &em))
            printf("error: %s\n", em.text);
    }
    webhooks_stop(webhooks, 0);
    store_close(store);
    return 0;
}

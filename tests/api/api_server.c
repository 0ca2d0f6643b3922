/* SPDX-License-Identifier: MIT */
/* The api on its own, for tests: a server in an empty folder, and a worker, a webhook receiver
 * and an operator that do what a line on standard input says. Each line is answered by one line
 * of JSON; the first line tells where the server is. */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "api/api.h"
#include "base/file.h"
#include "base/mem.h"
#include "image/image.h"

#define WORKER "the test's worker"
#define LEASE_MS 60000

struct test_server {
    struct store *store;
    struct blobs *blobs;
    struct api *api;
    struct http_server *http;
    struct task claimed;
    const char *access_path;
    atomic_int webhooks_owed;
    atomic_bool ready, stop;
};

static void die(const char *what, const struct errmsg *em)
{
    fprintf(stderr, "%s: %s\n", what, em->text);
    exit(1);
}

static void say(json_t *take)
{
    char *text = json_dumps(take, JSON_COMPACT);
    printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(take);
}

static void say_result(enum err rc, const struct errmsg *em)
{
    say(rc ? json_pack("{s:s, s:i}", "error", em->text, "code", (int)rc) : json_pack("{}"));
}

/* ---- what the api calls ---- */

static enum err check_webhook_url(const char *url, struct errmsg *em)
{
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return err_set(em, ERR_FORMAT, "must be an absolute http or https URL");
    if (strstr(url, "//127."))
        return err_set(em, ERR_FORMAT, "leads to a private address");
    return ERR_OK;
}

/* The bytes of the file that the URL names. */
static enum err read_picture(struct reach_item *item, struct buf *out)
{
    if (strncmp(item->url, "http://files", 12) != 0)
        return err_set(&item->em, ERR_FORMAT, "cannot be fetched: there is nothing at this URL");
    enum err rc = file_read(item->url + 12, 64 << 20, out, &item->em);
    item->bytes = out->ptr;
    item->len = out->len;
    return rc;
}

static enum err reach_begin(void *ctx, struct reach *r, struct errmsg *em)
{
    (void)ctx;
    struct buf *files = calloc(r->n, sizeof *files);
    if (!files)
        return err_nomem(em, r->n * sizeof *files);
    r->impl = files;
    for (size_t i = 0; i < r->n; i++) {
        struct reach_item *item = &r->items[i];
        item->rc =
            item->look ? check_webhook_url(item->url, &item->em) : read_picture(item, &files[i]);
    }
    r->finished(r->ctx);
    return ERR_OK;
}

static void reach_end(void *ctx, struct reach *r)
{
    struct buf *files = r->impl;
    (void)ctx;
    for (size_t i = 0; i < r->n; i++)
        buf_deinit(&files[i]);
    free(files);
}

static void webhook_owed(void *ctx)
{
    atomic_fetch_add(&((struct test_server *)ctx)->webhooks_owed, 1);
}

static bool worker_ready(void *ctx)
{
    return atomic_load(&((struct test_server *)ctx)->ready);
}

static void log_line(void *ctx, const char *level, const char *message)
{
    (void)ctx;
    fprintf(stderr, "%s: %s\n", level, message);
}

static void access_log(void *ctx, const char *json_line)
{
    const struct test_server *s = ctx;
    FILE *f = fopen(s->access_path, "a");
    if (f) {
        fprintf(f, "%s\n", json_line);
        fclose(f);
    }
}

static void *watch_main(void *ctx)
{
    struct test_server *s = ctx;
    for (int64_t seen = 0; !atomic_load(&s->stop); usleep(5000)) {
        int64_t now = store_version(s->store);
        if (now != seen)
            api_store_changed(s->api);
        seen = now;
    }
    return NULL;
}

/* ---- what a line says ---- */

static void do_key(struct test_server *s, char *args)
{
    char name[65];
    long long rate, credits;
    char *text;
    struct api_key key;
    struct errmsg em;
    if (sscanf(args, "%64s %lld %lld", name, &rate, &credits) != 3)
        exit(2);
    enum err rc = store_key_create(s->store, name, rate, credits, &text, &key, &em);
    if (rc) {
        say_result(rc, &em);
        return;
    }
    say(json_pack("{s:s, s:s}", "key", text, "prefix", key.prefix));
    free(text);
    api_key_deinit(&key);
}

static void do_claim(struct test_server *s, char *args)
{
    struct errmsg em;
    struct task t;
    (void)args;
    enum err rc = store_task_claim(s->store, WORKER, LEASE_MS, &t, &em);
    if (rc) {
        say_result(rc, &em);
        return;
    }
    task_deinit(&s->claimed);
    s->claimed = t;
    const struct gen_request *r = &t.request;
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:i, s:i, s:b, s:s, s:s}", "task_id", t.id, "prompt", r->prompt,
                  "seed", (json_int_t)r->seed, "width", (int)r->width_px, "height",
                  (int)r->height_px, "enhance", r->enhance, "format", r->format, "model", r->model);
    json_t *references = json_array();
    for (size_t i = 0; i < r->n_references; i++)
        json_array_append_new(references, json_string(r->references[i]));
    json_object_set_new(o, "references", references);
    json_object_set_new(o, "references_mp", json_real(r->references_mp));
    say(o);
}

static void encode(size_t width_px, size_t height_px, enum image_format format, struct buf *out)
{
    struct errmsg em;
    struct image img;
    if (image_init(&img, width_px, height_px, &em))
        die("picture", &em);
    memset(img.rgb, 0xc0, width_px * height_px * 3);
    if (image_encode(&img, format, 90, NULL, out, &em))
        die("picture", &em);
    image_deinit(&img);
}

/* STAGE STEP N_STEPS FRACTION SIZE: a preview of that many pixels a side; 0: none. */
static void do_progress(struct test_server *s, char *args)
{
    char stage[17];
    unsigned step, n_steps, size;
    double fraction;
    bool cancel = false;
    struct buf preview = {0};
    struct errmsg em;
    if (sscanf(args, "%16s %u %u %lf %u", stage, &step, &n_steps, &fraction, &size) != 5)
        exit(2);
    if (size)
        encode(size, size, IMAGE_JPEG, &preview);
    struct task_progress p = {stage, step, n_steps, fraction, preview.ptr, preview.len};
    enum err rc = store_task_progress(s->store, s->claimed.id, WORKER, LEASE_MS, &p, &cancel, &em);
    buf_deinit(&preview);
    if (rc)
        say_result(rc, &em);
    else
        say(json_pack("{s:b}", "cancel", cancel));
}

static void do_complete(struct test_server *s, char *args)
{
    static const char *const stages[] = {"text", "denoise"};
    char name[BLOB_NAME_CHARS + 1];
    struct buf file = {0};
    struct errmsg em;
    enum image_format format = IMAGE_PNG;
    while (format < IMAGE_WEBP && strcmp(image_format_name(format), s->claimed.request.format))
        format++;
    encode(s->claimed.request.width_px, s->claimed.request.height_px, format, &file);
    enum err rc =
        blobs_put(s->blobs, image_format_extension(format) + 1, file.ptr, file.len, name, &em);
    struct task_result result = {.blob = name,
                                 .enhanced_prompt = *args ? args : NULL,
                                 .seconds = {0.25, 1.5},
                                 .n_seconds = 2,
                                 .stage_names = stages};
    if (!rc)
        rc = store_task_complete(s->store, s->claimed.id, WORKER, &result, &em);
    buf_deinit(&file);
    say_result(rc, &em);
}

static void do_fail(struct test_server *s, char *args)
{
    struct errmsg em;
    enum err rc = store_task_fail(s->store, s->claimed.id, WORKER, args, &em);
    say_result(rc, &em);
}

struct deliveries {
    struct test_server *s;
    json_t *list;
    int64_t ids[100];
    size_t n;
};

/* Rendered twice: the same bytes at every try. */
static void add_delivery(void *ctx, const struct outbox_entry *e)
{
    struct deliveries *d = ctx;
    struct buf body = {0}, again = {0};
    struct errmsg em;
    if (api_render_webhook(d->s->api, e, &body, &em) ||
        api_render_webhook(d->s->api, e, &again, &em))
        die("webhook", &em);
    json_array_append_new(
        d->list, json_pack("{s:s, s:s, s:s, s:b}", "url", e->url, "state",
                           task_state_name(e->state), "body", (char *)body.ptr, "stable",
                           body.len == again.len && memcmp(body.ptr, again.ptr, body.len) == 0));
    d->ids[d->n++] = e->id;
    buf_deinit(&body);
    buf_deinit(&again);
}

/* All that is due, in order: later ones of a task come once the earlier are delivered. */
static void do_webhooks(struct test_server *s, char *args)
{
    struct deliveries d = {.s = s, .list = json_array()};
    struct errmsg em;
    size_t n;
    (void)args;
    do {
        d.n = n = 0;
        if (store_outbox_claim(s->store, 100, 1000, add_delivery, &d, &n, &em))
            die("outbox", &em);
        for (size_t i = 0; i < d.n; i++)
            if (store_outbox_delivered(s->store, d.ids[i], 200, &em))
                die("outbox", &em);
    } while (n > 0);
    say(json_pack("{s:o, s:i}", "webhooks", d.list, "owed", atomic_load(&s->webhooks_owed)));
}

static void add_blob(void *ctx, const char *name, unsigned age_s)
{
    (void)age_s;
    json_array_append_new(ctx, json_string(name));
}

static void do_blobs(struct test_server *s, char *args)
{
    json_t *list = json_array();
    struct errmsg em;
    (void)args;
    if (blobs_list(s->blobs, add_blob, list, &em))
        die("blobs", &em);
    say(json_pack("{s:o}", "blobs", list));
}

static void do_delete(struct test_server *s, char *args)
{
    struct errmsg em;
    enum err rc = blobs_delete(s->blobs, args, &em);
    say_result(rc, &em);
}

static void do_ready(struct test_server *s, char *args)
{
    atomic_store(&s->ready, *args == '1');
    say(json_pack("{}"));
}

static void do_memory(struct test_server *s, char *args)
{
    (void)s;
    (void)args;
    say(json_pack("{s:I}", "peak", (json_int_t)mem_peak_bytes()));
}

static void obey(struct test_server *s, char *line)
{
    static const struct {
        const char *name;
        void (*run)(struct test_server *s, char *args);
    } commands[] = {
        {"key", do_key},           {"claim", do_claim},   {"progress", do_progress},
        {"complete", do_complete}, {"fail", do_fail},     {"webhooks", do_webhooks},
        {"blobs", do_blobs},       {"delete", do_delete}, {"ready", do_ready},
        {"memory", do_memory},
    };
    char *args = line + strcspn(line, " \n");
    if (*args == ' ')
        *args++ = 0;
    args[strcspn(args, "\n")] = 0;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, line) == 0) {
            commands[i].run(s, args);
            return;
        }
    exit(2);
}

/* ---- start ---- */

static void start(struct test_server *s, const char *dir, const char *const *options)
{
    struct errmsg em;
    char *database = path_join(dir, "easel.db"), *blobs = path_join(dir, "blobs");
    struct store_options so = {.path = database, .queue_max = (size_t)strtol(options[0], NULL, 10)};
    struct api_options ao = {
        .model = "nano",
        .references_max = (unsigned)strtoul(options[1], NULL, 10),
        .can_enhance = strcmp(options[2], "0") != 0,
        .public_url = *options[3] ? options[3] : NULL,
        .signing_secret = "the test's signing secret",
        .url_lifetime_ms = 3600 * 1000,
        .prices = {0.03, 0.015},
        .reach_begin = reach_begin,
        .reach_end = reach_end,
        .webhook_owed = webhook_owed,
        .worker_ready = worker_ready,
        .log = log_line,
        .access = access_log,
        .ctx = s,
    };
    struct http_options ho = {.listen = "127.0.0.1:0", .body_dir = dir, .idle_timeout_s = 30};
    char url[64];
    if (store_open(&so, &s->store, &em) || blobs_open(blobs, &s->blobs, &em))
        die("store", &em);
    ao.store = s->store;
    ao.blobs = s->blobs;
    if (api_new(&ao, &s->api, &em) || http_server_start(&ho, api_handler(), s->api, &s->http, &em))
        die("server", &em);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(s->http));
    if (api_set_local_url(s->api, url, &em))
        die("server", &em);
    free(database);
    free(blobs);
    say(json_pack("{s:i}", "port", (int)http_server_port(s->http)));
}

/* api_server DIR QUEUE_MAX REFERENCES_MAX CAN_ENHANCE PUBLIC_URL */
int main(int argc, char **argv)
{
    struct test_server s = {.ready = true};
    pthread_t watcher;
    char line[4096];
    if (argc != 6)
        return 2;
    signal(SIGXFSZ, SIG_IGN);
    s.access_path = path_join(argv[1], "access.log");
    start(&s, argv[1], (const char *const *)argv + 2);
    if (pthread_create(&watcher, NULL, watch_main, &s))
        return 1;
    while (fgets(line, sizeof line, stdin))
        obey(&s, line);
    atomic_store(&s.stop, true);
    pthread_join(watcher, NULL);
    http_server_stop(s.http, 1000);
    api_free(s.api);
    task_deinit(&s.claimed);
    blobs_close(s.blobs);
    store_close(s.store);
    free((char *)s.access_path);
    return 0;
}

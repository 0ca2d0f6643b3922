/* SPDX-License-Identifier: MIT */
#include "worker_test.h"

#include <ftw.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

#define WAIT_MAX_S 60.0

static void on_log(void *ctx, const char *level, const char *message)
{
    struct place *p = ctx;
    pthread_mutex_lock(&p->log_lock);
    size_t used = strlen(p->log);
    snprintf(p->log + used, sizeof p->log - used, "%s: %s\n", level, message);
    pthread_mutex_unlock(&p->log_lock);
}

bool place_logged(struct place *p, const char *text)
{
    pthread_mutex_lock(&p->log_lock);
    bool found = strstr(p->log, text);
    pthread_mutex_unlock(&p->log_lock);
    return found;
}

static void on_ready(void *ctx)
{
    ((struct place *)ctx)->ready = true;
}

int place_setup(void **state)
{
    struct errmsg em;
    struct place *p = calloc(1, sizeof *p);
    struct api_key key = {0};
    char *text = NULL;
    assert_non_null(p);
    pthread_mutex_init(&p->log_lock, NULL);
    snprintf(p->dir, sizeof p->dir, "/tmp/easel-worker-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    char *database = path_join(p->dir, "easel.db"), *folder = path_join(p->dir, "blobs");
    assert_ok(store_open(&(struct store_options){.path = database}, &p->store, &em));
    assert_ok(blobs_open(folder, &p->blobs, &em));
    assert_ok(store_key_create(p->store, "test", 0, -1, &text, &key, &em));
    p->key_id = key.id;
    api_key_deinit(&key);
    free(text);
    free(folder);
    free(database);
    p->options = (struct worker_options){
        .store = p->store,
        .blobs = p->blobs,
        .n_threads = 1,
        .name = "worker",
        .stop = &p->stop,
        .finish = &p->finish,
        .log = on_log,
        .ready = on_ready,
        .ctx = p,
    };
    *state = p;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

int place_teardown(void **state)
{
    struct place *p = *state;
    char disk[96];
    if (p->running) { /* the test has failed */
        raise_flag(&p->stop);
        pthread_join(p->thread, NULL);
    }
    blobs_close(p->blobs);
    snprintf(disk, sizeof disk, "%s/disk", p->dir);
    (void)umount(disk); /* where a test has mounted one and failed */
    store_close(p->store);
    assert_int_equal(nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    pthread_mutex_destroy(&p->log_lock);
    free(p);
    return 0;
}

static void *work(void *arg)
{
    struct place *p = arg;
    p->returned = worker_run(&p->options, &p->message);
    p->ended = true;
    return NULL;
}

void place_start(struct place *p)
{
    p->stop = p->finish = 0;
    p->ready = p->ended = false;
    p->log[0] = '\0';
    p->message.text[0] = '\0';
    assert_int_equal(pthread_create(&p->thread, NULL, work, p), 0);
    p->running = true;
}

void place_join(struct place *p, enum err expected)
{
    pthread_join(p->thread, NULL);
    p->running = false;
    if (p->returned != expected)
        fail_msg("worker_run = %d, expected %d: %s\n%s", (int)p->returned, (int)expected,
                 p->message.text, p->log);
}

void place_finish(struct place *p)
{
    raise_flag(&p->finish);
    place_join(p, ERR_OK);
}

struct gen_request simple_request(const char *prompt)
{
    return (struct gen_request){
        .prompt = (char *)(uintptr_t)prompt,
        .width_px = 256,
        .height_px = 256,
        .seed = 7,
        .model = (char *)(uintptr_t) "flux-2-pro",
        .format = (char *)(uintptr_t) "png",
    };
}

void place_submit(struct place *p, const struct gen_request *r, char id[TASK_ID_CHARS + 1])
{
    struct errmsg em;
    struct task t = {0};
    bool existing = false;
    struct task_new n = {.key_id = p->key_id, .request = r};
    assert_ok(store_task_create(p->store, &n, &t, &existing, &em));
    memcpy(id, t.id, sizeof t.id);
    task_deinit(&t);
}

struct task place_task(struct place *p, const char *id)
{
    struct errmsg em;
    struct task t = {0};
    assert_ok(store_task_get(p->store, id, 0, &t, &em));
    return t;
}

struct task place_wait(struct place *p, const char *id, enum task_state state)
{
    double end = clock_now_s() + WAIT_MAX_S;
    for (;;) {
        bool ended = p->ended; /* looked at first: the task may just have changed */
        struct task t = place_task(p, id);
        if (t.state == state)
            return t;
        bool is_final = t.state == TASK_COMPLETED || t.state == TASK_FAILED;
        if (is_final || ended || clock_now_s() > end)
            fail_msg("the task is %s (%s), not %s\n%s%s", task_state_name(t.state),
                     t.error ? t.error : "no error", task_state_name(state), p->log,
                     ended ? p->message.text : "");
        task_deinit(&t);
        sleep_ms(5);
    }
}

struct buf place_read(struct place *p, const char *blob)
{
    struct errmsg em;
    struct buf out = {0};
    int fd = -1;
    uint64_t size = 0;
    time_t modified;
    assert_ok(blobs_get(p->blobs, blob, &fd, &size, &modified, &em));
    assert_ok(buf_reserve(&out, size, &em));
    assert_int_equal(read(fd, out.ptr, size), size);
    out.len = size;
    close(fd);
    return out;
}

static void count_one(void *ctx, const char *name, unsigned age_s)
{
    (void)name;
    (void)age_s;
    ++*(size_t *)ctx;
}

size_t place_count_blobs(struct place *p)
{
    struct errmsg em;
    size_t n = 0;
    assert_ok(blobs_list(p->blobs, count_one, &n, &em));
    return n;
}

void raise_flag(volatile sig_atomic_t *flag)
{
    __atomic_store_n(flag, 1, __ATOMIC_RELAXED);
}

void sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

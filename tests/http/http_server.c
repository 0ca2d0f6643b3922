/* SPDX-License-Identifier: MIT */
/* A server for test_http.py: its paths do what http.h offers, one each. Arguments are options,
 * NAME=VALUE. It prints "port N", and stops when its standard input ends or says
 * "stop GRACE_MS"; then it prints what it counted. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/http.h"

#define WAITING_MAX 4096

struct state {
    bool called;
    int step;
    char name[32]; /* under which it waits to be woken */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct http_request *waiting[WAITING_MAX]; /* parked by name, or to be woken by the waker */
    size_t n_waiting;
    bool stop;
    atomic_int seen, ended, logged, parked;
    char log[8192]; /* the newest lines */
} app = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER};

static const char *file_path;

static unsigned number(const struct http_request *r, const char *name, unsigned otherwise)
{
    const char *text = http_query(r, name);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static bool path_is(const struct http_request *r, const char *path)
{
    return strcmp(http_path(r), path) == 0;
}

static void text(struct http_request *r, int status, const char *body)
{
    http_reply(r, status, "text/plain", body, strlen(body));
}

static void wait_as(struct http_request *r, const char *name)
{
    struct state *st = *http_state(r);
    pthread_mutex_lock(&app.lock);
    snprintf(st->name, sizeof st->name, "%s", name);
    if (app.n_waiting < WAITING_MAX)
        app.waiting[app.n_waiting++] = r;
    pthread_cond_signal(&app.filled);
    pthread_mutex_unlock(&app.lock);
}

static void forget(struct http_request *r)
{
    pthread_mutex_lock(&app.lock);
    for (size_t i = 0; i < app.n_waiting; i++)
        if (app.waiting[i] == r)
            app.waiting[i--] = app.waiting[--app.n_waiting];
    pthread_mutex_unlock(&app.lock);
}

/* Wake all who wait under that name. */
static unsigned wake(const char *name)
{
    unsigned n = 0;
    pthread_mutex_lock(&app.lock);
    for (size_t i = 0; i < app.n_waiting; i++) {
        struct state *st = *http_state(app.waiting[i]);
        if (strcmp(st->name, name) == 0) {
            http_wake(app.waiting[i]);
            n++;
        }
    }
    pthread_mutex_unlock(&app.lock);
    return n;
}

/* Wakes whoever waits as "storm", again and again, while they park, run and end. */
static void *waker(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&app.lock);
    while (!app.stop) {
        bool any = false;
        for (size_t i = 0; i < app.n_waiting; i++) {
            struct state *st = *http_state(app.waiting[i]);
            if (strcmp(st->name, "storm") == 0) {
                http_wake(app.waiting[i]);
                any = true;
            }
        }
        if (!any) {
            pthread_cond_wait(&app.filled, &app.lock);
            continue;
        }
        pthread_mutex_unlock(&app.lock);
        usleep(100);
        pthread_mutex_lock(&app.lock);
    }
    pthread_mutex_unlock(&app.lock);
    return NULL;
}

/* ---- handlers ---- */

static void on_head(void *ctx, struct http_request *r)
{
    (void)ctx;
    atomic_fetch_add(&app.seen, 1);
    *http_state(r) = calloc(1, sizeof(struct state));
    http_body_limit(r, number(r, "limit", 1 << 20));
    if (http_query(r, "own413"))
        http_on_too_large(r, "text/plain", "far too large");
    if (path_is(r, "/denied")) {
        http_add_header(r, "WWW-Authenticate", "Bearer");
        text(r, 401, "denied");
    }
}

static void answer_info(struct http_request *r)
{
    char body[4096];
    const char *a = http_query(r, "a"), *x = http_header(r, "x-one");
    snprintf(body, sizeof body,
             "method=%s\npath=%s\na=%s\nx=%s\nclient=%s\nlength=%lld\nid=%s\nbody=%zu\n",
             http_method(r), http_path(r), a ? a : "(none)", x ? x : "(none)", http_client(r),
             (long long)http_content_length(r), http_request_id(r), http_request_body(r).len);
    text(r, 200, body);
}

static void answer_counts(struct http_request *r)
{
    char body[sizeof app.log + 200];
    pthread_mutex_lock(&app.lock);
    snprintf(body, sizeof body, "seen=%d\nended=%d\nparked=%d\n%s", atomic_load(&app.seen),
             atomic_load(&app.ended), atomic_load(&app.parked), app.log);
    pthread_mutex_unlock(&app.lock);
    text(r, 200, body);
}

static void park(struct http_request *r, unsigned timeout_ms)
{
    struct state *st = *http_state(r);
    if (!st->called)
        atomic_fetch_add(&app.parked, 1);
    st->called = true;
    http_park(r, timeout_ms);
}

static void answer_park(struct http_request *r)
{
    struct state *st = *http_state(r);
    const char *name = http_query(r, "name");
    if (st->called) {
        text(r, 200, http_stopping(r) ? "stopping" : "again");
        return;
    }
    if (name)
        wait_as(r, name);
    if (http_query(r, "early"))
        http_wake(r);
    park(r, number(r, "ms", 10000));
}

/* Parks n times while the waker wakes it. */
static void answer_storm(struct http_request *r)
{
    struct state *st = *http_state(r);
    if (st->step == 0)
        wait_as(r, "storm");
    if (st->step++ >= (int)number(r, "n", 20))
        text(r, 200, "done");
    else
        park(r, st->step % 3 == 0 ? 1 : 10000);
}

static void answer_stream(struct http_request *r)
{
    struct state *st = *http_state(r);
    struct errmsg em;
    unsigned n = number(r, "n", 3), size = number(r, "size", 0);
    char head[32], *filler = calloc(1, size + 1);
    if (!http_is_streaming(r))
        http_stream_begin(r, 200, "text/event-stream");
    if (filler) {
        memset(filler, '.', size);
        int len = snprintf(head, sizeof head, "data: %d\n\n", st->step);
        if (http_stream_send(r, filler, size, &em) || http_stream_send(r, head, (size_t)len, &em))
            http_stream_end(r);
        free(filler);
    }
    if (++st->step >= (int)n || (http_stopping(r) && http_query(r, "polite")))
        http_stream_end(r);
    else if (http_query(r, "ms"))
        park(r, number(r, "ms", 0));
}

static void answer_file(struct http_request *r)
{
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    uint64_t size = (uint64_t)lseek(fd, 0, SEEK_END);
    if (http_query(r, "empty"))
        size = 0;
    http_add_header(r, "Cache-Control", "private");
    http_add_header(r, "X-Bad", "a\r\nX-Injected: b");
    http_add_header(r, "X Bad", "a");
    http_reply_file(r, "image/png", fd, size, http_query(r, "weak") ? "W/\"tag\"" : "\"tag\"",
                    784111777);
}

static void on_request(void *ctx, struct http_request *r)
{
    (void)ctx;
    struct http_body body = http_request_body(r);
    char count[32];
    if (path_is(r, "/hello"))
        http_reply_static(r, 200, "text/plain", "hello\n", 6);
    else if (path_is(r, "/echo"))
        http_reply(r, 200, "application/octet-stream", body.ptr, body.len);
    else if (path_is(r, "/counts"))
        answer_counts(r);
    else if (path_is(r, "/park"))
        answer_park(r);
    else if (path_is(r, "/storm"))
        answer_storm(r);
    else if (path_is(r, "/wake")) {
        snprintf(count, sizeof count, "%u", wake(http_query(r, "name")));
        text(r, 200, count);
    } else if (path_is(r, "/stream"))
        answer_stream(r);
    else if (path_is(r, "/file"))
        answer_file(r);
    else if (path_is(r, "/slow")) {
        usleep(1000 * number(r, "ms", 100));
        text(r, 200, "slow");
    } else
        answer_info(r);
}

static void on_end(void *ctx, struct http_request *r)
{
    (void)ctx;
    forget(r);
    free(*http_state(r));
    atomic_fetch_add(&app.ended, 1);
}

static void on_log(void *ctx, const struct http_request *r, int status, uint64_t bytes_sent,
                   double seconds)
{
    (void)ctx;
    (void)seconds;
    char line[256];
    int n = snprintf(line, sizeof line, "log %d %s %s %llu\n", status, http_method(r), http_path(r),
                     (unsigned long long)bytes_sent);
    atomic_fetch_add(&app.logged, 1);
    if (n < 0 || (size_t)n >= sizeof line || strcmp(http_path(r), "/counts") == 0)
        return;
    pthread_mutex_lock(&app.lock);
    size_t len = strlen(app.log);
    if (len + (size_t)n >= sizeof app.log)
        len = 0;
    memcpy(app.log + len, line, (size_t)n + 1);
    pthread_mutex_unlock(&app.lock);
}

/* ---- main ---- */

static void option(struct http_options *o, const char *arg)
{
    const char *value = strchr(arg, '=');
    size_t n = value ? (size_t)(value - arg) : 0;
    unsigned v = value ? (unsigned)strtoul(++value, NULL, 10) : 0;
    if (n == 6 && !strncmp(arg, "listen", n))
        o->listen = value;
    else if (n == 7 && !strncmp(arg, "threads", n))
        o->n_threads = v;
    else if (n == 11 && !strncmp(arg, "connections", n))
        o->connections_max = v;
    else if (n == 6 && !strncmp(arg, "memory", n))
        o->body_memory_bytes = v;
    else if (n == 7 && !strncmp(arg, "headers", n))
        o->header_bytes_max = v;
    else if (n == 3 && !strncmp(arg, "dir", n))
        o->body_dir = value;
    else if (n == 4 && !strncmp(arg, "idle", n))
        o->idle_timeout_s = v;
    else if (n == 7 && !strncmp(arg, "request", n))
        o->request_timeout_s = v;
    else if (n == 4 && !strncmp(arg, "file", n))
        file_path = value;
    else {
        fprintf(stderr, "unknown option %s\n", arg);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct http_options o = {.listen = "127.0.0.1:0"};
    const struct http_handler handler = {on_head, on_request, on_end, on_log, NULL};
    struct http_server *server = NULL;
    struct errmsg em;
    pthread_t thread;
    char line[64];
    unsigned grace_ms = 0;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files stands for a full disk */
    for (int i = 1; i < argc; i++)
        option(&o, argv[i]);
    if (http_server_start(&o, &handler, NULL, &server, &em)) {
        fprintf(stderr, "%s\n", em.text);
        return 1;
    }
    pthread_create(&thread, NULL, waker, NULL);
    printf("port %u\n", http_server_port(server));
    fflush(stdout);
    if (fgets(line, sizeof line, stdin))
        sscanf(line, "stop %u", &grace_ms);
    http_server_stop(server, grace_ms);
    pthread_mutex_lock(&app.lock);
    app.stop = true;
    pthread_cond_signal(&app.filled);
    pthread_mutex_unlock(&app.lock);
    pthread_join(thread, NULL);
    printf("seen %d ended %d logged %d\n", atomic_load(&app.seen), atomic_load(&app.ended),
           atomic_load(&app.logged));
    return 0;
}

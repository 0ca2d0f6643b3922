/* SPDX-License-Identifier: MIT */
#include "worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/size.h"
#include "worker/worker_impl.h"

#define LEASE_DEFAULT_MS 15000
#define STALL_DEFAULT_MS 600000
#define PATIENCE_DEFAULT_MS 60000
/* An idle worker looks at the store's version: at first every 2 ms, later every 4. */
#define IDLE_MIN_MS 2u
#define IDLE_MAX_MS 4u
/* … and asks for a task at least so often, whatever the version says. */
#define CLAIM_EVERY_S 1.0
#define RETRY_MIN_MS 10u
#define RETRY_MAX_MS 2000u
#define PROBE_EVERY_MS 1000u
/* A store that is briefly locked is not worth a line in the log. */
#define QUIET_S 1.0

/* Set by a signal handler, which may run on any thread. */
static bool is_set(const volatile sig_atomic_t *flag)
{
    return flag && __atomic_load_n(flag, __ATOMIC_RELAXED);
}

bool worker_must_stop(const struct worker *w)
{
    return is_set(w->o->stop);
}

bool worker_must_end(const struct worker *w)
{
    return worker_must_stop(w) || is_set(w->o->finish);
}

bool worker_is_passing(enum err rc)
{
    return rc == ERR_IO || rc == ERR_BUSY || rc == ERR_FULL;
}

void worker_log(const struct worker *w, const char *level, const char *fmt, ...)
{
    char line[1024];
    if (!w->o->log)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    w->o->log(w->o->ctx, level, line);
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL); /* a signal may end it early: callers look at the clock or the flags */
}

void worker_pause(const struct worker *w, unsigned ms)
{
    double end = clock_now_s() + ms / 1000.0;
    while (!worker_must_stop(w) && clock_now_s() < end)
        sleep_ms(ms < WORKER_TICK_MS ? ms : WORKER_TICK_MS);
}

/* For idle_ms, or until somebody says that a task was queued. */
static void doze(struct worker *w)
{
    uint64_t count;
    struct pollfd wake = {.fd = w->wake_fd, .events = POLLIN};
    if (poll(&wake, 1, (int)w->idle_ms) <= 0)
        return;
    ssize_t n = read(w->wake_fd, &count, sizeof count);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) /* EAGAIN: another was faster */
        w->wake_fd = -1;
}

/* Until something was committed, or for CLAIM_EVERY_S. */
static void wait_for_work(struct worker *w, int64_t version)
{
    double end = clock_now_s() + CLAIM_EVERY_S;
    while (!worker_must_end(w) && store_version(w->o->store) == version && clock_now_s() < end) {
        doze(w);
        w->idle_ms = (unsigned)min_size(2 * w->idle_ms, IDLE_MAX_MS);
    }
}

static void wait_for_room(struct worker *w)
{
    if (!w->probe_bytes)
        return;
    worker_log(w, "warning", "no task is taken until results can be stored again");
    while (blobs_probe(w->o->blobs, w->probe_bytes, NULL)) {
        for (unsigned ms = 0; ms < PROBE_EVERY_MS; ms += WORKER_TICK_MS) {
            if (worker_must_end(w))
                return;
            sleep_ms(WORKER_TICK_MS);
        }
    }
    worker_log(w, "info", "results can be stored again");
    w->probe_bytes = 0;
}

struct failing {
    double since_s; /* 0: all is well */
    bool logged;
    unsigned pause_ms;
};

/* The store refuses: ERR_OK after a pause, or rc when patience is at an end, which it never is
 * with a full disk. */
static enum err bear_with_store(struct worker *w, struct failing *f, enum err rc,
                                const struct errmsg *em)
{
    double now = clock_now_s();
    if (!worker_is_passing(rc))
        return rc;
    if (f->since_s == 0)
        *f = (struct failing){.since_s = now, .pause_ms = RETRY_MIN_MS};
    if (rc != ERR_FULL && now - f->since_s >= w->patience_s)
        return rc;
    if (!f->logged && now - f->since_s >= QUIET_S) {
        worker_log(w, "warning", "cannot claim a task: %s; trying again", em->text);
        f->logged = true;
    }
    worker_pause(w, f->pause_ms);
    f->pause_ms = (unsigned)min_size(2 * f->pause_ms, RETRY_MAX_MS);
    return ERR_OK;
}

static enum err serve(struct worker *w, struct errmsg *em)
{
    struct failing failing = {0};
    enum err rc = ERR_OK;
    for (wait_for_room(w); !rc && !worker_must_end(w); wait_for_room(w)) {
        struct task task = {0};
        /* before the claim, so that what is committed meanwhile is not slept over */
        int64_t version = store_version(w->o->store);
        rc = store_task_claim(w->o->store, w->name, w->lease_ms, &task, em);
        if (rc && rc != ERR_EMPTY) {
            rc = bear_with_store(w, &failing, rc, em);
            continue;
        }
        failing = (struct failing){0};
        if (rc == ERR_EMPTY) {
            wait_for_work(w, version);
            rc = ERR_OK;
        } else {
            w->idle_ms = IDLE_MIN_MS;
            rc = worker_run_task(w, &task, em);
        }
    }
    return rc;
}

/* Host, process and the moment: never the same twice. */
static void choose_name(struct worker *w)
{
    char host[64] = "";
    struct timespec now;
    if (w->o->name) {
        snprintf(w->name, sizeof w->name, "%s", w->o->name);
        return;
    }
    if (gethostname(host, sizeof host - 1))
        host[0] = '\0';
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(w->name, sizeof w->name, "%s:%ld:%llx%08lx", host, (long)getpid(),
             (unsigned long long)now.tv_sec, (unsigned long)now.tv_nsec);
}

static enum err open_model(struct worker *w, struct errmsg *em)
{
    struct easel_model_options options;
    struct easel_error error = {""};
    if (w->o->stub)
        return ERR_OK;
    easel_model_defaults(&options);
    options.n_threads = w->o->n_threads;
    options.cpu = w->o->cpu;
    enum err rc = (enum err)easel_model_open(w->o->model, &options, &w->model, &error);
    return rc ? err_set(em, rc, "%s", error.message) : ERR_OK;
}

static int64_t or_default(int64_t ms, int64_t default_ms)
{
    return ms > 0 ? ms : default_ms;
}

enum err worker_run(const struct worker_options *o, struct errmsg *em)
{
    struct worker w = {
        .o = o,
        .lease_ms = or_default(o->lease_ms, LEASE_DEFAULT_MS),
        .stall_s = (double)or_default(o->stall_ms, STALL_DEFAULT_MS) / 1000.0,
        .patience_s = (double)or_default(o->patience_ms, PATIENCE_DEFAULT_MS) / 1000.0,
        .wake_fd = o->wake_fd ? *o->wake_fd : -1,
        .idle_ms = IDLE_MIN_MS,
    };
    choose_name(&w);
    enum err rc = open_model(&w, em);
    if (rc)
        return rc;
    if (o->ready)
        o->ready(o->ctx);
    rc = serve(&w, em);
    if (!w.abandoned)
        easel_model_close(w.model);
    return rc;
}

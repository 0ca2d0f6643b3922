/* SPDX-License-Identifier: MIT */
/* `easel worker`: signals, presence, and the line to the supervisor around worker_run. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "service/data_dir.h"
#include "service/log.h"
#include "service/presence.h"
#include "service/service.h"
#include "service/spawn.h"
#include "worker/worker.h"

/* Set by signals, read by worker_run. */
static volatile sig_atomic_t stop_asked, finish_asked, reopen_asked;
/* What ends a terminal's or a service's processes all at once (Ctrl-C, a signal to the group)
 * reaches us and our supervisor, which may grant us time: so only its own signal means "now". */
static volatile sig_atomic_t is_supervised;

struct worker_process {
    const struct service_options *o;
    struct data_dir data;
    struct log *log;
    struct store *store;
    struct blobs *blobs;
    char name[WORKER_NAME_CHARS_MAX + 1];
    int presence_fd;
    pthread_t pulse;
    bool has_pulse;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool end; /* under lock */
};

static void on_signal(int number)
{
    if (number == SIGHUP)
        reopen_asked = 1;
    else if (number == WORKER_HAND_BACK_SIGNAL ||
             (!is_supervised && (number == SIGTERM || finish_asked)))
        stop_asked = 1;
    else
        finish_asked = 1;
}

static void catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    sigaction(WORKER_HAND_BACK_SIGNAL, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files' sizes is as a full disk: an error, no death */
}

/* ---- the line to the supervisor ---- */

static void tell(const struct worker_process *w, const char *word, const char *message)
{
    struct iovec parts[3] = {
        {(char *)(uintptr_t)word, strlen(word)},
        {(char *)(uintptr_t)message, strlen(message)},
        {"\n", 1},
    };
    if (w->o->ready_fd < 0)
        return;
    ssize_t n = writev(w->o->ready_fd, parts, 3);
    (void)n; /* nobody listens any more, or is far behind: nothing to do about it */
}

static void on_ready(void *ctx)
{
    tell(ctx, "ready", "");
}

static void on_log(void *ctx, const char *level, const char *message)
{
    const struct worker_process *w = ctx;
    log_write(w->log, level, message);
}

static void reopen_log(struct worker_process *w)
{
    struct errmsg em;
    reopen_asked = 0;
    if (log_reopen(w->log, &em))
        log_write(w->log, "error", em.text);
}

/* Says that this process runs, and opens the log anew when it was asked to. */
static void *pulse(void *arg)
{
    struct worker_process *w = arg;
    struct timespec until;
    unsigned seconds = 0;
    pthread_mutex_lock(&w->lock);
    while (!w->end) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        (void)pthread_cond_clockwait(&w->wake, &w->lock, CLOCK_MONOTONIC, &until);
        if (reopen_asked)
            reopen_log(w);
        if (++seconds % WORKER_PULSE_S == 0)
            tell(w, "alive", "");
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static enum err start_pulse(struct worker_process *w, struct errmsg *em)
{
    int failed = pthread_create(&w->pulse, NULL, pulse, w);
    if (failed)
        return err_set(em, ERR_NOMEM, "cannot start a thread: %s", strerror(failed));
    w->has_pulse = true;
    return ERR_OK;
}

static void end_pulse(struct worker_process *w)
{
    if (!w->has_pulse)
        return;
    pthread_mutex_lock(&w->lock);
    w->end = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->pulse, NULL);
}

/* ---- start and stop ---- */

static enum err enter(struct worker_process *w, struct errmsg *em)
{
    enum err rc = ERR_OK;
    if (w->o->worker_name)
        snprintf(w->name, sizeof w->name, "%s", w->o->worker_name);
    else
        rc = presence_new_name(w->name, em);
    if (!rc)
        rc = data_dir_open(w->o->data_dir, &w->data, em);
    if (!rc)
        rc = presence_enter(w->data.workers, w->name, &w->presence_fd, em);
    return rc;
}

static enum err open_all(struct worker_process *w, struct errmsg *em)
{
    const struct service_options *o = w->o;
    struct store_options store = {
        .path = w->data.database, .must_exist = true, .result_lifetime_ms = o->result_lifetime_ms};
    enum err rc = log_open(o->log_file, &w->log, em);
    if (!rc)
        rc = store_open(&store, &w->store, em);
    if (!rc)
        rc = blobs_open(w->data.blobs, &w->blobs, em);
    if (!rc)
        rc = start_pulse(w, em);
    return rc;
}

static enum err work(struct worker_process *w, struct errmsg *em)
{
    static const int standard_input = STDIN_FILENO; /* where our supervisor says it */
    struct worker_options options = {
        .store = w->store,
        .blobs = w->blobs,
        .model = w->o->model,
        .n_threads = w->o->n_threads,
        .cpu = getenv("EASEL_CPU"),
        .previews = w->o->previews,
        .stub = w->o->stub,
        .name = w->name,
        .stop = &stop_asked,
        .finish = &finish_asked,
        .wake_fd = is_supervised ? &standard_input : NULL,
        .log = on_log,
        .ready = on_ready,
        .ctx = w,
    };
    return worker_run(&options, em);
}

static void leave(struct worker_process *w)
{
    end_pulse(w);
    blobs_close(w->blobs);
    store_close(w->store);
    log_close(w->log);
    if (w->presence_fd >= 0)
        presence_leave(w->data.workers, w->name, w->presence_fd);
    data_dir_close(&w->data);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
}

enum err service_worker_run(const struct service_options *o, struct errmsg *em)
{
    struct worker_process w = {.o = o, .presence_fd = -1, .data = {.lock_fd = -1}};
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.wake, NULL);
    is_supervised = o->ready_fd >= 0;
    catch_signals();
    enum err rc = enter(&w, em);
    if (!rc)
        rc = open_all(&w, em);
    if (!rc)
        rc = work(&w, em);
    if (rc)
        tell(&w, "error ", em->text);
    leave(&w);
    return rc;
}

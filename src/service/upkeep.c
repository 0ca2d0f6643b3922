/* SPDX-License-Identifier: MIT */
#include "service/upkeep.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "service/presence.h"

#define POLL_MS 20
#define SWEEP_EVERY_S 1.0
#define FILES_EVERY_S 3600.0
#define TEMPORARY_AGE_S 3600u
/* Longer than any request takes from its first picture to its task. */
#define ORPHAN_AGE_S 3600u
#define RUNNING_MAX 200u
#define SWEEP_TASKS 100u
#define SWEEP_ROUNDS_MAX 20u

struct upkeep {
    struct upkeep_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop; /* under lock */
    atomic_size_t n_workers;
    atomic_bool stopping;
    char last_error[sizeof((struct errmsg *)0)->text]; /* so that a full disk is told once */
};

/* ---- errors: a trouble that lasts is one line, not one a second ---- */

static void tell(struct upkeep *u, enum err rc, const struct errmsg *em)
{
    if (!rc) {
        if (u->last_error[0])
            log_write(u->o.log, "info", "the upkeep works again");
        u->last_error[0] = '\0';
        return;
    }
    if (!strcmp(u->last_error, em->text))
        return;
    memcpy(u->last_error, em->text, sizeof u->last_error);
    log_write(u->o.log, "error", em->text);
}

/* ---- leases ---- */

struct hand_back {
    char ids[RUNNING_MAX][TASK_ID_CHARS + 1];
    size_t n;
};

static void note_running(void *ctx, const struct task *t)
{
    struct hand_back *h = ctx;
    if (h->n < RUNNING_MAX)
        memcpy(h->ids[h->n++], t->id, sizeof h->ids[0]);
}

/* For a worker that had no time to do it itself. Other workers' tasks are ERR_CONFLICT. */
static void hand_back_for(struct upkeep *u, const char *worker)
{
    struct hand_back h = {.n = 0};
    struct task_query q = {.state = TASK_IN_PROGRESS, .limit = RUNNING_MAX};
    struct errmsg em = {""};
    enum err rc = store_task_list(u->o.store, &q, note_running, &h, &em);
    for (size_t i = 0; i < h.n; i++) {
        rc = store_task_hand_back(u->o.store, h.ids[i], worker, &em);
        if (!rc)
            log_printf(u->o.log, "info", "task %s is back in the queue", h.ids[i]);
    }
    if (rc && rc != ERR_CONFLICT)
        log_write(u->o.log, "error", em.text);
}

void upkeep_set_stopping(struct upkeep *u)
{
    atomic_store(&u->stopping, true);
}

static bool take_back(void *ctx, const char *worker)
{
    struct upkeep *u = ctx;
    struct errmsg em = {""};
    size_t n = 0;
    if (atomic_load(&u->stopping))
        hand_back_for(u, worker);
    enum err rc = store_sweep_leases(u->o.store, worker, &n, &em);
    if (rc)
        log_write(u->o.log, "error", em.text);
    else if (n)
        log_printf(u->o.log, "warning", "took %zu task%s back from the dead worker %s", n,
                   n == 1 ? "" : "s", worker);
    return rc == ERR_OK;
}

void upkeep_call_roll(struct upkeep *u)
{
    struct errmsg em = {""};
    size_t n_alive = 0;
    if (presence_call_roll(u->o.data->workers, take_back, u, &n_alive, &em))
        log_write(u->o.log, "error", em.text);
    atomic_store(&u->n_workers, n_alive);
}

size_t upkeep_n_workers(const struct upkeep *u)
{
    return atomic_load(&((struct upkeep *)(uintptr_t)u)->n_workers);
}

static enum err sweep_leases(struct upkeep *u, struct errmsg *em)
{
    size_t n = 0;
    enum err rc = store_sweep_leases(u->o.store, NULL, &n, em);
    if (!rc && n)
        log_printf(u->o.log, "warning", "took %zu task%s back: the worker gave no sign of life", n,
                   n == 1 ? "" : "s");
    return rc;
}

/* ---- blobs ---- */

static bool delete_blob(void *ctx, const char *blob)
{
    struct upkeep *u = ctx;
    struct errmsg em = {""};
    if (!blobs_delete(u->o.blobs, blob, &em))
        return true;
    log_write(u->o.log, "error", em.text);
    return false;
}

static enum err sweep_blobs(struct upkeep *u, struct errmsg *em)
{
    enum err rc = ERR_OK;
    size_t n = SWEEP_TASKS;
    for (unsigned i = 0; !rc && n == SWEEP_TASKS && i < SWEEP_ROUNDS_MAX; i++)
        rc = store_sweep_blobs(u->o.store, SWEEP_TASKS, delete_blob, u, &n, em);
    return rc;
}

struct orphan_search {
    struct upkeep *u;
    unsigned min_age_s;
    size_t n;
};

static void delete_orphan(void *ctx, const char *name, unsigned age_s)
{
    struct orphan_search *search = ctx;
    struct errmsg em = {""};
    bool held = true;
    if (age_s < search->min_age_s)
        return;
    if (store_blob_is_held(search->u->o.store, name, &held, &em))
        log_write(search->u->o.log, "error", em.text);
    else if (!held && delete_blob(search->u, name))
        search->n++;
}

static enum err sweep_files(struct upkeep *u, unsigned temporary_age_s, unsigned orphan_age_s,
                            struct errmsg *em)
{
    struct orphan_search search = {.u = u, .min_age_s = orphan_age_s};
    enum err rc = blobs_sweep_temporary(u->o.blobs, temporary_age_s, em);
    if (!rc)
        rc = blobs_list(u->o.blobs, delete_orphan, &search, em);
    if (search.n)
        log_printf(u->o.log, "info", "deleted %zu picture%s that no task holds", search.n,
                   search.n == 1 ? "" : "s");
    return rc;
}

/* ---- the thread ---- */

static void sweep(struct upkeep *u)
{
    struct errmsg em = {""};
    upkeep_call_roll(u);
    enum err rc = sweep_leases(u, &em);
    if (!rc)
        rc = sweep_blobs(u, &em);
    tell(u, rc, &em);
}

/* false: it is time to end. */
static bool pause_ms(struct upkeep *u, long ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&u->lock);
    int rc = 0;
    while (!u->stop && rc != ETIMEDOUT)
        rc = pthread_cond_clockwait(&u->wake, &u->lock, CLOCK_MONOTONIC, &until);
    bool go_on = !u->stop;
    pthread_mutex_unlock(&u->lock);
    return go_on;
}

static void *run(void *arg)
{
    struct upkeep *u = arg;
    struct errmsg em;
    double sweep_at_s = 0, files_at_s = clock_now_s() + FILES_EVERY_S;
    int64_t seen = store_version(u->o.store);
    u->o.on_change(u->o.ctx); /* what was committed before we looked */
    while (pause_ms(u, POLL_MS)) {
        int64_t version = store_version(u->o.store);
        if (version != seen)
            u->o.on_change(u->o.ctx);
        seen = version;
        double now = clock_now_s();
        if (now >= sweep_at_s) {
            sweep(u);
            sweep_at_s = now + SWEEP_EVERY_S;
        }
        if (now >= files_at_s) {
            if (sweep_files(u, TEMPORARY_AGE_S, ORPHAN_AGE_S, &em))
                log_write(u->o.log, "error", em.text);
            files_at_s = now + FILES_EVERY_S;
        }
    }
    return NULL;
}

/* With no worker alive and nothing served yet, whatever is unowned or half written now was
 * left by a crash; with one, only what is old. */
static enum err clean_up_after_crash(struct upkeep *u, struct errmsg *em)
{
    upkeep_call_roll(u);
    bool alone = upkeep_n_workers(u) == 0;
    return sweep_files(u, alone ? 0 : TEMPORARY_AGE_S, alone ? 0 : ORPHAN_AGE_S, em);
}

enum err upkeep_start(const struct upkeep_options *o, struct upkeep **out, struct errmsg *em)
{
    struct upkeep *u = calloc(1, sizeof *u);
    if (!u)
        return err_nomem(em, sizeof *u);
    u->o = *o;
    enum err rc = clean_up_after_crash(u, em);
    if (rc) {
        free(u);
        return rc;
    }
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->wake, NULL);
    int failed = pthread_create(&u->thread, NULL, run, u);
    if (failed) {
        pthread_cond_destroy(&u->wake);
        pthread_mutex_destroy(&u->lock);
        free(u);
        return err_set(em, ERR_NOMEM, "cannot start a thread: %s", strerror(failed));
    }
    *out = u;
    return ERR_OK;
}

void upkeep_stop(struct upkeep *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    u->stop = true;
    pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    pthread_cond_destroy(&u->wake);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

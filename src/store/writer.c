/* SPDX-License-Identifier: MIT */
/* Group commit. One thread owns the connection that writes. Callers queue their work and sleep;
 * the thread takes all that waits, runs each in a savepoint of one transaction, commits, and
 * wakes them: what they wait for is one fsync, shared.
 *
 * Volatile work runs on the same connection, so that it never contends for the lock with the
 * rest: a transaction of nothing else is committed with synchronous=NORMAL, which in WAL mode
 * writes but does not sync. It survives the process, and the next durable commit syncs it too. */
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "store/store_impl.h"

/* Frames (4 KiB pages) in the log: from the first on it is copied into the database as far as
 * readers let it; from the second on readers are waited for, so that it cannot grow for ever. */
#define WAL_FRAMES_COPY 2000
#define WAL_FRAMES_RESTART 16000
#define WAL_READERS_WAIT_MS 100u
/* Other processes get at the lock between two of our transactions. */
#define BREATH_NS 300000L
#define JOB_START_MS 10000 /* work that has not begun by then is given up */

enum job_stage { JOB_WAITS, JOB_TAKEN, JOB_DONE };

struct job {
    write_fn *run;
    void *arg;
    bool is_volatile, is_detached;
    enum job_stage stage;
    enum err rc;
    struct errmsg em;
    pthread_cond_t changed;
    struct job *next;
};

struct writer {
    struct store *store;
    struct db *db;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t wake;
    struct job *first, **last;
    size_t n_waiting;
    bool stopping;
    bool synced; /* the thread's own: synchronous=FULL is set */
    int wal_frames;
};

static int on_commit_to_wal(void *ctx, sqlite3 *handle, const char *name, int n_frames)
{
    struct writer *w = ctx;
    (void)handle;
    (void)name;
    w->wal_frames = n_frames;
    return SQLITE_OK;
}

/* ---- the thread's side ---- */

static struct job *take_group(struct writer *w)
{
    struct job *group = w->first, **end = &w->first;
    size_t n = 0;
    for (; *end && n < STORE_GROUP_MAX; n++) {
        (*end)->stage = JOB_TAKEN;
        end = &(*end)->next;
    }
    w->first = *end;
    if (!w->first)
        w->last = &w->first;
    *end = NULL;
    w->n_waiting -= n;
    return group;
}

static enum err begin(struct writer *w, bool durable, struct errmsg *em)
{
    if (durable != w->synced) {
        /* a script: this pragma acts when it is prepared, not when it is run */
        enum err rc = db_script(
            w->db, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", em);
        if (rc)
            return rc;
        w->synced = durable;
    }
    return db_run(w->db, "BEGIN IMMEDIATE", SQL_NO_ARGS, em);
}

static bool in_transaction(struct writer *w)
{
    return !sqlite3_get_autocommit(db_handle(w->db));
}

/* What it returns is whether the transaction can go on; the job's own fate is in the job. */
static enum err run_job(struct writer *w, struct job *j, struct errmsg *em)
{
    enum err rc = db_run(w->db, "SAVEPOINT job", SQL_NO_ARGS, em);
    if (rc)
        return rc;
    j->rc = j->run(w->store, w->db, j->arg, &j->em);
    if (j->rc) {
        db_reset(w->db);
        if (!in_transaction(w)) { /* SQLite itself gave the whole of it up: disk, memory */
            if (em)
                *em = j->em;
            return j->rc;
        }
        rc = db_run(w->db, "ROLLBACK TO job", SQL_NO_ARGS, em);
    }
    return rc ? rc : db_run(w->db, "RELEASE job", SQL_NO_ARGS, em);
}

static void run_group(struct writer *w, struct job *group)
{
    bool durable = false;
    for (struct job *j = group; j; j = j->next)
        durable = durable || !j->is_volatile;
    struct errmsg em = {{0}}, ignored;
    enum err rc = begin(w, durable, &em);
    for (struct job *j = group; j && !rc; j = j->next)
        rc = run_job(w, j, &em);
    if (!rc)
        rc = db_run(w->db, "COMMIT", SQL_NO_ARGS, &em);
    store_note_damage(w->store, w->db);
    if (!rc)
        return;
    db_reset(w->db);
    if (in_transaction(w))
        (void)!db_run(w->db, "ROLLBACK", SQL_NO_ARGS, &ignored);
    for (struct job *j = group; j; j = j->next)
        if (!j->rc) {
            j->rc = rc;
            j->em = em;
        }
}

static void finish_group(struct job *group)
{
    for (struct job *j = group, *next; j; j = next) {
        next = j->next;
        if (j->is_detached) {
            free(j->arg);
            free(j);
        } else {
            j->stage = JOB_DONE;
            pthread_cond_signal(&j->changed);
        }
    }
}

/* Of a file that was cut short the log is what can still be saved. */
static bool may_copy_log(struct writer *w)
{
    struct errmsg ignored;
    return !atomic_load(&w->store->is_damaged) &&
           store_check_length(w->db, w->store->path, &ignored) == ERR_OK;
}

/* After the callers are awake, so that none of them waits for it. */
static void tidy_log(struct writer *w)
{
    if (w->wal_frames < WAL_FRAMES_COPY || !may_copy_log(w))
        return;
    int mode =
        w->wal_frames < WAL_FRAMES_RESTART ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_RESTART;
    w->wal_frames = 0; /* the next commit says how many are left */
    db_set_busy_ms(w->db, WAL_READERS_WAIT_MS);
    sqlite3_wal_checkpoint_v2(db_handle(w->db), NULL, mode, NULL, NULL);
    db_set_busy_ms(w->db, w->store->o.busy_ms);
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    const struct timespec breath = {0, BREATH_NS};
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        while (!w->first && !w->stopping)
            pthread_cond_wait(&w->wake, &w->mutex);
        if (!w->first)
            break;
        struct job *group = take_group(w);
        pthread_mutex_unlock(&w->mutex);
        run_group(w, group);
        pthread_mutex_lock(&w->mutex);
        finish_group(group);
        pthread_mutex_unlock(&w->mutex);
        tidy_log(w);
        nanosleep(&breath, NULL);
        pthread_mutex_lock(&w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* ---- the callers' side ---- */

/* With the mutex held. */
static enum err append(struct writer *w, struct job *j, struct errmsg *em)
{
    if (w->n_waiting >= STORE_PENDING_MAX)
        return err_set(em, ERR_BUSY, "%s: %u writes wait already; try again later", w->store->path,
                       STORE_PENDING_MAX);
    j->next = NULL;
    *w->last = j;
    w->last = &j->next;
    w->n_waiting++;
    pthread_cond_signal(&w->wake);
    return ERR_OK;
}

static void take_back(struct writer *w, struct job *job)
{
    struct job **at = &w->first;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (!job->next)
        w->last = at;
    w->n_waiting--;
}

/* Until it is done, or has not begun for too long. Work that has begun ends by itself: SQLite
 * waits for locks no longer than busy_ms. */
static void wait_for(struct writer *w, struct job *j)
{
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += JOB_START_MS / 1000;
    while (j->stage == JOB_WAITS && pthread_cond_timedwait(&j->changed, &w->mutex, &limit) == 0)
        ;
    while (j->stage == JOB_TAKEN)
        pthread_cond_wait(&j->changed, &w->mutex);
    if (j->stage == JOB_DONE)
        return;
    take_back(w, j);
    j->rc = err_set(&j->em, ERR_BUSY,
                    "%s: writing is too slow to begin within %u s; try again "
                    "later",
                    w->store->path, JOB_START_MS / 1000u);
}

static enum err init_cond(pthread_cond_t *cond, struct errmsg *em)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr))
        return err_set(em, ERR_NOMEM, "out of memory for a lock");
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return failed ? err_set(em, ERR_NOMEM, "out of memory for a lock") : ERR_OK;
}

static enum err write_and_wait(struct store *st, write_fn *fn, void *arg, bool is_volatile,
                               struct errmsg *em)
{
    struct writer *w = st->writer;
    struct job j = {.run = fn, .arg = arg, .is_volatile = is_volatile};
    enum err rc = init_cond(&j.changed, em);
    if (rc)
        return rc;
    pthread_mutex_lock(&w->mutex);
    rc = append(w, &j, &j.em);
    if (!rc) {
        wait_for(w, &j);
        rc = j.rc;
    }
    pthread_mutex_unlock(&w->mutex);
    pthread_cond_destroy(&j.changed);
    if (rc && em)
        *em = j.em;
    return rc == ERR_FORMAT ? ERR_IO : rc;
}

enum err store_write(struct store *st, write_fn *fn, void *arg, struct errmsg *em)
{
    return write_and_wait(st, fn, arg, false, em);
}

enum err store_write_volatile(struct store *st, write_fn *fn, void *arg, struct errmsg *em)
{
    return write_and_wait(st, fn, arg, true, em);
}

void store_write_later_take(struct store *st, write_fn *fn, void *arg)
{
    struct writer *w = st->writer;
    struct job *j = calloc(1, sizeof *j);
    if (!j) {
        free(arg);
        return;
    }
    *j = (struct job){.run = fn, .arg = arg, .is_volatile = true, .is_detached = true};
    pthread_mutex_lock(&w->mutex);
    enum err rc = append(w, j, NULL);
    pthread_mutex_unlock(&w->mutex);
    if (rc) {
        free(arg);
        free(j);
    }
}

/* ---- begin and end ---- */

/* The program's signals are for its other threads. */
static bool start_thread(struct writer *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, writer_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}

enum err writer_new(struct store *st, struct db *db, struct writer **out, struct errmsg *em)
{
    struct writer *w = calloc(1, sizeof *w);
    if (!w) {
        db_close(db);
        return err_nomem(em, sizeof *w);
    }
    w->store = st;
    w->db = db;
    w->last = &w->first;
    sqlite3_wal_hook(db_handle(db), on_commit_to_wal, w);
    enum err rc = init_cond(&w->wake, em);
    if (!rc && pthread_mutex_init(&w->mutex, NULL)) {
        pthread_cond_destroy(&w->wake);
        rc = err_set(em, ERR_NOMEM, "out of memory for a lock");
    }
    if (!rc && !start_thread(w)) {
        pthread_mutex_destroy(&w->mutex);
        pthread_cond_destroy(&w->wake);
        rc = err_set(em, ERR_NOMEM, "cannot start a thread");
    }
    if (rc) {
        db_close(db);
        free(w);
        return rc;
    }
    *out = w;
    return ERR_OK;
}

void writer_free(struct writer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->wake);
    if (may_copy_log(w))
        db_fold_at_close(w->db);
    db_close(w->db);
    free(w);
}

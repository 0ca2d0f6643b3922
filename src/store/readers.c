/* SPDX-License-Identifier: MIT */
/* A few connections for reading, opened when they are first needed. The one used last is taken
 * first: its pages and statements are warm. From reader_take to reader_give is one transaction:
 * what several statements see belongs together, and the file is locked once for all of them. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "store/store_impl.h"

#define READER_WAIT_S 10

struct readers {
    pthread_mutex_t mutex;
    pthread_cond_t given;
    struct db *idle[STORE_READERS_MAX];
    size_t n_idle, n_open;
};

enum err readers_new(struct readers **out, struct errmsg *em)
{
    struct readers *r = calloc(1, sizeof *r);
    if (!r)
        return err_nomem(em, sizeof *r);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->given, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&r->mutex, NULL);
    *out = r;
    return ERR_OK;
}

void readers_free(struct readers *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_idle; i++)
        db_close(r->idle[i]);
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->given);
    free(r);
}

static enum err open_reader(struct store *st, struct db **out, struct errmsg *em)
{
    struct db *db = NULL;
    enum err rc = db_open(st->path, st->o.busy_ms, &db, em);
    if (!rc)
        rc = db_script(db, "PRAGMA query_only = ON", em);
    if (rc) {
        db_close(db);
        return rc == ERR_FORMAT ? ERR_IO : rc;
    }
    *out = db;
    return ERR_OK;
}

static void forget_one(struct readers *r)
{
    pthread_mutex_lock(&r->mutex);
    r->n_open--;
    pthread_cond_signal(&r->given);
    pthread_mutex_unlock(&r->mutex);
}

/* *out stays NULL if a new connection may be opened. */
static enum err wait_for_reader(struct store *st, struct db **out, struct errmsg *em)
{
    struct readers *r = st->readers;
    struct timespec limit;
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_sec += READER_WAIT_S;
    enum err rc = ERR_OK;
    pthread_mutex_lock(&r->mutex);
    while (!r->n_idle && r->n_open == STORE_READERS_MAX && !rc)
        if (pthread_cond_timedwait(&r->given, &r->mutex, &limit) == ETIMEDOUT)
            rc = err_set(em, ERR_BUSY,
                         "%s: all connections for reading are in use; try again "
                         "later",
                         st->path);
    if (!rc && r->n_idle)
        *out = r->idle[--r->n_idle];
    else if (!rc)
        r->n_open++;
    pthread_mutex_unlock(&r->mutex);
    return rc;
}

enum err reader_take(struct store *st, struct db **out, struct errmsg *em)
{
    struct db *db = NULL;
    enum err rc = wait_for_reader(st, &db, em);
    if (!rc && !db) {
        rc = open_reader(st, &db, em);
        if (rc)
            forget_one(st->readers);
    }
    if (rc)
        return rc;
    rc = db_run(db, "BEGIN", SQL_NO_ARGS, em);
    if (rc) {
        store_note_damage(st, db);
        db_close(db);
        forget_one(st->readers);
        return rc;
    }
    *out = db;
    return ERR_OK;
}

enum err reader_give(struct store *st, struct db *db, enum err rc)
{
    struct readers *r = st->readers;
    struct errmsg ignored;
    if (rc)
        db_reset(db);
    bool damaged = rc == ERR_IO || rc == ERR_FORMAT;
    store_note_damage(st, db);
    if (damaged || db_run(db, "COMMIT", SQL_NO_ARGS, &ignored)) {
        db_close(db); /* the next one begins with a fresh connection */
        forget_one(r);
        return damaged ? ERR_IO : rc;
    }
    pthread_mutex_lock(&r->mutex);
    r->idle[r->n_idle++] = db;
    pthread_cond_signal(&r->given);
    pthread_mutex_unlock(&r->mutex);
    return rc;
}

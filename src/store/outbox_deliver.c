/* SPDX-License-Identifier: MIT */
/* Entries on their way: claimed with a lease, then delivered, tried again, or given up. */
#include <stdlib.h>

#include "store/store_impl.h"

#define CLAIM_MAX 1000u
#define ERROR_TEXT_MAX 500

struct outbox_claim {
    size_t limit;
    int64_t lease_ms;
    struct outbox_entry *entries;
    size_t n;
};

static enum err lease_all(struct db *db, const struct outbox_claim *c, int64_t now_ms,
                          struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (size_t i = 0; i < c->n && !rc; i++)
        rc = db_run(db, "UPDATE outbox SET next_ms = ?2 WHERE id = ?1",
                    SQL_ARGS(sql_int(c->entries[i].id), sql_int(now_ms + c->lease_ms)), em);
    return rc;
}

static enum err outbox_claim(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct outbox_claim *c = arg;
    sqlite3_stmt *q;
    int64_t now_ms = store_now_ms(st);
    enum err rc = db_query(db,
                           "SELECT " OUTBOX_COLUMNS " FROM outbox o INDEXED BY outbox_ready"
                           " JOIN tasks t ON t.seq = o.seq WHERE o.phase = 1 AND o.next_ms <= ?1"
                           " ORDER BY o.next_ms LIMIT ?2",
                           SQL_ARGS(sql_int(now_ms), sql_int((int64_t)c->limit)), &q, em);
    while (!rc && !(rc = db_next(db, q, em))) {
        rc = outbox_read(q, &c->entries[c->n], em);
        c->n += !rc;
    }
    return rc == ERR_EMPTY ? lease_all(db, c, now_ms, em) : rc;
}

static bool anything_due(struct store *st)
{
    struct errmsg ignored;
    int64_t due_ms;
    return store_outbox_next_due(st, &due_ms, &ignored) || due_ms <= store_now_ms(st);
}

enum err store_outbox_claim(struct store *st, size_t limit, int64_t lease_ms,
                            void (*fn)(void *ctx, const struct outbox_entry *e), void *ctx,
                            size_t *n, struct errmsg *em)
{
    struct outbox_claim c = {.limit = limit < CLAIM_MAX ? limit : CLAIM_MAX, .lease_ms = lease_ms};
    *n = 0;
    if (!c.limit || !anything_due(st)) /* without taking the lock */
        return ERR_OK;
    c.entries = calloc(c.limit, sizeof *c.entries);
    if (!c.entries)
        return err_nomem(em, c.limit * sizeof *c.entries);
    enum err rc = store_write(st, outbox_claim, &c, em);
    for (size_t i = 0; i < c.n; i++) {
        if (!rc)
            fn(ctx, &c.entries[i]);
        outbox_entry_deinit(&c.entries[i]);
    }
    free(c.entries);
    if (!rc)
        *n = c.n;
    return rc;
}

/* The end of a lease lies after the entry's own time; of what waits for that, it does not. */
static enum err outbox_release(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    size_t *n = arg;
    enum err rc = db_run(db,
                         "UPDATE outbox INDEXED BY outbox_ready SET next_ms = due_ms"
                         " WHERE phase = 1 AND next_ms > ?1 AND next_ms > due_ms",
                         SQL_ARGS(sql_int(store_now_ms(st))), em);
    *n = (size_t)db_changes(db);
    return rc;
}

enum err store_outbox_release(struct store *st, size_t *n, struct errmsg *em)
{
    size_t n_released = 0;
    enum err rc = store_write(st, outbox_release, &n_released, em);
    if (!rc)
        *n = n_released;
    return rc;
}

struct outcome {
    int64_t id;
    int status;
    const char *error;
    int64_t due_ms;
    bool dead;
};

static enum err entry_task(struct db *db, int64_t id, int64_t *seq, struct errmsg *em)
{
    enum err rc =
        db_number(db, "SELECT seq FROM outbox WHERE id = ?1", SQL_ARGS(sql_int(id)), seq, em);
    return rc == ERR_EMPTY ? err_set(em, ERR_NOTFOUND, "there is no webhook %lld", (long long)id)
                           : rc;
}

static enum err outbox_delivered(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct outcome *o = arg;
    int64_t seq, now_ms = store_now_ms(st);
    enum err rc = entry_task(db, o->id, &seq, em);
    if (!rc)
        rc = db_run(db,
                    "UPDATE outbox SET phase = 2, delivered_ms = ?2, last_status = ?3,"
                    " last_error = NULL, tries = tries + 1 WHERE id = ?1",
                    SQL_ARGS(sql_int(o->id), sql_int(now_ms), sql_int(o->status)), em);
    if (!rc)
        rc = totals_add(db, "webhooks_delivered", 1, em);
    return rc ? rc : outbox_promote(db, seq, now_ms, em);
}

enum err store_outbox_delivered(struct store *st, int64_t id, int status, struct errmsg *em)
{
    struct outcome o = {.id = id, .status = status};
    return store_write(st, outbox_delivered, &o, em);
}

static enum err outbox_failed(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct outcome *o = arg;
    int64_t seq;
    enum err rc = entry_task(db, o->id, &seq, em);
    if (!rc)
        rc = db_run(db,
                    "UPDATE outbox SET phase = iif(?5, 3, 1), last_status = ?2,"
                    " last_error = substr(?3, 1, ?6), tries = tries + 1, due_ms = ?4, next_ms = ?4"
                    " WHERE id = ?1",
                    SQL_ARGS(sql_int(o->id), sql_int(o->status), sql_text(o->error),
                             sql_int(o->due_ms), sql_int(o->dead), sql_int(ERROR_TEXT_MAX)),
                    em);
    if (!rc)
        rc = totals_add(db, "webhooks_tries_failed", 1, em);
    return rc || !o->dead ? rc : outbox_promote(db, seq, store_now_ms(st), em);
}

enum err store_outbox_failed(struct store *st, int64_t id, int status, const char *error,
                             int64_t due_ms, bool dead, struct errmsg *em)
{
    struct outcome o = {id, status, error, due_ms, dead};
    return store_write(st, outbox_failed, &o, em);
}

struct redelivery {
    int64_t id;
    size_t n;
};

/* Back behind the entry of its task that is ready now, if there is one. */
static enum err redeliver_one(struct store *st, struct db *db, int64_t id, struct errmsg *em)
{
    int64_t seq, now_ms = store_now_ms(st);
    enum err rc = entry_task(db, id, &seq, em);
    if (!rc)
        rc = db_run(db,
                    "UPDATE outbox SET phase = 0, tries = 0, delivered_ms = 0, due_ms = ?2,"
                    " next_ms = ?2 WHERE id = ?1",
                    SQL_ARGS(sql_int(id), sql_int(now_ms)), em);
    return rc ? rc : outbox_promote(db, seq, now_ms, em);
}

static enum err outbox_redeliver(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct redelivery *r = arg;
    enum err rc = ERR_OK;
    if (r->id) {
        r->n = 1;
        return redeliver_one(st, db, r->id, em);
    }
    for (r->n = 0; !rc; r->n += !rc) {
        int64_t id;
        rc = db_number(db,
                       "SELECT id FROM outbox INDEXED BY outbox_dead WHERE phase = 3"
                       " ORDER BY id LIMIT 1",
                       SQL_NO_ARGS, &id, em);
        if (!rc)
            rc = redeliver_one(st, db, id, em);
    }
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

enum err store_outbox_redeliver(struct store *st, int64_t id, size_t *n, struct errmsg *em)
{
    struct redelivery r = {.id = id};
    enum err rc = store_write(st, outbox_redeliver, &r, em);
    if (!rc)
        *n = r.n;
    return rc;
}

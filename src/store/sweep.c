/* SPDX-License-Identifier: MIT */
/* Upkeep: leases that ran out, blobs past their lifetime, rows that nobody asks for any more.
 *
 * Blobs go in two phases, so that a crash between leaves neither a file that nothing points to
 * nor a name without a file that a user could see: first the task is marked, which hides the
 * names, and that is committed; then the blobs are deleted; then the names are forgotten. After
 * a crash the second phase finds the marked tasks again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_impl.h"

/* ---- leases ---- */

struct lease_sweep {
    const char *dead_worker;
    size_t n;
};

#define LEASES_MAX 1000 /* in one transaction */
#define REVOKED_MAX 2000u
#define LEASE_IS_OVER "(until_ms <= ?1 OR boot <> ?2 OR worker = ?3)"

static enum err give_up(struct store *st, struct db *db, struct task_row *t, struct errmsg *em)
{
    char reason[160];
    snprintf(reason, sizeof reason,
             "the worker stopped while drawing this picture, %u times; it was given up",
             t->attempts);
    return task_move(st, db, t, TASK_FAILED, reason, em);
}

static enum err lease_end(struct store *st, struct db *db, int64_t seq, bool cancel,
                          struct errmsg *em)
{
    struct task_row t;
    enum err rc = task_row_read(db, seq, &t, em);
    if (rc)
        return rc;
    if (cancel)
        return task_move(st, db, &t, TASK_FAILED, TASK_CANCELLED_REASON, em);
    if (t.attempts >= TASK_ATTEMPTS_MAX)
        return give_up(st, db, &t, em);
    rc = db_run(db, "UPDATE tasks SET started_ms = 0 WHERE seq = ?1", SQL_ARGS(sql_int(seq)), em);
    return rc ? rc : task_move(st, db, &t, TASK_CREATED, NULL, em);
}

static enum err sweep_leases(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct lease_sweep *s = arg;
    enum err rc = ERR_OK;
    for (s->n = 0; s->n < LEASES_MAX && !rc; s->n += !rc) {
        sqlite3_stmt *q;
        rc = db_first(db, "SELECT seq, cancel FROM leases WHERE " LEASE_IS_OVER " LIMIT 1",
                      SQL_ARGS(sql_int(store_lease_now_ms(st)), sql_text(st->boot_id),
                               sql_text(s->dead_worker)),
                      &q, em);
        if (rc)
            break;
        int64_t seq = sqlite3_column_int64(q, 0);
        bool cancel = sqlite3_column_int(q, 1) != 0;
        db_done(q);
        rc = lease_end(st, db, seq, cancel, em);
    }
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

/* Is there anything to do? Found without the lock, as mostly there is not. */
static enum err look(struct store *st, const char *dead_worker, int64_t *n_leases,
                     int64_t *n_revoked, struct errmsg *em)
{
    struct db *db;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = db_number(
        db, "SELECT count(*) FROM leases WHERE " LEASE_IS_OVER,
        SQL_ARGS(sql_int(store_lease_now_ms(st)), sql_text(st->boot_id), sql_text(dead_worker)),
        n_leases, em);
    if (!rc)
        rc = db_number(db,
                       "SELECT count(*) FROM queues q JOIN api_keys k ON k.id = q.key_id"
                       " WHERE q.n_queued > 0 AND k.revoked_ms > 0",
                       SQL_NO_ARGS, n_revoked, em);
    return reader_give(st, db, rc);
}

enum err store_sweep_leases(struct store *st, const char *dead_worker, size_t *n, struct errmsg *em)
{
    struct lease_sweep s = {.dead_worker = dead_worker};
    int64_t n_leases = 0, n_revoked = 0;
    enum err rc = look(st, dead_worker, &n_leases, &n_revoked, em);
    if (!rc && n_leases)
        rc = store_write(st, sweep_leases, &s, em);
    if (!rc && n_revoked)
        rc = keys_cancel_revoked(st, REVOKED_MAX, em);
    if (!rc)
        *n = s.n;
    return rc;
}

/* ---- blobs ---- */

struct blob_sweep {
    int64_t limit;
    size_t n_tasks;
};

/* Phase one; and rows that are past their time. */
static enum err mark(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct blob_sweep *s = arg;
    int64_t now_ms = store_now_ms(st);
    enum err rc = db_run(db,
                         "UPDATE tasks SET swept = 1 WHERE seq IN (SELECT seq FROM tasks"
                         " INDEXED BY tasks_finished WHERE swept = 0 AND expires_ms > 0"
                         " AND expires_ms <= ?1 LIMIT ?2)",
                         SQL_ARGS(sql_int(now_ms), sql_int(s->limit)), em);
    if (!rc)
        rc = db_run(db,
                    "DELETE FROM idempotency WHERE (key_id, name) IN (SELECT key_id, name FROM"
                    " idempotency WHERE created_ms <= ?1 ORDER BY created_ms LIMIT ?2)",
                    SQL_ARGS(sql_int(now_ms - STORE_IDEMPOTENCY_MS), sql_int(s->limit)), em);
    if (!rc)
        rc = db_run(db,
                    "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox"
                    " INDEXED BY outbox_delivered WHERE phase = 2 AND delivered_ms <= ?1 LIMIT ?2)",
                    SQL_ARGS(sql_int(now_ms - STORE_DELIVERED_KEEP_MS), sql_int(s->limit)), em);
    if (!rc)
        rc = db_run(db,
                    "DELETE FROM tasks WHERE seq IN (SELECT seq FROM tasks"
                    " INDEXED BY tasks_finished WHERE swept = 2 AND expires_ms > 0"
                    " AND expires_ms <= ?1 LIMIT ?2)",
                    SQL_ARGS(sql_int(now_ms - STORE_TASK_KEEP_MS), sql_int(s->limit)), em);
    return rc;
}

struct doomed {
    char *name;
    int64_t seq;
    bool is_shared; /* another task that is not marked holds it, too */
    bool is_gone;
};

struct doomed_list {
    struct doomed *items;
    size_t n;
};

static void doomed_deinit(struct doomed_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i].name);
    free(l->items);
}

static enum err doomed_append(struct doomed_list *l, sqlite3_stmt *q, struct errmsg *em)
{
    struct doomed *items = realloc(l->items, (l->n + 1) * sizeof *items);
    if (!items)
        return err_nomem(em, (l->n + 1) * sizeof *items);
    l->items = items;
    struct doomed *d = &items[l->n];
    *d = (struct doomed){.seq = sqlite3_column_int64(q, 1),
                         .is_shared = sqlite3_column_int(q, 2) != 0};
    enum err rc = db_column_text(q, 0, &d->name, em);
    l->n += !rc;
    return rc;
}

static enum err find_doomed(struct store *st, int64_t limit, struct doomed_list *l,
                            struct errmsg *em)
{
    struct db *db;
    sqlite3_stmt *q;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = db_query(db,
                  "SELECT b.name, b.seq, EXISTS (SELECT 1 FROM task_blobs o JOIN tasks x"
                  "  ON x.seq = o.seq WHERE o.name = b.name AND x.swept = 0)"
                  " FROM (SELECT seq FROM tasks INDEXED BY tasks_finished WHERE swept = 1"
                  "  AND expires_ms > 0 LIMIT ?1) t JOIN task_blobs b ON b.seq = t.seq",
                  SQL_ARGS(sql_int(limit)), &q, em);
    while (!rc && !(rc = db_next(db, q, em)))
        rc = doomed_append(l, q, em);
    return reader_give(st, db, rc == ERR_EMPTY ? ERR_OK : rc);
}

struct forgetting {
    struct doomed_list *list;
    int64_t limit;
    int64_t n_tasks;
};

/* Phase three: names of what is gone, then tasks without names. */
static enum err forget(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct forgetting *f = arg;
    enum err rc = ERR_OK;
    (void)st;
    for (size_t i = 0; i < f->list->n && !rc; i++)
        if (f->list->items[i].is_gone)
            rc = db_run(db, "DELETE FROM task_blobs WHERE name = ?1 AND seq = ?2",
                        SQL_ARGS(sql_text(f->list->items[i].name), sql_int(f->list->items[i].seq)),
                        em);
    if (!rc)
        rc = db_run(db,
                    "UPDATE tasks SET swept = 2, result = NULL WHERE seq IN (SELECT t.seq FROM"
                    " tasks t INDEXED BY tasks_finished WHERE t.swept = 1 AND t.expires_ms > 0 AND"
                    " NOT EXISTS (SELECT 1 FROM task_blobs b WHERE b.seq = t.seq) LIMIT ?1)",
                    SQL_ARGS(sql_int(f->limit)), em);
    f->n_tasks = db_changes(db);
    return rc;
}

/* Does a sweep find anything at all? Without the lock. */
static enum err anything_old(struct store *st, bool *yes, struct errmsg *em)
{
    struct db *db;
    int64_t found = 0, now_ms = store_now_ms(st);
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = db_number(db,
                   "SELECT EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_finished WHERE swept = 0"
                   "  AND expires_ms > 0 AND expires_ms <= ?1)"
                   " OR EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_finished WHERE swept = 1"
                   "  AND expires_ms > 0)"
                   " OR EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_finished WHERE swept = 2"
                   "  AND expires_ms > 0 AND expires_ms <= ?2)"
                   " OR EXISTS (SELECT 1 FROM idempotency WHERE created_ms <= ?3)"
                   " OR EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_delivered WHERE phase = 2"
                   "  AND delivered_ms <= ?4)",
                   SQL_ARGS(sql_int(now_ms), sql_int(now_ms - STORE_TASK_KEEP_MS),
                            sql_int(now_ms - STORE_IDEMPOTENCY_MS),
                            sql_int(now_ms - STORE_DELIVERED_KEEP_MS)),
                   &found, em);
    *yes = found != 0;
    return reader_give(st, db, rc);
}

enum err store_sweep_blobs(struct store *st, size_t limit, bool (*fn)(void *ctx, const char *blob),
                           void *ctx, size_t *n, struct errmsg *em)
{
    struct blob_sweep s = {.limit = limit < INT32_MAX ? (int64_t)limit : INT32_MAX};
    struct doomed_list l = {0};
    struct forgetting f = {.list = &l, .limit = s.limit};
    bool yes = false;
    *n = 0;
    enum err rc = anything_old(st, &yes, em);
    if (rc || !yes)
        return rc;
    rc = store_write(st, mark, &s, em);
    if (!rc)
        rc = find_doomed(st, s.limit, &l, em);
    for (size_t i = 0; i < l.n && !rc; i++)
        l.items[i].is_gone = l.items[i].is_shared || fn(ctx, l.items[i].name);
    if (!rc)
        rc = store_write(st, forget, &f, em);
    doomed_deinit(&l);
    if (!rc)
        *n = (size_t)f.n_tasks;
    return rc;
}

enum err store_blob_is_held(struct store *st, const char *blob, bool *held, struct errmsg *em)
{
    struct db *db;
    int64_t found = 0;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = db_number(db, "SELECT EXISTS (SELECT 1 FROM task_blobs WHERE name = ?1)",
                   SQL_ARGS(sql_text(blob)), &found, em);
    rc = reader_give(st, db, rc);
    if (!rc)
        *held = found != 0;
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* The outbox's rows: added with each change of state, and shown.
 *
 * Of a task's entries one at a time is ready, the first that is not delivered or dead; the rest
 * wait behind it. So what is due is found by an index, however many entries wait. */
#include <stdlib.h>
#include <string.h>

#include "store/store_impl.h"

void outbox_entry_deinit(struct outbox_entry *e)
{
    if (!e)
        return;
    free(e->url);
    free(e->secret);
    free(e->last_error);
    *e = (struct outbox_entry){0};
}

enum err outbox_promote(struct db *db, int64_t seq, int64_t now_ms, struct errmsg *em)
{
    return db_run(db,
                  "UPDATE outbox SET phase = 1, next_ms = max(due_ms, ?2) WHERE id ="
                  " (SELECT min(id) FROM outbox WHERE seq = ?1 AND phase = 0)"
                  " AND NOT EXISTS (SELECT 1 FROM outbox WHERE seq = ?1 AND phase = 1)",
                  SQL_ARGS(sql_int(seq), sql_int(now_ms)), em);
}

/* A damaged request does not say where to: the task's earlier entries do. */
enum err outbox_add(struct store *st, struct db *db, int64_t seq, enum task_state state,
                    struct errmsg *em)
{
    char message_id[UUID_CHARS + 1];
    int64_t now_ms = store_now_ms(st);
    enum err rc = uuid_new(message_id, em);
    if (!rc)
        rc = db_run(db,
                    "INSERT INTO outbox(seq, message_id, state, url, secret, phase, created_ms,"
                    " due_ms, next_ms)"
                    " SELECT ?1, ?2, ?3, url, secret, 0, ?4, ?4, ?4 FROM"
                    "  (SELECT json_extract(body, '$.webhook_url') AS url,"
                    "   json_extract(body, '$.webhook_secret') AS secret FROM"
                    "   (SELECT iif(json_valid(body), body, '{}') AS body FROM requests"
                    "    WHERE seq = ?1)"
                    "  UNION ALL SELECT url, secret FROM outbox WHERE seq = ?1)"
                    " WHERE typeof(url) = 'text' LIMIT 1",
                    SQL_ARGS(sql_int(seq), sql_text(message_id), sql_int(state), sql_int(now_ms)),
                    em);
    return rc ? rc : outbox_promote(db, seq, now_ms, em);
}

enum {
    COL_ID,
    COL_TASK,
    COL_MESSAGE,
    COL_STATE,
    COL_URL,
    COL_SECRET,
    COL_TRIES,
    COL_CREATED,
    COL_DUE,
    COL_ERROR,
    COL_STATUS,
    COL_PHASE,
    COL_DELIVERED,
    COL_DIALECT
};

static void copy_id(sqlite3_stmt *q, int column, char out[TASK_ID_CHARS + 1])
{
    const char *text = (const char *)sqlite3_column_text(q, column);
    memset(out, 0, TASK_ID_CHARS + 1);
    strncpy(out, text ? text : "", TASK_ID_CHARS);
}

enum err outbox_read(sqlite3_stmt *q, struct outbox_entry *out, struct errmsg *em)
{
    struct outbox_entry e = {.id = sqlite3_column_int64(q, COL_ID),
                             .state = (enum task_state)sqlite3_column_int(q, COL_STATE),
                             .dialect = (enum task_dialect)sqlite3_column_int(q, COL_DIALECT),
                             .tries = (unsigned)sqlite3_column_int(q, COL_TRIES),
                             .created_ms = sqlite3_column_int64(q, COL_CREATED),
                             .due_ms = sqlite3_column_int64(q, COL_DUE),
                             .last_status = sqlite3_column_int(q, COL_STATUS),
                             .waits = sqlite3_column_int(q, COL_PHASE) == 0,
                             .dead = sqlite3_column_int(q, COL_PHASE) == 3,
                             .delivered_ms = sqlite3_column_int64(q, COL_DELIVERED)};
    copy_id(q, COL_TASK, e.task_id);
    copy_id(q, COL_MESSAGE, e.message_id);
    enum err rc = db_column_text(q, COL_URL, &e.url, em);
    if (!rc)
        rc = db_column_text(q, COL_SECRET, &e.secret, em);
    if (!rc)
        rc = db_column_text(q, COL_ERROR, &e.last_error, em);
    if (rc) {
        outbox_entry_deinit(&e);
        return rc;
    }
    *out = e;
    return ERR_OK;
}

enum err store_outbox_list(struct store *st, bool only_dead, size_t limit,
                           void (*fn)(void *ctx, const struct outbox_entry *e), void *ctx,
                           struct errmsg *em)
{
    struct db *db;
    sqlite3_stmt *q;
    struct sql_arg n = sql_int(limit < INT32_MAX ? (int64_t)limit : INT32_MAX);
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    if (only_dead)
        rc = db_query(db,
                      "SELECT " OUTBOX_COLUMNS " FROM outbox o INDEXED BY outbox_dead"
                      " JOIN tasks t ON t.seq = o.seq WHERE o.phase = 3"
                      " ORDER BY o.id DESC LIMIT ?1",
                      &n, 1, &q, em);
    else
        rc = db_query(db,
                      "SELECT " OUTBOX_COLUMNS " FROM outbox o JOIN tasks t ON t.seq = o.seq"
                      " ORDER BY o.id DESC LIMIT ?1",
                      &n, 1, &q, em);
    while (!rc && !(rc = db_next(db, q, em))) {
        struct outbox_entry e = {0};
        rc = outbox_read(q, &e, em);
        if (!rc)
            fn(ctx, &e);
        outbox_entry_deinit(&e);
    }
    return reader_give(st, db, rc == ERR_EMPTY ? ERR_OK : rc);
}

enum err store_outbox_next_due(struct store *st, int64_t *due_ms, struct errmsg *em)
{
    struct db *db;
    int64_t next = INT64_MAX;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = db_number(db,
                   "SELECT next_ms FROM outbox INDEXED BY outbox_ready WHERE phase = 1"
                   " ORDER BY next_ms LIMIT 1",
                   SQL_NO_ARGS, &next, em);
    rc = reader_give(st, db, rc == ERR_EMPTY ? ERR_OK : rc);
    if (!rc)
        *due_ms = next;
    return rc;
}

static enum err outbox_clock_back(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    const int64_t *back_ms = arg;
    (void)st;
    return db_run(db,
                  "UPDATE outbox SET due_ms = due_ms - ?1, next_ms = next_ms - ?1"
                  " WHERE phase IN (0, 1)",
                  SQL_ARGS(sql_int(*back_ms)), em);
}

enum err store_outbox_clock_back(struct store *st, int64_t back_ms, struct errmsg *em)
{
    return store_write(st, outbox_clock_back, &back_ms, em);
}

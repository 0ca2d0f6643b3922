/* SPDX-License-Identifier: MIT */
/* Tasks for those who ask. */
#include <stdlib.h>
#include <string.h>

#include "store/store_impl.h"

#define LIST_MAX 200u
/* Up to so many of the key's own earlier tasks are counted for a position; beyond, it is
 * estimated. */
#define POSITION_EXACT 100

#define TASK_SELECT                                                                                \
    "SELECT t.seq, t.id, t.key_id, t.dialect, t.state, t.cost_micro, t.attempts, t.created_ms,"    \
    " t.started_ms, t.finished_ms, t.expires_ms, t.swept, t.error, t.result, t.enhanced_prompt,"   \
    " t.model, r.body, l.stage, l.step, l.n_steps, l.fraction, l.cancel"                           \
    " FROM tasks t LEFT JOIN requests r ON r.seq = t.seq LEFT JOIN leases l ON l.seq = t.seq "
enum {
    COL_SEQ,
    COL_ID,
    COL_KEY,
    COL_DIALECT,
    COL_STATE,
    COL_COST,
    COL_ATTEMPTS,
    COL_CREATED,
    COL_STARTED,
    COL_FINISHED,
    COL_EXPIRES,
    COL_SWEPT,
    COL_ERROR,
    COL_RESULT,
    COL_ENHANCED,
    COL_MODEL,
    COL_BODY,
    COL_STAGE,
    COL_STEP,
    COL_N_STEPS,
    COL_FRACTION,
    COL_CANCEL
};

static void numbers_from_row(sqlite3_stmt *q, struct task *t)
{
    const char *id = (const char *)sqlite3_column_text(q, COL_ID);
    strncpy(t->id, id ? id : "", TASK_ID_CHARS);
    t->key_id = sqlite3_column_int64(q, COL_KEY);
    t->dialect = (enum task_dialect)sqlite3_column_int(q, COL_DIALECT);
    t->state = (enum task_state)sqlite3_column_int(q, COL_STATE);
    t->cost_microcredits = sqlite3_column_int64(q, COL_COST);
    t->attempts = (unsigned)sqlite3_column_int(q, COL_ATTEMPTS);
    t->created_ms = sqlite3_column_int64(q, COL_CREATED);
    t->started_ms = sqlite3_column_int64(q, COL_STARTED);
    t->finished_ms = sqlite3_column_int64(q, COL_FINISHED);
    t->expires_ms = sqlite3_column_int64(q, COL_EXPIRES);
    t->step = (unsigned)sqlite3_column_int(q, COL_STEP);
    t->n_steps = (unsigned)sqlite3_column_int(q, COL_N_STEPS);
    t->progress = t->state == TASK_COMPLETED ? 1 : sqlite3_column_double(q, COL_FRACTION);
    t->cancel_requested = sqlite3_column_int(q, COL_CANCEL) != 0;
}

/* No name of a blob that is deleted, or about to be, leaves the store. */
static void hide_blobs(struct task *t)
{
    free(t->result);
    t->result = NULL;
    for (size_t i = 0; i < t->request.n_references; i++) {
        free(t->request.references[i]);
        t->request.references[i] = NULL;
    }
    t->request.n_references = 0;
}

/* ERR_FORMAT: it is damaged, or missing. */
static enum err request_from_column(sqlite3_stmt *q, int column, struct gen_request *out,
                                    struct errmsg *em)
{
    if (sqlite3_column_type(q, column) == SQLITE_NULL)
        return err_set(em, ERR_FORMAT, "a stored request is missing");
    const char *body = (const char *)sqlite3_column_text(q, column);
    return body ? gen_request_read(body, out, em) : err_nomem(em, 0);
}

enum err request_check(struct db *db, int64_t seq, bool *damaged, struct errmsg *em)
{
    sqlite3_stmt *q;
    struct gen_request request = {0};
    enum err rc = db_first(
        db,
        "SELECT (SELECT body FROM requests r WHERE r.seq = t.seq) FROM tasks t WHERE t.seq = ?1",
        SQL_ARGS(sql_int(seq)), &q, em);
    if (rc)
        return rc;
    rc = request_from_column(q, 0, &request, em);
    db_done(q);
    gen_request_deinit(&request);
    *damaged = rc == ERR_FORMAT;
    return *damaged ? ERR_OK : rc;
}

/* A damaged request is no reason not to tell of its task. */
static enum err read_request(sqlite3_stmt *q, struct task *t, struct errmsg *em)
{
    enum err rc = request_from_column(q, COL_BODY, &t->request, em);
    if (rc != ERR_FORMAT)
        return rc;
    t->damaged = true;
    t->request.prompt = strdup("");
    t->request.format = strdup("png");
    return t->request.prompt && t->request.format
               ? db_column_text(q, COL_MODEL, &t->request.model, em)
               : err_nomem(em, 1);
}

static enum err task_from_row(sqlite3_stmt *q, struct task *t, struct errmsg *em)
{
    numbers_from_row(q, t);
    enum err rc = db_column_text(q, COL_ERROR, &t->error, em);
    if (!rc)
        rc = db_column_text(q, COL_RESULT, &t->result, em);
    if (!rc)
        rc = db_column_text(q, COL_ENHANCED, &t->enhanced_prompt, em);
    if (!rc)
        rc = db_column_text(q, COL_STAGE, &t->progress_stage, em);
    if (!rc)
        rc = read_request(q, t, em);
    if (!rc && sqlite3_column_int(q, COL_SWEPT))
        hide_blobs(t);
    return rc;
}

/* How many of the key's tasks come before this one. Beyond POSITION_EXACT: by where it lies
 * between the key's first and last. */
static enum err own_rank(struct db *db, int64_t key_id, int64_t seq, int64_t *rank,
                         struct errmsg *em)
{
    enum err rc =
        db_number(db,
                  "SELECT count(*) FROM (SELECT 1 FROM tasks INDEXED BY tasks_queued"
                  " WHERE key_id = ?1 AND state = 0 AND seq < ?2 LIMIT ?3)",
                  SQL_ARGS(sql_int(key_id), sql_int(seq), sql_int(POSITION_EXACT)), rank, em);
    if (rc || *rank < POSITION_EXACT)
        return rc;
    int64_t guess = 0;
    rc = db_number(db,
                   "WITH ends(a, z) AS (SELECT"
                   " (SELECT seq FROM tasks INDEXED BY tasks_queued WHERE key_id = ?1 AND state = 0"
                   "  ORDER BY seq LIMIT 1),"
                   " (SELECT seq FROM tasks INDEXED BY tasks_queued WHERE key_id = ?1 AND state = 0"
                   "  ORDER BY seq DESC LIMIT 1))"
                   " SELECT CAST((q.n_queued - 1.0) * (?2 - a) / max(1, z - a) AS INTEGER)"
                   " FROM ends, queues q WHERE q.key_id = ?1",
                   SQL_ARGS(sql_int(key_id), sql_int(seq)), &guess, em);
    *rank = guess > *rank ? guess : *rank;
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

/* Keys take turns (claim.c): before the task come its key's own earlier ones and, of each other
 * key, as many again, and one more if that key was served longer ago. */
static enum err queue_position(struct db *db, struct task *t, int64_t seq, struct errmsg *em)
{
    int64_t own = 0, others = 0;
    enum err rc = own_rank(db, t->key_id, seq, &own, em);
    if (!rc)
        rc = db_number(db,
                       "SELECT coalesce(sum(min(q.n_queued,"
                       "  ?2 + ((q.served, q.key_id) < (m.served, m.key_id)))), 0)"
                       " FROM queues m, queues q INDEXED BY queues_waiting"
                       " WHERE m.key_id = ?1 AND q.n_queued > 0 AND q.key_id <> ?1",
                       SQL_ARGS(sql_int(t->key_id), sql_int(own)), &others, em);
    t->queue_position = own + others + 1;
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

enum err task_read(struct db *db, const char *id, int64_t key_id, struct task *out,
                   struct errmsg *em)
{
    sqlite3_stmt *q;
    struct task t = {0};
    int64_t seq = 0;
    enum err rc = db_first(db, TASK_SELECT "WHERE t.id = ?1 AND (?2 = 0 OR t.key_id = ?2)",
                           SQL_ARGS(sql_text(id), sql_int(key_id)), &q, em);
    if (rc == ERR_EMPTY)
        return err_set(em, ERR_NOTFOUND, "there is no task %.40s", id);
    if (rc)
        return rc;
    rc = task_from_row(q, &t, em);
    seq = sqlite3_column_int64(q, COL_SEQ);
    db_done(q);
    if (!rc && t.state == TASK_CREATED)
        rc = queue_position(db, &t, seq, em);
    if (rc) {
        task_deinit(&t);
        return rc;
    }
    *out = t;
    return ERR_OK;
}

enum err store_task_get(struct store *st, const char *id, int64_t key_id, struct task *out,
                        struct errmsg *em)
{
    struct db *db;
    struct task t = {0};
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = reader_give(st, db, task_read(db, id, key_id, &t, em));
    if (!rc)
        *out = t;
    else
        task_deinit(&t);
    return rc;
}

/* Where the page begins: every task is older than this. */
static enum err list_start(struct db *db, const struct task_query *query, int64_t *seq,
                           struct errmsg *em)
{
    *seq = INT64_MAX;
    if (!query->after)
        return ERR_OK;
    struct task_row row;
    enum err rc = task_row_find(db, query->after, query->key_id, &row, em);
    if (!rc)
        *seq = row.seq;
    return rc;
}

static enum err list_query(struct db *db, const struct task_query *query, int64_t start,
                           sqlite3_stmt **q, struct errmsg *em)
{
    int64_t limit = query->limit < LIST_MAX ? (int64_t)query->limit : LIST_MAX;
    if (query->key_id && query->model)
        return db_query(db,
                        TASK_SELECT "WHERE t.key_id = ?1 AND t.model = ?2 AND t.seq < ?3"
                                    " AND (?4 < 0 OR t.state = ?4) ORDER BY t.seq DESC LIMIT ?5",
                        SQL_ARGS(sql_int(query->key_id), sql_text(query->model), sql_int(start),
                                 sql_int(query->state), sql_int(limit)),
                        q, em);
    return db_query(db,
                    TASK_SELECT "WHERE (?1 = 0 OR t.key_id = ?1) AND (?2 IS NULL OR t.model = ?2)"
                                " AND t.seq < ?3 AND (?4 < 0 OR t.state = ?4)"
                                " ORDER BY t.seq DESC LIMIT ?5",
                    SQL_ARGS(sql_int(query->key_id), sql_text(query->model), sql_int(start),
                             sql_int(query->state), sql_int(limit)),
                    q, em);
}

enum err store_task_list(struct store *st, const struct task_query *query,
                         void (*fn)(void *ctx, const struct task *t), void *ctx, struct errmsg *em)
{
    struct db *db;
    sqlite3_stmt *q;
    int64_t start;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = list_start(db, query, &start, em);
    if (!rc)
        rc = list_query(db, query, start, &q, em);
    while (!rc && !(rc = db_next(db, q, em))) {
        struct task t = {0};
        rc = task_from_row(q, &t, em);
        if (!rc && t.state == TASK_CREATED)
            rc = queue_position(db, &t, sqlite3_column_int64(q, COL_SEQ), em);
        if (!rc)
            fn(ctx, &t);
        task_deinit(&t);
    }
    return reader_give(st, db, rc == ERR_EMPTY ? ERR_OK : rc);
}

static enum err preview_read(struct db *db, const char *id, int64_t key_id, struct buf *out,
                             struct errmsg *em)
{
    struct task_row t;
    sqlite3_stmt *q;
    enum err rc = task_row_find(db, id, key_id, &t, em);
    if (!rc)
        rc = db_first(db, "SELECT jpeg FROM previews WHERE seq = ?1", SQL_ARGS(sql_int(t.seq)), &q,
                      em);
    if (rc == ERR_EMPTY)
        return err_set(em, ERR_NOTFOUND, "task %.40s has no preview now", id);
    if (rc)
        return rc;
    const void *jpeg = sqlite3_column_blob(q, 0);
    rc = buf_append(out, jpeg, (size_t)sqlite3_column_bytes(q, 0), em);
    db_done(q);
    return rc;
}

enum err store_task_preview(struct store *st, const char *id, int64_t key_id, struct buf *out,
                            struct errmsg *em)
{
    struct db *db;
    enum err rc = reader_take(st, &db, em);
    return rc ? rc : reader_give(st, db, preview_read(db, id, key_id, out, em));
}

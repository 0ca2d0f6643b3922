/* SPDX-License-Identifier: MIT */
/* A task's change of state, with all that hangs on it, in one place. */
#include <stdlib.h>

#include "store/store_impl.h"

enum err totals_add(struct db *db, const char *name, int64_t value, struct errmsg *em)
{
    return db_run(db,
                  "INSERT INTO totals(name, value) VALUES (?1, ?2)"
                  " ON CONFLICT DO UPDATE SET value = value + ?2",
                  SQL_ARGS(sql_text(name), sql_int(value)), em);
}

static enum err row_from_query(struct db *db, const char *sql, const struct sql_arg *args,
                               size_t n_args, struct task_row *out, struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc = db_first(db, sql, args, n_args, &q, em);
    if (rc)
        return rc;
    *out = (struct task_row){.seq = sqlite3_column_int64(q, 0),
                             .key_id = sqlite3_column_int64(q, 1),
                             .state = (enum task_state)sqlite3_column_int(q, 2),
                             .has_webhook = sqlite3_column_int(q, 3) != 0,
                             .attempts = (unsigned)sqlite3_column_int(q, 4),
                             .charged_micro = sqlite3_column_int64(q, 5),
                             .swept = sqlite3_column_int(q, 6)};
    db_done(q);
    return ERR_OK;
}

#define ROW_SELECT                                                                                 \
    "SELECT seq, key_id, state, has_webhook, attempts, charged_micro, swept FROM tasks "

enum err task_row_find(struct db *db, const char *id, int64_t key_id, struct task_row *out,
                       struct errmsg *em)
{
    enum err rc = row_from_query(db, ROW_SELECT "WHERE id = ?1 AND (?2 = 0 OR key_id = ?2)",
                                 SQL_ARGS(sql_text(id), sql_int(key_id)), out, em);
    return rc == ERR_EMPTY ? err_set(em, ERR_NOTFOUND, "there is no task %.40s", id) : rc;
}

enum err task_row_read(struct db *db, int64_t seq, struct task_row *out, struct errmsg *em)
{
    return row_from_query(db, ROW_SELECT "WHERE seq = ?1", SQL_ARGS(sql_int(seq)), out, em);
}

enum err key_charge(struct db *db, int64_t key_id, int64_t cost, int64_t *charged,
                    struct errmsg *em)
{
    int64_t credits;
    *charged = 0;
    enum err rc =
        db_number(db, "SELECT credits_micro FROM api_keys WHERE id = ?1 AND revoked_ms = 0",
                  SQL_ARGS(sql_int(key_id)), &credits, em);
    if (rc == ERR_EMPTY)
        return err_set(em, ERR_NOTFOUND, "the key is revoked");
    if (rc || credits < 0)
        return rc;
    if (credits < cost)
        return err_set(em, ERR_NOCREDITS,
                       "the key has too few credits: this costs %.6g, %.6g are left",
                       (double)cost / 1e6, (double)credits / 1e6);
    *charged = cost;
    return db_run(db, "UPDATE api_keys SET credits_micro = credits_micro - ?2 WHERE id = ?1",
                  SQL_ARGS(sql_int(key_id), sql_int(cost)), em);
}

/* Unless the key has become unlimited meanwhile. */
static enum err give_back(struct db *db, struct task_row *t, struct errmsg *em)
{
    if (!t->charged_micro)
        return ERR_OK;
    enum err rc = db_run(db,
                         "UPDATE api_keys SET credits_micro = credits_micro + ?2"
                         " WHERE id = ?1 AND credits_micro >= 0",
                         SQL_ARGS(sql_int(t->key_id), sql_int(t->charged_micro)), em);
    if (!rc)
        rc = db_run(db, "UPDATE tasks SET charged_micro = 0 WHERE seq = ?1",
                    SQL_ARGS(sql_int(t->seq)), em);
    t->charged_micro = 0;
    return rc;
}

static enum err queue_enter(struct db *db, int64_t key_id, struct errmsg *em)
{
    return db_run(db,
                  "INSERT INTO queues(key_id, n_queued, served) VALUES (?1, 1, 0)"
                  " ON CONFLICT DO UPDATE SET n_queued = n_queued + 1",
                  SQL_ARGS(sql_int(key_id)), em);
}

static enum err queue_leave(struct db *db, int64_t key_id, struct errmsg *em)
{
    return db_run(db, "UPDATE queues SET n_queued = n_queued - 1 WHERE key_id = ?1",
                  SQL_ARGS(sql_int(key_id)), em);
}

static enum err leave(struct db *db, const struct task_row *t, struct errmsg *em)
{
    if (t->state == TASK_CREATED)
        return queue_leave(db, t->key_id, em);
    if (t->state != TASK_IN_PROGRESS)
        return ERR_OK;
    enum err rc = db_run(db, "DELETE FROM leases WHERE seq = ?1", SQL_ARGS(sql_int(t->seq)), em);
    return rc ? rc
              : db_run(db, "DELETE FROM previews WHERE seq = ?1", SQL_ARGS(sql_int(t->seq)), em);
}

static enum err enter_final(struct store *st, struct db *db, struct task_row *t, int64_t now_ms,
                            struct errmsg *em)
{
    bool completed = t->state == TASK_COMPLETED;
    enum err rc = db_run(
        db, "UPDATE tasks SET finished_ms = ?2, expires_ms = ?3 WHERE seq = ?1",
        SQL_ARGS(sql_int(t->seq), sql_int(now_ms), sql_int(now_ms + st->o.result_lifetime_ms)), em);
    if (!rc)
        rc = totals_add(db, completed ? "completed" : "failed", 1, em);
    return rc || completed ? rc : give_back(db, t, em);
}

static enum err enter(struct store *st, struct db *db, struct task_row *t, struct errmsg *em)
{
    int64_t now_ms = store_now_ms(st);
    enum err rc = ERR_OK;
    switch (t->state) {
    case TASK_CREATED:
        rc = queue_enter(db, t->key_id, em);
        break;
    case TASK_IN_PROGRESS:
        rc = db_run(db, "UPDATE tasks SET attempts = attempts + 1, started_ms = ?2 WHERE seq = ?1",
                    SQL_ARGS(sql_int(t->seq), sql_int(now_ms)), em);
        t->attempts++;
        break;
    case TASK_COMPLETED:
    case TASK_FAILED:
        rc = enter_final(st, db, t, now_ms, em);
        break;
    }
    if (!rc)
        rc = change_note(db, t->seq, em);
    if (!rc && t->has_webhook)
        rc = outbox_add(st, db, t->seq, t->state, em);
    return rc;
}

enum err task_begin(struct store *st, struct db *db, const struct task_row *t, struct errmsg *em)
{
    struct task_row row = *t;
    return enter(st, db, &row, em);
}

enum err task_move(struct store *st, struct db *db, struct task_row *t, enum task_state to,
                   const char *reason, struct errmsg *em)
{
    if (!task_state_may_follow(t->state, to))
        return err_set(em, ERR_CONFLICT, "a task that is %s cannot become %s",
                       task_state_name(t->state), task_state_name(to));
    enum err rc = leave(db, t, em);
    if (!rc)
        rc = db_run(db, "UPDATE tasks SET state = ?2, error = ?3 WHERE seq = ?1",
                    SQL_ARGS(sql_int(t->seq), sql_int(to), sql_text(reason)), em);
    t->state = to;
    return rc ? rc : enter(st, db, t, em);
}

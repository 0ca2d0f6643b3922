/* SPDX-License-Identifier: MIT */
/* What users and operators change: cancel and retry. */
#include "store/store_impl.h"

struct cancel {
    const char *id;
    int64_t key_id;
    bool wants_task;
    struct task task;
};

static enum err task_cancel(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct cancel *c = arg;
    struct task_row t;
    enum err rc = task_row_find(db, c->id, c->key_id, &t, em);
    if (!rc && t.state == TASK_CREATED)
        rc = task_move(st, db, &t, TASK_FAILED, TASK_CANCELLED_REASON, em);
    else if (!rc && t.state == TASK_IN_PROGRESS)
        rc =
            db_run(db, "UPDATE leases SET cancel = 1 WHERE seq = ?1", SQL_ARGS(sql_int(t.seq)), em);
    return rc || !c->wants_task ? rc : task_read(db, c->id, c->key_id, &c->task, em);
}

enum err store_task_cancel(struct store *st, const char *id, int64_t key_id, struct task *out,
                           struct errmsg *em)
{
    struct cancel c = {.id = id, .key_id = key_id, .wants_task = out != NULL};
    enum err rc = store_write(st, task_cancel, &c, em);
    if (rc)
        task_deinit(&c.task);
    else if (out)
        *out = c.task;
    return rc;
}

static enum err check_request(struct db *db, const struct task_row *t, const char *id,
                              struct errmsg *em)
{
    bool damaged;
    enum err rc = request_check(db, t->seq, &damaged, em);
    if (!rc && damaged)
        rc = err_set(em, ERR_CONFLICT,
                     "task %s cannot be tried again: its request was damaged on the disk", id);
    return rc;
}

/* A task whose reference pictures were swept cannot be drawn again. */
static enum err check_blobs(struct db *db, const struct task_row *t, const char *id,
                            struct errmsg *em)
{
    int64_t n_references = 0;
    if (!t->swept)
        return ERR_OK;
    enum err rc = db_number(db,
                            "SELECT json_array_length(body, '$.references') FROM requests"
                            " WHERE seq = ?1",
                            SQL_ARGS(sql_int(t->seq)), &n_references, em);
    if (rc)
        return rc;
    if (t->swept == 1 || n_references)
        return err_set(em, ERR_CONFLICT,
                       "task %s cannot be tried again: its pictures were deleted when their "
                       "lifetime was over",
                       id);
    return ERR_OK;
}

static enum err task_retry(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    const char *id = arg;
    struct task_row t;
    int64_t cost = 0, charged;
    enum err rc = task_row_find(db, id, 0, &t, em);
    if (!rc && t.state != TASK_FAILED)
        rc = err_set(em, ERR_CONFLICT, "task %s is %s; only a FAILED one can be tried again", id,
                     task_state_name(t.state));
    if (!rc)
        rc = check_request(db, &t, id, em);
    if (!rc)
        rc = check_blobs(db, &t, id, em);
    if (!rc)
        rc = db_number(db, "SELECT cost_micro FROM tasks WHERE seq = ?1", SQL_ARGS(sql_int(t.seq)),
                       &cost, em);
    if (!rc)
        rc = key_charge(db, t.key_id, cost, &charged, em);
    if (rc)
        return rc;
    rc = db_run(db,
                "UPDATE tasks SET attempts = 0, charged_micro = ?2, swept = 0, started_ms = 0,"
                " finished_ms = 0, expires_ms = 0 WHERE seq = ?1",
                SQL_ARGS(sql_int(t.seq), sql_int(charged)), em);
    return rc ? rc : task_move(st, db, &t, TASK_CREATED, NULL, em);
}

enum err store_task_retry(struct store *st, const char *id, struct errmsg *em)
{
    return store_write(st, task_retry, (void *)(uintptr_t)id, em);
}

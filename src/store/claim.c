/* SPDX-License-Identifier: MIT */
/* The worker's side: claim, progress, and the ways in which a claim ends. */
#include <stdlib.h>
#include <string.h>

#include "store/store_impl.h"

#define WORKER_NAME_MAX 200u
#define STAGE_NAME_MAX 15u /* with its NUL, what struct store_stats holds */

/* ---- claim ---- */

#define DAMAGED_MAX 100 /* failed in one transaction */

struct claim {
    const char *worker;
    int64_t lease_ms;
    struct task task;
    bool found, more; /* more: there may be tasks behind those that were failed */
};

/* Keys take turns: first the one that was served longest ago. Tasks of a revoked key are about to
 * be cancelled (keys.c). */
static enum err find_key(struct db *db, int64_t *key_id, struct errmsg *em)
{
    return db_number(db,
                     "SELECT q.key_id FROM queues q INDEXED BY queues_waiting"
                     " CROSS JOIN api_keys k ON k.id = q.key_id"
                     " WHERE q.n_queued > 0 AND k.revoked_ms = 0"
                     " ORDER BY q.served, q.key_id LIMIT 1",
                     SQL_NO_ARGS, key_id, em);
}

static enum err find_next(struct db *db, struct task_row *t, struct errmsg *em)
{
    int64_t key_id, seq;
    enum err rc = find_key(db, &key_id, em);
    if (!rc)
        rc = db_number(db,
                       "SELECT seq FROM tasks INDEXED BY tasks_queued"
                       " WHERE key_id = ?1 AND state = 0 ORDER BY seq LIMIT 1",
                       SQL_ARGS(sql_int(key_id)), &seq, em);
    return rc ? rc : task_row_read(db, seq, t, em);
}

static enum err note_served(struct db *db, int64_t key_id, struct errmsg *em)
{
    enum err rc = totals_add(db, "claims", 1, em);
    return rc ? rc
              : db_run(db,
                       "UPDATE queues SET served = (SELECT value FROM totals WHERE name = 'claims')"
                       " WHERE key_id = ?1",
                       SQL_ARGS(sql_int(key_id)), em);
}

static enum err read_by_seq(struct db *db, int64_t seq, struct task *out, struct errmsg *em)
{
    sqlite3_stmt *q;
    char *id = NULL;
    enum err rc =
        db_first(db, "SELECT id FROM tasks WHERE seq = ?1", SQL_ARGS(sql_int(seq)), &q, em);
    if (rc)
        return rc;
    rc = db_column_text(q, 0, &id, em);
    db_done(q);
    if (!rc)
        rc = task_read(db, id, 0, out, em);
    free(id);
    return rc;
}

/* The next one that can be drawn. What cannot be read back would stop its queue for ever: it
 * fails. */
static enum err find_sound(struct store *st, struct db *db, struct task_row *t, struct claim *c,
                           struct errmsg *em)
{
    bool damaged = true;
    for (int i = 0; i < DAMAGED_MAX && damaged; i++) {
        enum err rc = find_next(db, t, em);
        if (!rc)
            rc = request_check(db, t->seq, &damaged, em);
        if (!rc && damaged)
            rc = task_move(st, db, t, TASK_FAILED, TASK_DAMAGED_REASON, em);
        if (rc)
            return rc;
    }
    c->more = damaged;
    c->found = !damaged;
    return ERR_OK;
}

static enum err task_claim(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct claim *c = arg;
    struct task_row t;
    enum err rc = find_sound(st, db, &t, c, em);
    if (rc == ERR_EMPTY) /* no failure: what was failed stays so */
        return ERR_OK;
    if (rc || !c->found)
        return rc;
    rc = task_move(st, db, &t, TASK_IN_PROGRESS, NULL, em);
    if (!rc)
        rc = note_served(db, t.key_id, em);
    if (!rc)
        rc = db_run(db, "INSERT INTO leases(seq, worker, boot, until_ms) VALUES (?1, ?2, ?3, ?4)",
                    SQL_ARGS(sql_int(t.seq), sql_text(c->worker), sql_text(st->boot_id),
                             sql_int(store_lease_now_ms(st) + c->lease_ms)),
                    em);
    return rc ? rc : read_by_seq(db, t.seq, &c->task, em);
}

/* Without a transaction that writes: idle workers ask often. */
static enum err anything_queued(struct store *st, struct errmsg *em)
{
    struct db *db;
    int64_t key_id;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    return reader_give(st, db, find_key(db, &key_id, em));
}

enum err store_task_claim(struct store *st, const char *worker, int64_t lease_ms, struct task *out,
                          struct errmsg *em)
{
    struct claim c = {.worker = worker, .lease_ms = lease_ms};
    if (!worker[0] || strlen(worker) > WORKER_NAME_MAX || lease_ms <= 0)
        return err_set(em, ERR_USAGE, "a worker's name has 1 to %u characters, a lease some time",
                       WORKER_NAME_MAX);
    enum err rc = anything_queued(st, em);
    do {
        c.more = false;
        if (!rc)
            rc = store_write(st, task_claim, &c, em);
    } while (!rc && c.more);
    if (!rc && !c.found)
        rc = ERR_EMPTY;
    if (rc == ERR_EMPTY)
        return err_set(em, ERR_EMPTY, "no task is queued");
    if (rc)
        task_deinit(&c.task);
    else
        *out = c.task;
    return rc;
}

/* ---- what a worker says of a task that it holds ---- */

/* ERR_CONFLICT: somebody else's by now, or nobody's. */
static enum err find_held(struct db *db, const char *id, const char *worker, struct task_row *t,
                          bool *cancel, struct errmsg *em)
{
    int64_t cancelled = 0;
    enum err rc = task_row_find(db, id, 0, t, em);
    if (!rc)
        rc = db_number(db, "SELECT cancel FROM leases WHERE seq = ?1 AND worker = ?2",
                       SQL_ARGS(sql_int(t->seq), sql_text(worker)), &cancelled, em);
    *cancel = cancelled != 0;
    if (rc == ERR_EMPTY || rc == ERR_NOTFOUND)
        return err_set(em, ERR_CONFLICT, "task %s is no longer %.80s's: its lease ran out", id,
                       worker);
    return rc;
}

struct report {
    const char *id, *worker;
    int64_t lease_ms;
    const struct task_progress *progress;
    const struct task_result *result;
    const char *reason;
    bool cancel;
};

static enum err task_progress(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct report *r = arg;
    const struct task_progress *p = r->progress;
    struct task_row t;
    enum err rc = find_held(db, r->id, r->worker, &t, &r->cancel, em);
    if (!rc)
        rc = db_run(db,
                    "UPDATE leases SET until_ms = ?2, stage = ?3, step = ?4, n_steps = ?5,"
                    " fraction = ?6 WHERE seq = ?1",
                    SQL_ARGS(sql_int(t.seq), sql_int(store_lease_now_ms(st) + r->lease_ms),
                             sql_text(p->stage), sql_int(p->step), sql_int(p->n_steps),
                             sql_real(p->fraction)),
                    em);
    if (!rc)
        rc = change_note(db, t.seq, em);
    if (rc || !p->preview)
        return rc;
    return db_run(db, "INSERT OR REPLACE INTO previews(seq, jpeg) VALUES (?1, ?2)",
                  SQL_ARGS(sql_int(t.seq), sql_blob(p->preview, p->preview_len)), em);
}

enum err store_task_progress(struct store *st, const char *id, const char *worker, int64_t lease_ms,
                             const struct task_progress *p, bool *cancel, struct errmsg *em)
{
    struct report r = {.id = id, .worker = worker, .lease_ms = lease_ms, .progress = p};
    if (p->preview_len > STORE_PREVIEW_BYTES_MAX || !(p->fraction >= 0 && p->fraction <= 1))
        return err_set(em, ERR_USAGE, "a preview has at most %u bytes, a fraction is 0 to 1",
                       STORE_PREVIEW_BYTES_MAX);
    enum err rc = store_write_volatile(st, task_progress, &r, em);
    if (!rc)
        *cancel = r.cancel;
    return rc;
}

static enum err add_usage(struct store *st, struct db *db, int64_t seq, struct errmsg *em)
{
    return db_run(db,
                  "INSERT INTO usage(key_id, day, pictures, megapixels, cost_micro)"
                  " SELECT key_id, ?2, 1, megapixels, cost_micro FROM tasks WHERE seq = ?1"
                  " ON CONFLICT DO UPDATE SET pictures = pictures + 1,"
                  " megapixels = megapixels + excluded.megapixels,"
                  " cost_micro = cost_micro + excluded.cost_micro",
                  SQL_ARGS(sql_int(seq), sql_int(store_now_ms(st) / STORE_DAY_MS)), em);
}

static enum err add_stages(struct db *db, const struct task_result *r, struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (size_t i = 0; i < r->n_seconds && !rc; i++)
        rc = db_run(db,
                    "INSERT INTO stages(name, seconds) VALUES (?1, ?2)"
                    " ON CONFLICT DO UPDATE SET seconds = seconds + ?2",
                    SQL_ARGS(sql_text(r->stage_names[i]), sql_real(r->seconds[i])), em);
    return rc;
}

static enum err task_complete(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct report *r = arg;
    struct task_row t;
    enum err rc = find_held(db, r->id, r->worker, &t, &r->cancel, em);
    if (!rc)
        rc = db_run(db, "UPDATE tasks SET result = ?2, enhanced_prompt = ?3 WHERE seq = ?1",
                    SQL_ARGS(sql_int(t.seq), sql_text(r->result->blob),
                             sql_text(r->result->enhanced_prompt)),
                    em);
    if (!rc)
        rc = db_run(db, "INSERT OR IGNORE INTO task_blobs(name, seq) VALUES (?1, ?2)",
                    SQL_ARGS(sql_text(r->result->blob), sql_int(t.seq)), em);
    if (!rc)
        rc = add_usage(st, db, t.seq, em);
    if (!rc)
        rc = add_stages(db, r->result, em);
    return rc ? rc : task_move(st, db, &t, TASK_COMPLETED, NULL, em);
}

static enum err check_result(const struct task_result *r, struct errmsg *em)
{
    bool ok = r->blob && r->n_seconds <= sizeof r->seconds / sizeof *r->seconds;
    for (size_t i = 0; ok && i < r->n_seconds; i++)
        ok = strlen(r->stage_names[i]) <= STAGE_NAME_MAX && r->seconds[i] >= 0;
    return ok ? ERR_OK
              : err_set(em, ERR_USAGE,
                        "a result needs a blob and times of stages with names of up to %u "
                        "characters",
                        STAGE_NAME_MAX);
}

enum err store_task_complete(struct store *st, const char *id, const char *worker,
                             const struct task_result *result, struct errmsg *em)
{
    struct report r = {.id = id, .worker = worker, .result = result};
    enum err rc = check_result(result, em);
    return rc ? rc : store_write(st, task_complete, &r, em);
}

static enum err task_fail(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct report *r = arg;
    struct task_row t;
    enum err rc = find_held(db, r->id, r->worker, &t, &r->cancel, em);
    return rc ? rc : task_move(st, db, &t, TASK_FAILED, r->reason, em);
}

enum err store_task_fail(struct store *st, const char *id, const char *worker, const char *reason,
                         struct errmsg *em)
{
    struct report r = {.id = id, .worker = worker, .reason = reason};
    return store_write(st, task_fail, &r, em);
}

/* A negative number is lower than that of any key that was served, and the lower the later. */
static enum err to_front(struct db *db, int64_t key_id, struct errmsg *em)
{
    return db_run(db,
                  "UPDATE queues SET served = -(SELECT value FROM totals WHERE name = 'claims')"
                  " WHERE key_id = ?1",
                  SQL_ARGS(sql_int(key_id)), em);
}

static enum err task_hand_back(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct report *r = arg;
    struct task_row t;
    enum err rc = find_held(db, r->id, r->worker, &t, &r->cancel, em);
    if (rc)
        return rc;
    if (r->cancel)
        return task_move(st, db, &t, TASK_FAILED, TASK_CANCELLED_REASON, em);
    rc = db_run(db, "UPDATE tasks SET attempts = attempts - 1, started_ms = 0 WHERE seq = ?1",
                SQL_ARGS(sql_int(t.seq)), em);
    if (!rc)
        rc = task_move(st, db, &t, TASK_CREATED, NULL, em);
    return rc ? rc : to_front(db, t.key_id, em);
}

enum err store_task_hand_back(struct store *st, const char *id, const char *worker,
                              struct errmsg *em)
{
    struct report r = {.id = id, .worker = worker};
    return store_write(st, task_hand_back, &r, em);
}

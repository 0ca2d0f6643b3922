/* SPDX-License-Identifier: MIT */
/* A new task. All that can be done before is done on the caller's thread: the writer's is the one
 * that everybody waits for. */
#include <stdlib.h>
#include <string.h>

#include "store/store_impl.h"

#define IDEMPOTENCY_KEY_MAX 255u

struct creation {
    const struct task_new *n;
    const char *id, *body;
    int64_t now_ms;
    int64_t queue_position;
    bool existing;
    struct task found; /* existing */
};

/* ERR_EMPTY: no earlier task. */
static enum err find_earlier(struct db *db, struct creation *c, struct errmsg *em)
{
    const struct task_new *n = c->n;
    sqlite3_stmt *q;
    char *id = NULL;
    if (!n->idempotency_key)
        return ERR_EMPTY;
    enum err rc = db_first(db,
                           "SELECT task_id, body_hash FROM idempotency"
                           " WHERE key_id = ?1 AND name = ?2 AND created_ms > ?3",
                           SQL_ARGS(sql_int(n->key_id), sql_text(n->idempotency_key),
                                    sql_int(c->now_ms - STORE_IDEMPOTENCY_MS)),
                           &q, em);
    if (rc)
        return rc;
    const void *hash = sqlite3_column_blob(q, 1);
    bool same = hash && sqlite3_column_bytes(q, 1) == SHA256_BYTES &&
                crypto_equal(hash, n->body_hash, SHA256_BYTES);
    if (!same)
        rc = err_set(em, ERR_CONFLICT,
                     "this idempotency key was used with another body; use a new one");
    if (!rc)
        rc = db_column_text(q, 0, &id, em);
    db_done(q);
    if (!rc)
        rc = task_read(db, id, n->key_id, &c->found, em);
    free(id);
    return rc;
}

static enum err check_queue(struct store *st, struct db *db, struct creation *c, struct errmsg *em)
{
    int64_t n_queued = 0;
    enum err rc = db_number(db,
                            "SELECT coalesce(sum(n_queued), 0) FROM queues"
                            " INDEXED BY queues_waiting WHERE n_queued > 0",
                            SQL_NO_ARGS, &n_queued, em);
    if (rc)
        return rc;
    if (n_queued >= (int64_t)st->o.queue_max)
        return err_set(em, ERR_BUSY, "the queue is full: %lld tasks wait; try again later",
                       (long long)n_queued);
    c->queue_position = n_queued + 1;
    return ERR_OK;
}

static enum err insert_task(struct db *db, const struct creation *c, struct task_row *row,
                            struct errmsg *em)
{
    const struct task_new *n = c->n;
    const struct gen_request *r = n->request;
    double megapixels = (double)r->width_px * r->height_px / 1e6;
    enum err rc = db_run(db,
                         "INSERT INTO tasks(id, key_id, dialect, state, model, has_webhook,"
                         " megapixels, cost_micro, charged_micro, created_ms)"
                         " VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9)",
                         SQL_ARGS(sql_text(c->id), sql_int(n->key_id), sql_int(n->dialect),
                                  sql_text(r->model), sql_int(row->has_webhook),
                                  sql_real(megapixels), sql_int(n->cost_microcredits),
                                  sql_int(row->charged_micro), sql_int(c->now_ms)),
                         em);
    if (rc)
        return rc;
    row->seq = sqlite3_last_insert_rowid(db_handle(db));
    rc = db_run(db, "INSERT INTO requests(seq, body) VALUES (?1, ?2)",
                SQL_ARGS(sql_int(row->seq), sql_text(c->body)), em);
    for (size_t i = 0; i < r->n_references && !rc; i++)
        rc = db_run(db, "INSERT OR IGNORE INTO task_blobs(name, seq) VALUES (?1, ?2)",
                    SQL_ARGS(sql_text(r->references[i]), sql_int(row->seq)), em);
    return rc;
}

static enum err insert_idempotency(struct db *db, const struct creation *c, struct errmsg *em)
{
    const struct task_new *n = c->n;
    if (!n->idempotency_key)
        return ERR_OK;
    return db_run(db,
                  "INSERT OR REPLACE INTO idempotency(key_id, name, body_hash, task_id, created_ms)"
                  " VALUES (?1, ?2, ?3, ?4, ?5)",
                  SQL_ARGS(sql_int(n->key_id), sql_text(n->idempotency_key),
                           sql_blob(n->body_hash, SHA256_BYTES), sql_text(c->id),
                           sql_int(c->now_ms)),
                  em);
}

static enum err task_create(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct creation *c = arg;
    const struct task_new *n = c->n;
    enum err rc = find_earlier(db, c, em);
    if (rc != ERR_EMPTY) {
        c->existing = rc == ERR_OK;
        return rc;
    }
    struct task_row row = {
        .key_id = n->key_id, .state = TASK_CREATED, .has_webhook = n->request->webhook_url != NULL};
    rc = check_queue(st, db, c, em);
    if (!rc)
        rc = key_charge(db, n->key_id, n->cost_microcredits, &row.charged_micro, em);
    if (!rc)
        rc = insert_task(db, c, &row, em);
    if (!rc)
        rc = insert_idempotency(db, c, em);
    return rc ? rc : task_begin(st, db, &row, em);
}

static enum err check(const struct task_new *n, struct errmsg *em)
{
    if (n->cost_microcredits < 0)
        return err_set(em, ERR_USAGE, "a task's cost is 0 or more");
    if (n->idempotency_key && (!n->idempotency_key[0] || !n->body_hash ||
                               strlen(n->idempotency_key) > IDEMPOTENCY_KEY_MAX))
        return err_set(em, ERR_USAGE, "an idempotency key has 1 to %u characters",
                       IDEMPOTENCY_KEY_MAX);
    return ERR_OK;
}

enum err store_task_create(struct store *st, const struct task_new *n, struct task *out,
                           bool *existing, struct errmsg *em)
{
    struct task t = {.key_id = n->key_id,
                     .dialect = n->dialect,
                     .state = TASK_CREATED,
                     .cost_microcredits = n->cost_microcredits,
                     .created_ms = store_now_ms(st)};
    struct creation c = {.n = n, .id = t.id, .now_ms = t.created_ms};
    char *body = NULL;
    enum err rc = check(n, em);
    if (!rc)
        rc = uuid_new(t.id, em);
    if (!rc)
        rc = gen_request_write(n->request, &body, em);
    if (!rc)
        rc = gen_request_copy(&t.request, n->request, em);
    c.body = body;
    if (!rc)
        rc = store_write(st, task_create, &c, em);
    free(body);
    if (rc || c.existing)
        task_deinit(&t);
    if (rc) {
        task_deinit(&c.found);
        return rc;
    }
    t.queue_position = c.queue_position;
    *out = c.existing ? c.found : t;
    *existing = c.existing;
    return ERR_OK;
}

/* SPDX-License-Identifier: MIT */
/* New tasks. All that can be done before is done on the caller's thread: the writer's is the one
 * that everybody waits for. */
#include <stdlib.h>
#include <string.h>

#include "store/store_impl.h"

struct creation {
    const struct task_new *n;
    char *body;
    struct task task; /* the new one, or with `existing` what an earlier request made */
    bool existing;
};
struct creations {
    struct creation *items;
    size_t n;
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
                                    sql_int(c->task.created_ms - STORE_IDEMPOTENCY_MS)),
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
    if (!rc) {
        task_deinit(&c->task);
        c->existing = true;
        rc = task_read(db, id, n->key_id, &c->task, em);
    }
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
    c->task.queue_position = n_queued + 1;
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
                         SQL_ARGS(sql_text(c->task.id), sql_int(n->key_id), sql_int(n->dialect),
                                  sql_text(r->model), sql_int(row->has_webhook),
                                  sql_real(megapixels), sql_int(n->cost_microcredits),
                                  sql_int(row->charged_micro), sql_int(c->task.created_ms)),
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
                           sql_blob(n->body_hash, SHA256_BYTES), sql_text(c->task.id),
                           sql_int(c->task.created_ms)),
                  em);
}

static enum err task_create(struct store *st, struct db *db, struct creation *c, struct errmsg *em)
{
    const struct task_new *n = c->n;
    enum err rc = find_earlier(db, c, em);
    if (rc != ERR_EMPTY)
        return rc;
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

static enum err tasks_create(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    const struct creations *all = arg;
    enum err rc = ERR_OK;
    for (size_t i = 0; i < all->n && !rc; i++)
        rc = task_create(st, db, &all->items[i], em);
    return rc;
}

static enum err check(const struct task_new *n, struct errmsg *em)
{
    if (n->cost_microcredits < 0)
        return err_set(em, ERR_USAGE, "a task's cost is 0 or more");
    if (n->idempotency_key && (!n->idempotency_key[0] || !n->body_hash ||
                               strlen(n->idempotency_key) > STORE_IDEMPOTENCY_KEY_CHARS))
        return err_set(em, ERR_USAGE, "an idempotency key has 1 to %u characters",
                       STORE_IDEMPOTENCY_KEY_CHARS);
    return ERR_OK;
}

static enum err prepare(struct store *st, const struct task_new *n, struct creation *c,
                        struct errmsg *em)
{
    *c = (struct creation){.n = n,
                           .task = {.key_id = n->key_id,
                                    .dialect = n->dialect,
                                    .state = TASK_CREATED,
                                    .cost_microcredits = n->cost_microcredits,
                                    .created_ms = store_now_ms(st)}};
    enum err rc = check(n, em);
    if (!rc)
        rc = uuid_new(c->task.id, em);
    if (!rc)
        rc = gen_request_write(n->request, &c->body, em);
    return rc ? rc : gen_request_copy(&c->task.request, n->request, em);
}

enum err store_tasks_create(struct store *st, const struct task_new *news, size_t n,
                            struct task *out, bool *existing, struct errmsg *em)
{
    struct creations all = {.items = calloc(n, sizeof *all.items), .n = n};
    enum err rc = all.items ? ERR_OK : err_nomem(em, n * sizeof *all.items);
    for (size_t i = 0; i < n && !rc; i++)
        rc = prepare(st, &news[i], &all.items[i], em);
    if (!rc)
        rc = store_write(st, tasks_create, &all, em);
    for (size_t i = 0; all.items && i < n; i++) {
        struct creation *c = &all.items[i];
        free(c->body);
        if (rc) {
            task_deinit(&c->task);
            continue;
        }
        out[i] = c->task;
        existing[i] = c->existing;
    }
    free(all.items);
    return rc;
}

enum err store_task_create(struct store *st, const struct task_new *n, struct task *out,
                           bool *existing, struct errmsg *em)
{
    return store_tasks_create(st, n, 1, out, existing, em);
}

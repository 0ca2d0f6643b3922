/* SPDX-License-Identifier: MIT */
/* Keys: made, found, limited, revoked. A change counts in "key_changes", by which the caches of
 * other processes notice. The names of revoked keys are free again. */
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "store/store_impl.h"

#define KEY_LEAD "easel_"
#define KEY_RANDOM_BYTES 32u
#define KEY_NAME_MAX 64u
#define REVOKE_BATCH 50u /* some 4 ms */

#define KEY_SELECT                                                                                 \
    "SELECT id, name, prefix, rate_per_minute, credits_micro, created_ms, revoked_ms, "            \
    "last_used_ms"                                                                                 \
    " FROM api_keys "

void api_key_deinit(struct api_key *k)
{
    if (!k)
        return;
    free(k->name);
    *k = (struct api_key){0};
}

enum err key_copy(const struct api_key *from, struct api_key *out, struct errmsg *em)
{
    char *name = strdup(from->name);
    if (!name)
        return err_nomem(em, strlen(from->name) + 1);
    *out = *from;
    out->name = name;
    return ERR_OK;
}

static enum err key_from_row(sqlite3_stmt *q, struct api_key *out, struct errmsg *em)
{
    char *name = NULL, *prefix = NULL;
    enum err rc = db_column_text(q, 1, &name, em);
    if (!rc)
        rc = db_column_text(q, 2, &prefix, em);
    if (rc) {
        free(name);
        return rc;
    }
    *out = (struct api_key){.id = sqlite3_column_int64(q, 0),
                            .name = name,
                            .rate_per_minute = sqlite3_column_int64(q, 3),
                            .credits_micro = sqlite3_column_int64(q, 4),
                            .created_ms = sqlite3_column_int64(q, 5),
                            .revoked_ms = sqlite3_column_int64(q, 6),
                            .last_used_ms = sqlite3_column_int64(q, 7)};
    strncpy(out->prefix, prefix, KEY_PREFIX_CHARS);
    free(prefix);
    return ERR_OK;
}

/* One row at most. */
static enum err key_from_query(struct db *db, const char *sql, struct sql_arg arg,
                               struct api_key *out, struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc = db_first(db, sql, &arg, 1, &q, em);
    if (rc == ERR_EMPTY)
        return err_set(em, ERR_NOTFOUND, "there is no such key");
    if (rc)
        return rc;
    rc = key_from_row(q, out, em);
    db_done(q);
    return rc;
}

enum err key_read(struct db *db, const uint8_t hash[SHA256_BYTES], struct api_key *out,
                  struct errmsg *em)
{
    return key_from_query(db, KEY_SELECT "WHERE hash = ?1 AND revoked_ms = 0",
                          sql_blob(hash, SHA256_BYTES), out, em);
}

enum err store_key_get(struct store *st, int64_t id, struct api_key *out, struct errmsg *em)
{
    struct db *db;
    struct api_key key = {0};
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = key_from_query(db, KEY_SELECT "WHERE id = ?1", sql_int(id), &key, em);
    rc = reader_give(st, db, rc);
    if (!rc)
        *out = key;
    return rc;
}

enum err store_key_list(struct store *st, void (*fn)(void *ctx, const struct api_key *k), void *ctx,
                        struct errmsg *em)
{
    struct db *db;
    sqlite3_stmt *q;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = db_query(db, KEY_SELECT "ORDER BY id", SQL_NO_ARGS, &q, em);
    while (!rc && !(rc = db_next(db, q, em))) {
        struct api_key key = {0};
        rc = key_from_row(q, &key, em);
        if (!rc)
            fn(ctx, &key);
        api_key_deinit(&key);
    }
    return reader_give(st, db, rc == ERR_EMPTY ? ERR_OK : rc);
}

/* ---- changes ---- */

static enum err name_check(const char *name, struct errmsg *em)
{
    size_t len = strlen(name);
    bool ok = len >= 1 && len <= KEY_NAME_MAX && name[0] != ' ' && name[len - 1] != ' ';
    for (size_t i = 0; ok && i < len; i++)
        ok = name[i] >= ' ' && name[i] <= '~' && !strchr("\"'`\\", name[i]);
    return ok ? ERR_OK
              : err_set(em, ERR_USAGE,
                        "a key's name is 1 to %u printable ASCII characters without quotes, "
                        "backslashes or spaces at its ends",
                        KEY_NAME_MAX);
}

/* base64url without padding, as RFC 4648 has it. */
static enum err key_text_new(struct buf *out, struct errmsg *em)
{
    uint8_t bytes[KEY_RANDOM_BYTES];
    enum err rc = crypto_random(bytes, sizeof bytes, em);
    if (!rc)
        rc = buf_append(out, KEY_LEAD, strlen(KEY_LEAD), em);
    if (!rc)
        rc = base64_encode(bytes, sizeof bytes, out, em);
    if (rc)
        return rc;
    for (char *p = (char *)out->ptr; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    while (out->ptr[out->len - 1] == '=')
        out->ptr[--out->len] = 0;
    return ERR_OK;
}

struct key_new {
    const char *name, *text;
    int64_t rate_per_minute, credits_micro;
    struct api_key key;
};

static enum err key_create(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct key_new *n = arg;
    int64_t id;
    uint8_t hash[SHA256_BYTES];
    char prefix[KEY_PREFIX_CHARS + 1] = {0};
    memcpy(prefix, n->text, KEY_PREFIX_CHARS);
    crypto_sha256(n->text, strlen(n->text), hash);
    enum err rc = db_number(db, "SELECT id FROM api_keys WHERE name = ?1 AND revoked_ms = 0",
                            SQL_ARGS(sql_text(n->name)), &id, em);
    if (!rc)
        return err_set(em, ERR_CONFLICT, "there is a key named \"%s\" already", n->name);
    if (rc != ERR_EMPTY)
        return rc;
    rc = db_run(db,
                "INSERT INTO api_keys(name, prefix, hash, rate_per_minute, credits_micro,"
                " created_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                SQL_ARGS(sql_text(n->name), sql_text(prefix), sql_blob(hash, sizeof hash),
                         sql_int(n->rate_per_minute), sql_int(n->credits_micro),
                         sql_int(store_now_ms(st))),
                em);
    if (!rc)
        rc = totals_add(db, "key_changes", 1, em);
    return rc ? rc : key_read(db, hash, &n->key, em);
}

enum err store_key_create(struct store *st, const char *name, int64_t rate_per_minute,
                          int64_t credits_micro, char **text, struct api_key *out,
                          struct errmsg *em)
{
    struct buf b = {0};
    if (rate_per_minute < 0 || credits_micro < -1)
        return err_set(em, ERR_USAGE, "a key's rate is 0 or more, its credits -1 or more");
    enum err rc = name_check(name, em);
    if (!rc)
        rc = key_text_new(&b, em);
    struct key_new n = {.name = name,
                        .text = (char *)b.ptr,
                        .rate_per_minute = rate_per_minute,
                        .credits_micro = credits_micro};
    if (!rc)
        rc = store_write(st, key_create, &n, em);
    if (rc) {
        api_key_deinit(&n.key);
        buf_deinit(&b);
        return rc;
    }
    key_cache_clear(st->key_cache);
    *text = (char *)b.ptr;
    *out = n.key;
    return ERR_OK;
}

static enum err key_id_by_name(struct db *db, const char *name, int64_t *id, struct errmsg *em)
{
    enum err rc = db_number(db, "SELECT id FROM api_keys WHERE name = ?1 AND revoked_ms = 0",
                            SQL_ARGS(sql_text(name)), id, em);
    return rc == ERR_EMPTY ? err_set(em, ERR_NOTFOUND, "there is no key named \"%.80s\"", name)
                           : rc;
}

static enum err key_revoke(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    int64_t id;
    enum err rc = key_id_by_name(db, arg, &id, em);
    if (!rc)
        rc = db_run(db, "UPDATE api_keys SET revoked_ms = ?2 WHERE id = ?1",
                    SQL_ARGS(sql_int(id), sql_int(store_now_ms(st))), em);
    return rc ? rc : totals_add(db, "key_changes", 1, em);
}

static enum err cancel_batch(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    size_t *n = arg;
    enum err rc = ERR_OK;
    for (*n = 0; *n < REVOKE_BATCH && !rc;) {
        int64_t seq;
        struct task_row t;
        /* CROSS: in this order, so that other keys' queues are not walked through */
        rc = db_number(db,
                       "SELECT t.seq FROM queues q INDEXED BY queues_waiting"
                       " CROSS JOIN api_keys k ON k.id = q.key_id"
                       " CROSS JOIN tasks t INDEXED BY tasks_queued"
                       "  ON t.key_id = q.key_id AND t.state = 0"
                       " WHERE q.n_queued > 0 AND k.revoked_ms > 0 LIMIT 1",
                       SQL_NO_ARGS, &seq, em);
        if (!rc)
            rc = task_row_read(db, seq, &t, em);
        if (!rc)
            rc = task_move(st, db, &t, TASK_FAILED, TASK_CANCELLED_REASON, em);
        *n += !rc;
    }
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

/* In batches, so that others' writes get in between. */
enum err keys_cancel_revoked(struct store *st, size_t n_max, struct errmsg *em)
{
    enum err rc = ERR_OK;
    size_t n = REVOKE_BATCH;
    for (size_t done = 0; !rc && n == REVOKE_BATCH && done < n_max; done += n)
        rc = store_write(st, cancel_batch, &n, em);
    return rc;
}

/* From the first write on nothing of the key's is created or claimed. Should we end before the
 * last, the sweep of leases goes on. */
enum err store_key_revoke(struct store *st, const char *name, struct errmsg *em)
{
    enum err rc = store_write(st, key_revoke, (void *)(uintptr_t)name, em);
    key_cache_clear(st->key_cache);
    return rc ? rc : keys_cancel_revoked(st, SIZE_MAX, em);
}

struct key_limit {
    const char *name;
    int64_t rate_per_minute, credits_micro;
};

static enum err key_limit(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    struct key_limit *l = arg;
    int64_t id;
    (void)st;
    enum err rc = key_id_by_name(db, l->name, &id, em);
    if (!rc)
        rc = db_run(db,
                    "UPDATE api_keys SET"
                    " rate_per_minute = iif(?2 < 0, rate_per_minute, ?2),"
                    " credits_micro = iif(?3 < -1, credits_micro, ?3) WHERE id = ?1",
                    SQL_ARGS(sql_int(id), sql_int(l->rate_per_minute), sql_int(l->credits_micro)),
                    em);
    return rc ? rc : totals_add(db, "key_changes", 1, em);
}

enum err store_key_limit(struct store *st, const char *name, int64_t rate_per_minute,
                         int64_t credits_micro, struct errmsg *em)
{
    struct key_limit l = {name, rate_per_minute, credits_micro};
    enum err rc = store_write(st, key_limit, &l, em);
    key_cache_clear(st->key_cache);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* Usage by day, and the figures for operators. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "store/store_impl.h"

static void day_name(int64_t day, char out[11])
{
    struct tm tm = {0};
    time_t t = (time_t)(day * (STORE_DAY_MS / 1000));
    gmtime_r(&t, &tm);
    if (strftime(out, 11, "%Y-%m-%d", &tm) != 10)
        memset(out, 0, 11);
}

enum err store_usage(struct store *st, int64_t key_id, size_t n_days,
                     void (*fn)(void *ctx, const struct usage_day *d), void *ctx, struct errmsg *em)
{
    struct db *db;
    sqlite3_stmt *q;
    int64_t today = store_now_ms(st) / STORE_DAY_MS;
    int64_t n = n_days < INT32_MAX ? (int64_t)n_days : INT32_MAX;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = db_query(db,
                  "SELECT day, pictures, megapixels, cost_micro FROM usage"
                  " WHERE key_id = ?1 AND day > ?2 ORDER BY day",
                  SQL_ARGS(sql_int(key_id), sql_int(today - n)), &q, em);
    while (!rc && !(rc = db_next(db, q, em))) {
        struct usage_day d = {.pictures = sqlite3_column_int64(q, 1),
                              .megapixels = sqlite3_column_double(q, 2),
                              .cost_microcredits = sqlite3_column_int64(q, 3)};
        day_name(sqlite3_column_int64(q, 0), d.day);
        fn(ctx, &d);
    }
    return reader_give(st, db, rc == ERR_EMPTY ? ERR_OK : rc);
}

static enum err read_counts(struct db *db, struct store_stats *s, struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc = db_first(
        db,
        "SELECT (SELECT coalesce(sum(n_queued), 0) FROM queues), (SELECT count(*) FROM leases),"
        " coalesce((SELECT created_ms FROM tasks WHERE seq ="
        "  (SELECT min(seq) FROM tasks INDEXED BY tasks_queued WHERE state = 0)), 0),"
        " (SELECT count(*) FROM outbox INDEXED BY outbox_waiting WHERE phase = 0) +"
        " (SELECT count(*) FROM outbox INDEXED BY outbox_ready WHERE phase = 1),"
        " (SELECT count(*) FROM outbox INDEXED BY outbox_dead WHERE phase = 3)",
        SQL_NO_ARGS, &q, em);
    if (rc)
        return rc;
    s->n_created = sqlite3_column_int64(q, 0);
    s->n_in_progress = sqlite3_column_int64(q, 1);
    s->oldest_created_ms = sqlite3_column_int64(q, 2);
    s->webhooks_pending = sqlite3_column_int64(q, 3);
    s->webhooks_dead = sqlite3_column_int64(q, 4);
    db_done(q);
    return ERR_OK;
}

static enum err read_totals(struct db *db, struct store_stats *s, struct errmsg *em)
{
    const struct {
        const char *name;
        int64_t *value;
    } totals[] = {{"completed", &s->n_completed},
                  {"failed", &s->n_failed},
                  {"webhooks_delivered", &s->webhooks_delivered},
                  {"webhooks_tries_failed", &s->webhooks_tries_failed}};
    enum err rc = ERR_OK;
    for (size_t i = 0; i < sizeof totals / sizeof *totals && !rc; i++) {
        rc = db_number(db, "SELECT value FROM totals WHERE name = ?1",
                       SQL_ARGS(sql_text(totals[i].name)), totals[i].value, em);
        rc = rc == ERR_EMPTY ? ERR_OK : rc;
    }
    return rc;
}

static enum err read_stages(struct db *db, struct store_stats *s, struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc =
        db_query(db, "SELECT name, seconds FROM stages ORDER BY name LIMIT 8", SQL_NO_ARGS, &q, em);
    while (!rc && !(rc = db_next(db, q, em))) {
        const char *name = (const char *)sqlite3_column_text(q, 0);
        snprintf(s->stages[s->n_stages].name, sizeof s->stages[0].name, "%s", name ? name : "");
        s->stages[s->n_stages++].seconds = sqlite3_column_double(q, 1);
    }
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

enum err store_stats(struct store *st, struct store_stats *out, struct errmsg *em)
{
    struct db *db;
    struct store_stats s = {0};
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = read_counts(db, &s, em);
    if (!rc)
        rc = read_totals(db, &s, em);
    if (!rc)
        rc = read_stages(db, &s, em);
    rc = reader_give(st, db, rc);
    if (!rc)
        *out = s;
    return rc;
}

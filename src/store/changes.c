/* SPDX-License-Identifier: MIT */
/* Which tasks changed: a row for each change, numbered in the order of commits, the newest some
 * thousands of them. Who waits for tasks asks for what came after the last number that it has
 * seen, and so need not look at all the tasks that it waits for. */
#include "store/store_impl.h"

#define CHANGES_KEPT 8192
#define CHANGES_DROPPED 1024 /* at once */

/* The last row is never dropped, so that SQLite gives the numbers out once each. */
enum err change_note(struct db *db, int64_t seq, struct errmsg *em)
{
    enum err rc = db_run(db, "INSERT INTO changes(seq) VALUES (?1)", SQL_ARGS(sql_int(seq)), em);
    int64_t n = sqlite3_last_insert_rowid(db_handle(db));
    if (rc || n % CHANGES_DROPPED)
        return rc;
    return db_run(db, "DELETE FROM changes WHERE n <= ?1", SQL_ARGS(sql_int(n - CHANGES_KEPT)), em);
}

static enum err find_ends(struct db *db, int64_t *first, int64_t *last, struct errmsg *em)
{
    *first = 1;
    *last = 0;
    enum err rc = db_number(db, "SELECT n FROM changes ORDER BY n LIMIT 1", SQL_NO_ARGS, first, em);
    if (!rc)
        rc = db_number(db, "SELECT n FROM changes ORDER BY n DESC LIMIT 1", SQL_NO_ARGS, last, em);
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

static enum err tell(struct db *db, int64_t since, void (*fn)(void *ctx, const char *task_id),
                     void *ctx, struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc = db_query(db,
                           "SELECT t.id FROM changes c CROSS JOIN tasks t ON t.seq = c.seq"
                           " WHERE c.n > ?1",
                           SQL_ARGS(sql_int(since)), &q, em);
    while (!rc && !(rc = db_next(db, q, em))) {
        const char *id = (const char *)sqlite3_column_text(q, 0);
        if (id)
            fn(ctx, id);
        else
            rc = err_nomem(em, TASK_ID_CHARS);
    }
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

enum err store_changes(struct store *st, int64_t *since, void (*fn)(void *ctx, const char *task_id),
                       void *ctx, bool *all, struct errmsg *em)
{
    struct db *db;
    int64_t first, last;
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = find_ends(db, &first, &last, em);
    bool too_many = *since < first - 1 || *since > last;
    if (!rc && !too_many)
        rc = tell(db, *since, fn, ctx, em);
    rc = reader_give(st, db, rc);
    if (rc)
        return rc;
    *since = last;
    *all = too_many;
    return ERR_OK;
}

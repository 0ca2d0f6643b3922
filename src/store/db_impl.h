/* SPDX-License-Identifier: MIT */
/* One connection to the database: statements prepared once, values bound by type, failures as
 * enum err with a message that names the file and says what to do.
 *
 * A connection belongs to one thread at a time. A damaged file is ERR_FORMAT here; the gates
 * of store_impl.h turn that into ERR_IO for all but store_open. */
#ifndef EASEL_STORE_DB_IMPL_H
#define EASEL_STORE_DB_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#include "base/err.h"

#define DB_STATEMENTS_MAX 256u /* of one connection; the code holds about half as many */
#define DB_BUSY_MS 10000u

struct db;

/* The file must exist. busy_ms: how long to wait for another program's lock. */
NODISCARD enum err db_open(const char *path, unsigned busy_ms, struct db **out, struct errmsg *em);
void db_close(struct db *db); /* NULL is fine */
/* The last connection to close copies the log into the file and removes it, if it is one of these:
 * others may have found the file damaged, and leave all as it is. */
void db_fold_at_close(struct db *db);
void db_set_busy_ms(struct db *db, unsigned busy_ms);
sqlite3 *db_handle(struct db *db);
/* The message for the connection's last failure. */
enum err db_failed(struct db *db, struct errmsg *em);
/* Did any call on it find that the file or its log is damaged or cut short? */
bool db_is_damaged(const struct db *db);

/* A value to bind. Texts and blobs are borrowed until the statement is done; NULL is NULL. */
struct sql_arg {
    int type; /* SQLITE_INTEGER, … */
    int64_t number;
    double real;
    const void *bytes;
    size_t len;
};
static inline struct sql_arg sql_int(int64_t v)
{
    return (struct sql_arg){.type = SQLITE_INTEGER, .number = v};
}
static inline struct sql_arg sql_real(double v)
{
    return (struct sql_arg){.type = SQLITE_FLOAT, .real = v};
}
static inline struct sql_arg sql_text(const char *v)
{
    return (struct sql_arg){.type = SQLITE_TEXT, .bytes = v};
}
static inline struct sql_arg sql_blob(const void *v, size_t len)
{
    return (struct sql_arg){.type = SQLITE_BLOB, .bytes = v, .len = len};
}
/* The list of ?1, ?2 … as two arguments. */
#define SQL_ARGS(...)                                                                              \
    (const struct sql_arg[]){__VA_ARGS__},                                                         \
        sizeof((const struct sql_arg[]){__VA_ARGS__}) / sizeof(struct sql_arg)
#define SQL_NO_ARGS NULL, 0

/* In all of these sql is a string literal: the prepared statement is found again by its address.
 * db_run: to its end, rows ignored. */
NODISCARD enum err db_run(struct db *db, const char *sql, const struct sql_arg *args, size_t n_args,
                          struct errmsg *em);
/* Bound and ready for db_next. */
NODISCARD enum err db_query(struct db *db, const char *sql, const struct sql_arg *args,
                            size_t n_args, sqlite3_stmt **out, struct errmsg *em);
/* ERR_OK: a row is there. ERR_EMPTY: no more, without a message; the statement is done then, as it
 * is after a failure. */
NODISCARD enum err db_next(struct db *db, sqlite3_stmt *q, struct errmsg *em);
/* db_query and db_next; after ERR_OK the caller calls db_done. */
NODISCARD enum err db_first(struct db *db, const char *sql, const struct sql_arg *args,
                            size_t n_args, sqlite3_stmt **out, struct errmsg *em);
void db_done(sqlite3_stmt *q);
/* One integer; ERR_EMPTY: no row. */
NODISCARD enum err db_number(struct db *db, const char *sql, const struct sql_arg *args,
                             size_t n_args, int64_t *out, struct errmsg *em);
/* End every statement that a failed function left in the middle. */
void db_reset(struct db *db);
/* Rows changed by the last db_run. */
int64_t db_changes(struct db *db);
/* Several statements, not kept. */
NODISCARD enum err db_script(struct db *db, const char *sql, struct errmsg *em);

/* A column's text, owned; NULL for NULL. */
NODISCARD enum err db_column_text(sqlite3_stmt *q, int column, char **out, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
#include "store/db_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"

struct db {
    sqlite3 *handle;
    char *path;
    unsigned busy_ms;
    bool is_damaged;
    double busy_since_s;
    struct {
        const char *sql; /* the literal's address is the key */
        sqlite3_stmt *stmt;
    } statements[DB_STATEMENTS_MAX];
};

static bool is_damage(int extended_code)
{
    int code = extended_code & 0xff;
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB ||
           extended_code == SQLITE_IOERR_SHORT_READ;
}

/* SQLite knows ENOSPC; a quota or a limit on files' sizes is a failed write to it, and the
 * system's own word for it is lost by the time that we are told. */
static bool is_write_failure(int extended_code)
{
    return extended_code == SQLITE_IOERR_WRITE || extended_code == SQLITE_IOERR_FSYNC ||
           extended_code == SQLITE_IOERR_TRUNCATE || extended_code == SQLITE_IOERR_SHMSIZE;
}

static enum err failed(struct db *db, const char *path, struct errmsg *em)
{
    int code = db ? sqlite3_errcode(db->handle) & 0xff : SQLITE_NOMEM;
    int os_error = db ? sqlite3_system_errno(db->handle) : 0;
    const char *why = db ? sqlite3_errmsg(db->handle) : "";
    if (db && is_write_failure(sqlite3_extended_errcode(db->handle)))
        return err_set(em, ERR_FULL,
                       "%s cannot be written: the disk is full, a quota is used up, or the disk "
                       "fails; free some space and try again",
                       path);
    if (db && sqlite3_extended_errcode(db->handle) == SQLITE_IOERR_SHORT_READ)
        return err_set(em, ERR_FORMAT, "%s or its log was cut short; restore a backup", path);
    switch (code) {
    case SQLITE_NOMEM:
        return err_set(em, ERR_NOMEM, "%s: out of memory", path);
    case SQLITE_FULL:
        return err_set(em, ERR_FULL, "%s: the disk is full; free some space and try again", path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(em, ERR_BUSY,
                       "%s is locked by another program for too long; end that program, or try "
                       "again later",
                       path);
    case SQLITE_CORRUPT:
        return err_set(em, ERR_FORMAT, "%s is damaged or was cut short (%s); restore a backup",
                       path, why);
    case SQLITE_NOTADB:
        return err_set(em, ERR_FORMAT, "%s is not a database; choose another file", path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return err_set(em, ERR_IO, "%s cannot be written (%s); check its owner and its folder's",
                       path, why);
    case SQLITE_CANTOPEN:
        return err_set(em, file_write_err(os_error), "%s cannot be opened: %s", path,
                       os_error ? strerror(os_error) : why);
    default:
        return err_set(em, ERR_IO, "%s: %s%s%s", path, why, os_error ? ": " : "",
                       os_error ? strerror(os_error) : "");
    }
}

enum err db_failed(struct db *db, struct errmsg *em)
{
    db->is_damaged = db->is_damaged || is_damage(sqlite3_extended_errcode(db->handle));
    return failed(db, db->path, em);
}

/* Short sleeps: the lock of another process is free for a fraction of a millisecond between two
 * of its transactions, and SQLite's own handler would sleep past that for up to 100 ms. */
static int wait_for_lock(void *ctx, int n_tries)
{
    struct db *db = ctx;
    double now_s = clock_now_s();
    if (n_tries == 0)
        db->busy_since_s = now_s;
    if ((now_s - db->busy_since_s) * 1e3 >= db->busy_ms)
        return 0;
    struct timespec pause = {0, n_tries < 1000 ? 300000 : 5000000};
    nanosleep(&pause, NULL);
    return 1;
}

/* What every connection has. No mmap: a file that is cut short would kill the process. */
static enum err configure(struct db *db, struct errmsg *em)
{
    sqlite3_busy_handler(db->handle, wait_for_lock, db);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    return db_script(db,
                     "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                     "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
                     "PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 0;",
                     em);
}

enum err db_open(const char *path, unsigned busy_ms, struct db **out, struct errmsg *em)
{
    struct db *db = calloc(1, sizeof *db);
    if (!db)
        return err_nomem(em, sizeof *db);
    db->path = strdup(path);
    db->busy_ms = busy_ms;
    enum err rc = db->path ? ERR_OK : err_nomem(em, strlen(path) + 1);
    if (!rc && sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                               NULL) != SQLITE_OK)
        rc = failed(db->handle ? db : NULL, path, em);
    if (!rc)
        rc = configure(db, em);
    if (rc) {
        db_close(db);
        return rc;
    }
    *out = db;
    return ERR_OK;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < DB_STATEMENTS_MAX; i++)
        sqlite3_finalize(db->statements[i].stmt);
    sqlite3_close(db->handle);
    free(db->path);
    free(db);
}

bool db_is_damaged(const struct db *db)
{
    return db->is_damaged;
}

void db_fold_at_close(struct db *db)
{
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
}

void db_set_busy_ms(struct db *db, unsigned busy_ms)
{
    db->busy_ms = busy_ms;
}

sqlite3 *db_handle(struct db *db)
{
    return db->handle;
}

static enum err prepare(struct db *db, const char *sql, sqlite3_stmt **out, struct errmsg *em)
{
    size_t i = ((uintptr_t)sql >> 2) * 2654435761u % DB_STATEMENTS_MAX, n = 0;
    while (db->statements[i].sql && db->statements[i].sql != sql && ++n < DB_STATEMENTS_MAX)
        i = (i + 1) % DB_STATEMENTS_MAX;
    assert(n < DB_STATEMENTS_MAX);
    if (!db->statements[i].sql) {
        sqlite3_stmt *stmt;
        if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL))
            return db_failed(db, em);
        db->statements[i].sql = sql;
        db->statements[i].stmt = stmt;
    }
    *out = db->statements[i].stmt;
    return ERR_OK;
}

static int bind_one(sqlite3_stmt *q, int i, const struct sql_arg *a)
{
    switch (a->type) {
    case SQLITE_INTEGER:
        return sqlite3_bind_int64(q, i, a->number);
    case SQLITE_FLOAT:
        return sqlite3_bind_double(q, i, a->real);
    case SQLITE_TEXT:
        return sqlite3_bind_text(q, i, a->bytes, -1, SQLITE_STATIC);
    default:
        return sqlite3_bind_blob64(q, i, a->bytes, a->len, SQLITE_STATIC);
    }
}

enum err db_query(struct db *db, const char *sql, const struct sql_arg *args, size_t n_args,
                  sqlite3_stmt **out, struct errmsg *em)
{
    sqlite3_stmt *q = NULL;
    enum err rc = prepare(db, sql, &q, em);
    if (rc)
        return rc;
    assert(!sqlite3_stmt_busy(q) && (size_t)sqlite3_bind_parameter_count(q) == n_args);
    for (size_t i = 0; i < n_args; i++)
        if (bind_one(q, (int)i + 1, &args[i]) != SQLITE_OK) {
            rc = db_failed(db, em);
            db_done(q);
            return rc;
        }
    *out = q;
    return ERR_OK;
}

enum err db_next(struct db *db, sqlite3_stmt *q, struct errmsg *em)
{
    int code = sqlite3_step(q);
    if (code == SQLITE_ROW)
        return ERR_OK;
    enum err rc = code == SQLITE_DONE ? ERR_EMPTY : db_failed(db, em);
    db_done(q);
    return rc;
}

enum err db_first(struct db *db, const char *sql, const struct sql_arg *args, size_t n_args,
                  sqlite3_stmt **out, struct errmsg *em)
{
    enum err rc = db_query(db, sql, args, n_args, out, em);
    return rc ? rc : db_next(db, *out, em);
}

void db_done(sqlite3_stmt *q)
{
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
}

enum err db_run(struct db *db, const char *sql, const struct sql_arg *args, size_t n_args,
                struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc = db_first(db, sql, args, n_args, &q, em);
    if (!rc)
        db_done(q);
    return rc == ERR_EMPTY ? ERR_OK : rc;
}

enum err db_number(struct db *db, const char *sql, const struct sql_arg *args, size_t n_args,
                   int64_t *out, struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc = db_first(db, sql, args, n_args, &q, em);
    if (rc)
        return rc;
    *out = sqlite3_column_int64(q, 0);
    db_done(q);
    return ERR_OK;
}

void db_reset(struct db *db)
{
    for (size_t i = 0; i < DB_STATEMENTS_MAX; i++)
        if (db->statements[i].stmt)
            db_done(db->statements[i].stmt);
}

int64_t db_changes(struct db *db)
{
    return sqlite3_changes64(db->handle);
}

enum err db_script(struct db *db, const char *sql, struct errmsg *em)
{
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK
                                                                        : db_failed(db, em);
}

enum err db_column_text(sqlite3_stmt *q, int column, char **out, struct errmsg *em)
{
    *out = NULL;
    if (sqlite3_column_type(q, column) == SQLITE_NULL)
        return ERR_OK;
    const char *text = (const char *)sqlite3_column_text(q, column);
    *out = text ? strdup(text) : NULL;
    return *out ? ERR_OK : err_nomem(em, sqlite3_column_bytes(q, column));
}

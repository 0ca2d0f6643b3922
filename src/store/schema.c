/* SPDX-License-Identifier: MIT */
/* The tables, and how a file gets them. A new store is made under a temporary name and linked
 * to its own when it is whole: so a file of that name that is empty was cut, and is refused. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "store/store_impl.h"

#define APPLICATION_ID 0x4541534c /* "EASL" */

/* tasks holds what changes little and is short, so that a change of state rewrites few bytes:
 * the request's text, progress and previews lie beside it. swept: 0 its blobs are there, 1 they
 * are being deleted, 2 they are gone. charged_micro: what was taken from the key and is to be
 * given back if it fails; 0 where the key was unlimited then.
 * queues: one row for a key, n_queued of its tasks wait; served: the number of the claim that last
 * took one, lower is earlier.
 * outbox.phase: 0 waits behind an earlier entry of its task, 1 ready at next_ms (its time, or the
 * end of the lease of who delivers it now), 2 delivered, 3 dead. At most one of a task is ready. */
static const char version_1[] =
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE stages (name TEXT PRIMARY KEY, seconds REAL NOT NULL) STRICT, WITHOUT ROWID;"

    "CREATE TABLE api_keys ("
    " id INTEGER PRIMARY KEY, name TEXT NOT NULL, prefix TEXT NOT NULL,"
    " hash BLOB NOT NULL UNIQUE, rate_per_minute INTEGER NOT NULL CHECK (rate_per_minute >= 0),"
    " credits_micro INTEGER NOT NULL CHECK (credits_micro >= -1),"
    " created_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL DEFAULT 0,"
    " last_used_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE UNIQUE INDEX api_keys_by_name ON api_keys(name) WHERE revoked_ms = 0;"

    "CREATE TABLE usage ("
    " key_id INTEGER NOT NULL REFERENCES api_keys(id), day INTEGER NOT NULL,"
    " pictures INTEGER NOT NULL, megapixels REAL NOT NULL, cost_micro INTEGER NOT NULL,"
    " PRIMARY KEY (key_id, day)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE queues ("
    " key_id INTEGER PRIMARY KEY REFERENCES api_keys(id),"
    " n_queued INTEGER NOT NULL CHECK (n_queued >= 0), served INTEGER NOT NULL) STRICT;"
    "CREATE INDEX queues_waiting ON queues(served, key_id, n_queued) WHERE n_queued > 0;"

    "CREATE TABLE tasks ("
    " seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    " key_id INTEGER NOT NULL REFERENCES api_keys(id),"
    " dialect INTEGER NOT NULL CHECK (dialect BETWEEN 0 AND 2),"
    " state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),"
    " model TEXT NOT NULL, has_webhook INTEGER NOT NULL, megapixels REAL NOT NULL,"
    " cost_micro INTEGER NOT NULL, charged_micro INTEGER NOT NULL CHECK (charged_micro >= 0),"
    " attempts INTEGER NOT NULL DEFAULT 0, swept INTEGER NOT NULL DEFAULT 0,"
    " created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL DEFAULT 0,"
    " finished_ms INTEGER NOT NULL DEFAULT 0, expires_ms INTEGER NOT NULL DEFAULT 0,"
    " error TEXT, result TEXT, enhanced_prompt TEXT) STRICT;"
    "CREATE INDEX tasks_by_model ON tasks(key_id, model);"
    "CREATE INDEX tasks_queued ON tasks(key_id) WHERE state = 0;"
    "CREATE INDEX tasks_finished ON tasks(swept, expires_ms) WHERE expires_ms > 0;"

    "CREATE TABLE requests ("
    " seq INTEGER PRIMARY KEY REFERENCES tasks(seq) ON DELETE CASCADE,"
    " body TEXT NOT NULL) STRICT;"
    "CREATE TABLE leases ("
    " seq INTEGER PRIMARY KEY REFERENCES tasks(seq) ON DELETE CASCADE,"
    " worker TEXT NOT NULL, boot TEXT NOT NULL, until_ms INTEGER NOT NULL,"
    " cancel INTEGER NOT NULL DEFAULT 0, stage TEXT, step INTEGER NOT NULL DEFAULT 0,"
    " n_steps INTEGER NOT NULL DEFAULT 0, fraction REAL NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE previews ("
    " seq INTEGER PRIMARY KEY REFERENCES tasks(seq) ON DELETE CASCADE,"
    " jpeg BLOB NOT NULL) STRICT;"
    "CREATE TABLE task_blobs ("
    " name TEXT NOT NULL, seq INTEGER NOT NULL REFERENCES tasks(seq),"
    " PRIMARY KEY (name, seq)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX task_blobs_by_task ON task_blobs(seq);"

    /* forgotten after a day, long before their tasks: no reference needed */
    "CREATE TABLE idempotency ("
    " key_id INTEGER NOT NULL, name TEXT NOT NULL, body_hash BLOB NOT NULL,"
    " task_id TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " PRIMARY KEY (key_id, name)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX idempotency_by_age ON idempotency(created_ms);"

    "CREATE TABLE outbox ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " seq INTEGER NOT NULL REFERENCES tasks(seq) ON DELETE CASCADE,"
    " message_id TEXT NOT NULL, state INTEGER NOT NULL, url TEXT NOT NULL, secret TEXT,"
    " phase INTEGER NOT NULL CHECK (phase BETWEEN 0 AND 3), tries INTEGER NOT NULL DEFAULT 0,"
    " created_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL, next_ms INTEGER NOT NULL,"
    " last_error TEXT, last_status INTEGER NOT NULL DEFAULT 0,"
    " delivered_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX outbox_by_task ON outbox(seq, phase);"
    "CREATE INDEX outbox_waiting ON outbox(seq) WHERE phase = 0;"
    "CREATE INDEX outbox_ready ON outbox(next_ms) WHERE phase = 1;"
    "CREATE INDEX outbox_dead ON outbox(id) WHERE phase = 3;"
    "CREATE INDEX outbox_delivered ON outbox(delivered_ms) WHERE phase = 2;";

/* tasks that changed, in the order of commits (changes.c) */
static const char version_2[] =
    "CREATE TABLE changes (n INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;";

/* migrations[v] leads from version v to v + 1. */
static const char *const migrations[] = {version_1, version_2};
#define VERSION ((int64_t)(sizeof migrations / sizeof *migrations))

static enum err set_version(struct db *db, int64_t version, struct errmsg *em)
{
    char sql[96];
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %lld;",
             APPLICATION_ID, (long long)version);
    return db_script(db, sql, em);
}

static enum err migrate(struct db *db, int64_t version, struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (; version < VERSION && !rc; version++)
        rc = db_script(db, migrations[version], em);
    return rc ? rc : set_version(db, VERSION, em);
}

static enum err read_version(struct db *db, const char *path, int64_t *version, struct errmsg *em)
{
    int64_t application = 0;
    enum err rc = db_number(db, "PRAGMA application_id", SQL_NO_ARGS, &application, em);
    if (!rc)
        rc = db_number(db, "PRAGMA user_version", SQL_NO_ARGS, version, em);
    if (rc)
        return rc;
    if (application != APPLICATION_ID)
        return err_set(em, ERR_FORMAT, "%s is the database of another program; choose another file",
                       path);
    if (*version < 1 || *version > VERSION)
        return err_set(em, ERR_FORMAT,
                       "%s has version %lld of the tables, this program knows up to %lld; use the "
                       "newer program that made it",
                       path, (long long)*version, (long long)VERSION);
    return ERR_OK;
}

enum err schema_check(struct db *db, const char *path, struct errmsg *em)
{
    int64_t version;
    enum err rc = read_version(db, path, &version, em);
    if (rc || version == VERSION)
        return rc;
    rc = db_script(db, "BEGIN IMMEDIATE", em);
    if (rc)
        return rc;
    /* again, under the lock: another process may have done it */
    rc = read_version(db, path, &version, em);
    if (!rc)
        rc = migrate(db, version, em);
    if (!rc)
        rc = db_script(db, "COMMIT", em);
    if (rc) {
        struct errmsg ignored;
        (void)!db_script(db, "ROLLBACK", &ignored);
    }
    return rc;
}

static enum err fill(const char *path, struct errmsg *em)
{
    struct db *db = NULL;
    enum err rc = db_open(path, DB_BUSY_MS, &db, em);
    if (!rc)
        rc = db_script(db,
                       "PRAGMA page_size = 4096; PRAGMA synchronous = FULL;"
                       "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE",
                       em);
    if (!rc)
        rc = migrate(db, 0, em);
    if (!rc)
        rc = db_script(db, "COMMIT", em);
    if (!rc)
        db_fold_at_close(db);
    db_close(db);
    return rc;
}

/* And what SQLite may have left beside it when it failed. */
static void remove_temporary(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char name[PATH_MAX];
        if (snprintf(name, sizeof name, "%s%s", path, suffixes[i]) < (int)sizeof name)
            unlink(name);
    }
}

enum err schema_create(const char *path, struct errmsg *em)
{
    size_t n = strlen(path) + sizeof ".new-XXXXXX";
    char *tmp = malloc(n);
    if (!tmp)
        return err_nomem(em, n);
    snprintf(tmp, n, "%s.new-XXXXXX", path);
    int fd = mkstemp(tmp); /* mode 0600, which SQLite gives to the files beside it, too */
    if (fd < 0) {
        enum err rc =
            err_set(em, file_write_err(errno), "cannot make %s: %s", path, strerror(errno));
        free(tmp);
        return rc;
    }
    close(fd);
    enum err rc = fill(tmp, em);
    if (!rc && link(tmp, path) && errno != EEXIST)
        rc = err_set(em, file_write_err(errno), "cannot make %s: %s", path, strerror(errno));
    remove_temporary(tmp);
    free(tmp);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* Opening, closing, and whether it is well. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/store_impl.h"

#define QUEUE_MAX_DEFAULT 1000u
#define LIFETIME_DEFAULT_MS ((int64_t)24 * 3600 * 1000)

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t store_now_ms(const struct store *st)
{
    return st->o.now_ms ? st->o.now_ms(st->o.now_ctx) : clock_ms(CLOCK_REALTIME);
}

int64_t store_lease_now_ms(const struct store *st)
{
    return st->o.now_ms ? st->o.now_ms(st->o.now_ctx) : clock_ms(CLOCK_BOOTTIME);
}

/* Where it cannot be read all boots look alike: leases then run out by their time alone. */
static void read_boot_id(char out[BOOT_ID_CHARS + 1])
{
    memset(out, 0, BOOT_ID_CHARS + 1);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, out, BOOT_ID_CHARS);
    if (n != (ssize_t)BOOT_ID_CHARS)
        out[0] = 0;
    close(fd);
}

/* Ours end with a whole page. A log beside it may hold what is missing: SQLite looks then. */
static bool is_cut(const char *path, off_t size)
{
    char wal[PATH_MAX];
    struct stat s;
    int n = snprintf(wal, sizeof wal, "%s-wal", path);
    bool has_log = n < (int)sizeof wal && stat(wal, &s) == 0 && s.st_size > 0;
    return size == 0 || (!has_log && size % STORE_PAGE_BYTES);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Does it end before its last page, as its header has it? Read through SQLite: to close a file of
 * our own would drop its locks. */
static bool is_short(struct db *db)
{
    enum { HEADER_BYTES = 100, N_PAGES_AT = 28 };
    uint8_t header[HEADER_BYTES];
    sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    if (sqlite3_file_control(db_handle(db), "main", SQLITE_FCNTL_FILE_POINTER, &file) || !file)
        return false;
    return file->pMethods->xFileSize(file, &size) ||
           file->pMethods->xRead(file, header, HEADER_BYTES, 0) ||
           size < (sqlite3_int64)be32(header + N_PAGES_AT) * STORE_PAGE_BYTES;
}

enum err store_check_length(struct db *db, const char *path, struct errmsg *em)
{
    sqlite3_stmt *q;
    if (!is_short(db))
        return ERR_OK;
    enum err rc = db_first(db, "PRAGMA quick_check(1)", SQL_NO_ARGS, &q, em);
    if (rc)
        return rc;
    const char *verdict = (const char *)sqlite3_column_text(q, 0);
    if (!verdict || strcmp(verdict, "ok") != 0)
        rc = err_set(em, ERR_FORMAT,
                     "%s was cut short; restore a backup, or delete it to start anew", path);
    db_done(q);
    return rc;
}

/* There, or made now. A file of no bytes was cut: ours appear whole (schema.c). */
static enum err find_file(const struct store_options *o, struct errmsg *em)
{
    struct stat s;
    if (stat(o->path, &s)) {
        if (errno != ENOENT)
            return err_set(em, ERR_IO, "cannot open %s: %s", o->path, strerror(errno));
        if (o->must_exist)
            return err_set(em, ERR_NOTFOUND,
                           "there is no %s; is the data folder right? `easel serve` makes it",
                           o->path);
        return schema_create(o->path, em);
    }
    if (!S_ISREG(s.st_mode))
        return err_set(em, ERR_FORMAT, "%s is not a file; choose another path", o->path);
    if (is_cut(o->path, s.st_size))
        return err_set(em, ERR_FORMAT,
                       "%s was cut short, or is no database: %lld bytes; restore a backup, or "
                       "delete it to start anew",
                       o->path, (long long)s.st_size);
    return ERR_OK;
}

/* WAL stays with the file; a file system without shared memory cannot have it. */
static enum err set_wal(struct db *db, const char *path, struct errmsg *em)
{
    sqlite3_stmt *q;
    enum err rc = db_first(db, "PRAGMA journal_mode = WAL", SQL_NO_ARGS, &q, em);
    if (rc)
        return rc;
    const char *mode = (const char *)sqlite3_column_text(q, 0);
    if (!mode || strcmp(mode, "wal") != 0)
        rc = err_set(em, ERR_IO, "%s: this file system cannot hold the database; use a local disk",
                     path);
    db_done(q);
    return rc;
}

static enum err open_writing(struct store *st, struct db **out, struct errmsg *em)
{
    struct db *db = NULL;
    enum err rc = db_open(st->path, st->o.busy_ms, &db, em);
    if (!rc)
        rc = schema_check(db, st->path, em);
    if (!rc)
        rc = store_check_length(db, st->path, em);
    if (!rc)
        rc = set_wal(db, st->path, em);
    if (!rc)
        rc = db_script(db, "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864", em);
    if (rc) {
        db_close(db);
        return rc;
    }
    *out = db;
    return ERR_OK;
}

static enum err open_parts(struct store *st, struct errmsg *em)
{
    struct db *db = NULL;
    enum err rc = open_writing(st, &db, em);
    if (!rc)
        rc = writer_new(st, db, &st->writer, em);
    if (!rc)
        rc = readers_new(&st->readers, em);
    if (!rc)
        rc = key_cache_new(&st->key_cache, em);
    if (!rc)
        rc = db_open(st->path, st->o.busy_ms, &st->watch, em);
    return rc;
}

static void set_defaults(struct store_options *o)
{
    o->path = NULL;
    o->queue_max = o->queue_max ? o->queue_max : QUEUE_MAX_DEFAULT;
    o->result_lifetime_ms = o->result_lifetime_ms ? o->result_lifetime_ms : LIFETIME_DEFAULT_MS;
    o->busy_ms = o->busy_ms ? o->busy_ms : DB_BUSY_MS;
}

enum err store_open(const struct store_options *o, struct store **out, struct errmsg *em)
{
    enum err rc = find_file(o, em);
    if (rc)
        return rc;
    struct store *st = calloc(1, sizeof *st);
    if (!st)
        return err_nomem(em, sizeof *st);
    pthread_mutex_init(&st->watch_mutex, NULL);
    st->o = *o;
    set_defaults(&st->o);
    read_boot_id(st->boot_id);
    st->path = strdup(o->path);
    rc = st->path ? open_parts(st, em) : err_nomem(em, strlen(o->path) + 1);
    if (rc) {
        store_close(st);
        return rc;
    }
    *out = st;
    return ERR_OK;
}

void store_close(struct store *st)
{
    if (!st)
        return;
    readers_free(st->readers);
    db_close(st->watch);
    writer_free(st->writer); /* the last one: it folds the log into the file */
    key_cache_free(st->key_cache);
    pthread_mutex_destroy(&st->watch_mutex);
    free(st->path);
    free(st);
}

int64_t store_version(struct store *st)
{
    struct errmsg ignored;
    pthread_mutex_lock(&st->watch_mutex);
    int64_t version = st->version;
    if (!db_number(st->watch, "PRAGMA data_version", SQL_NO_ARGS, &version, &ignored))
        st->version = version;
    pthread_mutex_unlock(&st->watch_mutex);
    return version;
}

void store_note_damage(struct store *st, const struct db *db)
{
    if (db_is_damaged(db))
        atomic_store(&st->is_damaged, true);
}

static enum err write_check(struct store *st, struct db *db, void *arg, struct errmsg *em)
{
    (void)arg;
    return db_run(db, "INSERT OR REPLACE INTO settings(name, value) VALUES ('checked_ms', ?1)",
                  SQL_ARGS(sql_int(store_now_ms(st))), em);
}

enum err store_check(struct store *st, struct errmsg *em)
{
    struct db *db;
    int64_t n;
    if (atomic_load(&st->is_damaged))
        return err_set(em, ERR_IO,
                       "%s or its log is damaged or was cut short; stop the server and restore a "
                       "backup",
                       st->path);
    enum err rc = reader_take(st, &db, em);
    if (rc)
        return rc;
    rc = db_number(db, "SELECT count(*) FROM (SELECT 1 FROM tasks LIMIT 1)", SQL_NO_ARGS, &n, em);
    if (!rc)
        rc = store_check_length(db, st->path, em);
    rc = reader_give(st, db, rc);
    return rc ? rc : store_write(st, write_check, NULL, em);
}

/* SPDX-License-Identifier: MIT */
/* store/: files that are not ours, cut or damaged; locks; a disk that is full. */
#include "store/store_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/file.h"

static void write_file(const char *path, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

static void remove_all(const char *dir)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    closedir(d);
    rmdir(dir);
}

static void test_foreign_files(void **state)
{
    (void)state;
    struct errmsg em;
    char dir[] = "/tmp/easel-store-XXXXXX", path[64];
    struct store *st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/x.db", dir);
    struct store_options o = {.path = path};
    write_file(path, "", 0);
    assert_fails(store_open(&o, &st, &em), ERR_FORMAT, "was cut short");
    char text[8192];
    memset(text, 'x', sizeof text);
    write_file(path, text, sizeof text);
    assert_fails(store_open(&o, &st, &em), ERR_FORMAT, "not a database");
    write_file(path, text, 10);
    assert_fails(store_open(&o, &st, &em), ERR_FORMAT, "or is no database");
    unlink(path);
    fixture_sql(path, "CREATE TABLE theirs (x)");
    assert_fails(store_open(&o, &st, &em), ERR_FORMAT, "another program");
    fixture_sql(path, "PRAGMA application_id = 77");
    assert_fails(store_open(&o, &st, &em), ERR_FORMAT, "another program");
    unlink(path);
    assert_ok(store_open(&o, &st, &em));
    store_close(st);
    fixture_sql(path, "PRAGMA user_version = 99");
    assert_fails(store_open(&o, &st, &em), ERR_FORMAT, "version 99");
    remove_all(dir);
}

static void ignore(void *ctx, const struct task *task)
{
    (void)ctx;
    (void)task;
}

/* Whatever it says, it says it: no crash, and no success that is none. */
static void exercise(struct fixture *f, const char *id)
{
    struct errmsg em;
    struct task t;
    struct store_stats s;
    struct gen_request r = some_request();
    struct task_new n = {.key_id = 1, .request = &r, .cost_microcredits = 1};
    struct task_query q = {.key_id = 1, .model = "flux-2-pro", .state = -1, .limit = 200};
    struct store_options o = {.path = f->path, .now_ms = fixture_now, .now_ctx = f};
    struct store *st;
    bool existing;
    enum err rc = store_open(&o, &st, &em);
    assert_true(rc == ERR_OK || rc == ERR_FORMAT || rc == ERR_IO);
    if (rc)
        return;
    rc = store_task_get(st, id, 0, &t, &em);
    assert_true(rc == ERR_OK || rc == ERR_IO || rc == ERR_NOTFOUND);
    if (!rc)
        task_deinit(&t);
    (void)!store_stats(st, &s, &em);
    rc = store_task_create(st, &n, &t, &existing, &em);
    if (!rc)
        task_deinit(&t);
    else
        assert_true(em.text[0]);
    if (!store_task_claim(st, "w", 1000, &t, &em))
        task_deinit(&t);
    f->now_ms += 100000000;
    size_t n_swept;
    (void)!store_sweep_leases(st, NULL, &n_swept, &em);
    (void)!store_task_list(st, &q, ignore, NULL, &em);
    store_close(st);
}

/* A store of some pages, closed, as bytes. */
static struct fixture *make_stock(struct buf *bytes, char id[TASK_ID_CHARS + 1])
{
    struct errmsg em;
    struct fixture *f = fixture_new(1000);
    for (int i = 0; i < 60; i++)
        create_task(f->st, f->key_id, id);
    store_close(f->st);
    assert_ok(file_read(f->path, (size_t)1 << 30, bytes, &em));
    return f;
}

static void drop_stock(struct fixture *f, struct buf *bytes)
{
    buf_deinit(bytes);
    remove_all(f->dir);
    free(f);
}

static void test_cut_files_are_refused(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf bytes = {0};
    char id[TASK_ID_CHARS + 1];
    struct fixture *f = make_stock(&bytes, id);
    struct store_options o = {.path = f->path};
    size_t page = 4096, n_pages = bytes.len / page;
    for (size_t n = 0; n < n_pages; n++)
        for (size_t more = 0; more < page; more += 1500) {
            struct store *st;
            write_file(f->path, bytes.ptr, n * page + more);
            assert_fails(store_open(&o, &st, &em), ERR_FORMAT, "easel.db");
        }
    drop_stock(f, &bytes);
}

static void read_file(const char *path, struct buf *out)
{
    struct errmsg em;
    uint8_t bytes[4096];
    size_t n;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    out->len = 0;
    while ((n = fread(bytes, 1, sizeof bytes, file)) > 0)
        assert_ok(buf_append(out, bytes, n, &em));
    fclose(file);
}

/* After a kill, with much in the log: what is refused is not touched, the log neither. */
static void test_cut_beside_its_log(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(1000);
    struct buf file = {0}, log = {0}, after = {0};
    unsigned n_refused = 0;
    char id[TASK_ID_CHARS + 1], wal[128], copy[128], copy_wal[140];
    for (int i = 0; i < 60; i++)
        create_task(f->st, f->key_id, id);
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    read_file(f->path, &file);
    read_file(wal, &log);
    assert_true(log.len > 4096);
    snprintf(copy, sizeof copy, "%s/copy.db", f->dir);
    snprintf(copy_wal, sizeof copy_wal, "%s-wal", copy);
    struct store_options o = {.path = copy};
    struct store *st;
    for (size_t len = 4096; len < file.len; len += 3 * 4096 + 1500) {
        write_file(copy, file.ptr, len);
        write_file(copy_wal, log.ptr, log.len);
        if (!store_open(&o, &st, &em)) { /* the log has all that is missing */
            assert_int_equal(state_of(st, id), TASK_CREATED);
            store_close(st);
            continue;
        }
        n_refused++;
        assert_non_null(strstr(em.text, "copy.db"));
        read_file(copy, &after);
        assert_int_equal(after.len, len);
        assert_memory_equal(after.ptr, file.ptr, len);
        read_file(copy_wal, &after);
        assert_int_equal(after.len, log.len);
        assert_memory_equal(after.ptr, log.ptr, log.len);
    }
    assert_true(n_refused > 3);
    write_file(copy, file.ptr, file.len); /* put back what was there */
    write_file(copy_wal, log.ptr, log.len);
    assert_ok(store_open(&o, &st, &em));
    assert_int_equal(state_of(st, id), TASK_CREATED);
    store_close(st);
    buf_deinit(&file);
    buf_deinit(&log);
    buf_deinit(&after);
    assert_int_equal(unlink(copy), 0);
    fixture_free(f);
}

/* A file without a log that loses its end while it is open. */
static void test_readiness_sees_a_cut(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(1000);
    struct stat s;
    char id[TASK_ID_CHARS + 1];
    for (int i = 0; i < 60; i++)
        create_task(f->st, f->key_id, id);
    fixture_sql(f->path, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_ok(store_check(f->st, &em));
    assert_int_equal(stat(f->path, &s), 0);
    assert_int_equal(truncate(f->path, s.st_size / 4096 / 2 * 4096), 0);
    assert_fails(store_check(f->st, &em), ERR_IO, "cut short");
    store_close(f->st);
    remove_all(f->dir);
    free(f);
}

static void test_damaged_files_do_no_harm(void **state)
{
    (void)state;
    struct buf bytes = {0};
    char id[TASK_ID_CHARS + 1];
    struct fixture *f = make_stock(&bytes, id);
    uint32_t r = 1;
    uint8_t *copy = malloc(bytes.len);
    assert_non_null(copy);
    for (int round = 0; round < 60; round++) {
        memcpy(copy, bytes.ptr, bytes.len);
        for (int i = 0; i < 1 + round; i++) {
            r = r * 1664525u + 1013904223u;
            size_t at = (r >> 4) % bytes.len;
            r = r * 1664525u + 1013904223u;
            copy[at] = (uint8_t)(r >> 16);
        }
        remove_all(f->dir);
        assert_int_equal(mkdir(f->dir, 0700), 0);
        write_file(f->path, copy, bytes.len);
        exercise(f, id);
    }
    free(copy);
    drop_stock(f, &bytes);
}

/* Cut under our feet: an error, not SIGBUS. */
static void test_cut_while_open(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(1000);
    struct task t;
    char id[TASK_ID_CHARS + 1], wal[128];
    for (int i = 0; i < 60; i++)
        create_task(f->st, f->key_id, id);
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    assert_int_equal(truncate(wal, 5000), 0);
    assert_int_equal(truncate(f->path, 5000), 0);
    assert_int_equal(store_task_get(f->st, id, 0, &t, &em), ERR_IO);
    assert_non_null(strstr(em.text, f->path));
    store_close(f->st);
    remove_all(f->dir);
    free(f);
}

static void test_locked(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1];
    sqlite3 *other;
    create_task(f->st, f->key_id, id);
    store_close(f->st);
    struct store_options o = {.path = f->path, .busy_ms = 50};
    assert_ok(store_open(&o, &f->st, &em));
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_fails(store_task_cancel(f->st, id, 0, NULL, &em), ERR_BUSY, "locked by another");
    assert_int_equal(state_of(f->st, id), TASK_CREATED); /* readers do not mind */
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_ok(store_task_cancel(f->st, id, 0, NULL, &em));
    fixture_free(f);
}

static off_t wal_size(const struct fixture *f)
{
    struct stat s;
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    assert_int_equal(stat(wal, &s), 0);
    return s.st_size;
}

static void limit_files(rlim_t bytes)
{
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = bytes < l.rlim_max ? bytes : l.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

/* Files that may not grow stand for a full disk. */
static void test_disk_full(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(100000);
    char ids[2000][TASK_ID_CHARS + 1], count[256];
    struct gen_request r = some_request();
    int64_t anna = fixture_key(f, "anna", 1000000);
    struct task_new n = {.key_id = anna, .request = &r, .cost_microcredits = 100};
    struct task t;
    bool existing;
    size_t n_made = 0;
    enum err rc = ERR_OK;
    signal(SIGXFSZ, SIG_IGN);
    limit_files((rlim_t)wal_size(f) + 300000);
    while (n_made < 2000 && !(rc = store_task_create(f->st, &n, &t, &existing, &em))) {
        memcpy(ids[n_made++], t.id, sizeof ids[0]);
        task_deinit(&t);
    }
    if (rc != ERR_FULL || !strstr(em.text, "disk is full"))
        fail_msg("%d: %s", (int)rc, em.text);
    assert_true(n_made > 3);
    for (int i = 0; i < 5; i++)
        assert_fails(store_task_create(f->st, &n, &t, &existing, &em), ERR_FULL, "disk is full");
    assert_fails(store_check(f->st, &em), ERR_FULL, "disk is full");
    for (size_t i = 0; i < n_made; i++) /* reading goes on */
        assert_int_equal(state_of(f->st, ids[i]), TASK_CREATED);
    assert_int_equal(credits_of(f->st, anna), 1000000 - 100 * (int64_t)n_made);

    limit_files(RLIM_INFINITY); /* space again: no restart is needed */
    assert_ok(store_check(f->st, &em));
    create_task(f->st, f->key_id, ids[0]);
    fixture_ask(f->path, "SELECT count(*) FROM tasks", count);
    assert_int_equal(strtol(count, NULL, 10), (long)n_made + 1);
    assert_sound(f->path);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_cut_files_are_refused),
        cmocka_unit_test(test_damaged_files_do_no_harm),
        cmocka_unit_test(test_cut_beside_its_log),
        cmocka_unit_test(test_readiness_sees_a_cut),
        cmocka_unit_test(test_cut_while_open),
        cmocka_unit_test(test_locked),
        cmocka_unit_test(test_disk_full),
    };
    return cmocka_run_group_tests_name("store_faults", tests, NULL, NULL);
}

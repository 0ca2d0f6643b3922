/* SPDX-License-Identifier: MIT */
/* A store in a folder of its own, with a clock that the test sets. */
#ifndef EASEL_TESTS_STORE_TEST_H
#define EASEL_TESTS_STORE_TEST_H

#include "test.h"

#include <dirent.h>
#include <unistd.h>

#include <sqlite3.h>

#include "store/store.h"

struct fixture {
    char dir[64], path[96];
    int64_t now_ms;
    struct store *st;
    int64_t key_id;
};

static inline int64_t fixture_now(void *ctx)
{
    struct fixture *f = ctx;
    return f->now_ms;
}

static inline void fixture_open(struct fixture *f, size_t queue_max)
{
    struct errmsg em;
    struct store_options o = {.path = f->path,
                              .now_ms = fixture_now,
                              .now_ctx = f,
                              .queue_max = queue_max,
                              .busy_ms = 2000};
    assert_ok(store_open(&o, &f->st, &em));
}

static inline int64_t fixture_key(struct fixture *f, const char *name, int64_t credits)
{
    struct errmsg em;
    struct api_key k;
    char *text;
    assert_ok(store_key_create(f->st, name, KEY_RATE_DEFAULT, credits, &text, &k, &em));
    int64_t id = k.id;
    free(text);
    api_key_deinit(&k);
    return id;
}

static inline struct fixture *fixture_new(size_t queue_max)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/easel-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/easel.db", f->dir);
    f->now_ms = 1700000000000;
    fixture_open(f, queue_max);
    f->key_id = fixture_key(f, "first", -1);
    return f;
}

/* Nothing but the database may be left. */
static inline void fixture_free(struct fixture *f)
{
    store_close(f->st);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
}

/* As an operator might, past the store. */
static inline void fixture_sql(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 2000);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL))
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* The one text that a query gives. */
static inline void fixture_ask(const char *path, const char *sql, char out[256])
{
    sqlite3 *db;
    sqlite3_stmt *q;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    snprintf(out, 256, "%s", (const char *)sqlite3_column_text(q, 0));
    sqlite3_finalize(q);
    sqlite3_close(db);
}

static inline struct gen_request some_request(void)
{
    static char prompt[] = "a red apple", model[] = "flux-2-pro", format[] = "png";
    return (struct gen_request){.prompt = prompt,
                                .width_px = 1024,
                                .height_px = 768,
                                .seed = 7,
                                .model = model,
                                .format = format};
}

static inline void create_task(struct store *st, int64_t key_id, char id[TASK_ID_CHARS + 1])
{
    struct errmsg em;
    struct gen_request r = some_request();
    struct task_new n = {.key_id = key_id, .request = &r, .cost_microcredits = 1000000};
    struct task t;
    bool existing;
    assert_ok(store_task_create(st, &n, &t, &existing, &em));
    assert_false(existing);
    memcpy(id, t.id, TASK_ID_CHARS + 1);
    task_deinit(&t);
}

static inline enum task_state state_of(struct store *st, const char *id)
{
    struct errmsg em;
    struct task t;
    assert_ok(store_task_get(st, id, 0, &t, &em));
    enum task_state s = t.state;
    task_deinit(&t);
    return s;
}

/* Claim, and say which it was. */
static inline void claim_task(struct store *st, const char *worker, char id[TASK_ID_CHARS + 1])
{
    struct errmsg em;
    struct task t;
    assert_ok(store_task_claim(st, worker, 10000, &t, &em));
    assert_int_equal(t.state, TASK_IN_PROGRESS);
    memcpy(id, t.id, TASK_ID_CHARS + 1);
    task_deinit(&t);
}

static inline int64_t credits_of(struct store *st, int64_t key_id)
{
    struct errmsg em;
    struct api_key k;
    assert_ok(store_key_get(st, key_id, &k, &em));
    int64_t credits = k.credits_micro;
    api_key_deinit(&k);
    return credits;
}

static inline void assert_sound(const char *path)
{
    char text[256];
    fixture_ask(path, "PRAGMA integrity_check", text);
    assert_string_equal(text, "ok");
    fixture_ask(path, "SELECT count(*) FROM pragma_foreign_key_check", text);
    assert_string_equal(text, "0");
    fixture_ask(path,
                "SELECT count(*) FROM queues q WHERE n_queued <>"
                " (SELECT count(*) FROM tasks t WHERE t.key_id = q.key_id AND t.state = 0)",
                text);
    assert_string_equal(text, "0");
    fixture_ask(path,
                "SELECT (SELECT count(*) FROM tasks WHERE state = 1) - (SELECT count(*) FROM"
                " leases)",
                text);
    assert_string_equal(text, "0");
}

#endif

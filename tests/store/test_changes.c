/* SPDX-License-Identifier: MIT */
/* store/: which tasks changed, for those who wait for some. */
#include "store/store_test.h"

struct told {
    char ids[16][TASK_ID_CHARS + 1];
    size_t n;
};

static void add_id(void *ctx, const char *task_id)
{
    struct told *t = ctx;
    if (t->n < 16)
        snprintf(t->ids[t->n], sizeof t->ids[0], "%s", task_id);
    t->n++;
}

/* These, in this order, and none besides. */
static void assert_changed(struct fixture *f, int64_t *since, size_t n, const char *const *ids)
{
    struct errmsg em;
    struct told t = {.n = 0};
    bool all = true;
    assert_ok(store_changes(f->st, since, add_id, &t, &all, &em));
    assert_false(all);
    assert_int_equal(t.n, n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(t.ids[i], ids[i]);
}

static void test_what_changes(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char a[TASK_ID_CHARS + 1], b[TASK_ID_CHARS + 1], id[TASK_ID_CHARS + 1];
    int64_t since = 0, other = 0;
    bool cancel;
    size_t n;
    struct task_progress p = {.stage = "denoise", .fraction = 0.5};
    assert_changed(f, &since, 0, NULL);
    create_task(f->st, f->key_id, a);
    create_task(f->st, f->key_id, b);
    assert_changed(f, &since, 2, (const char *[]){a, b});
    assert_changed(f, &since, 0, NULL);
    claim_task(f->st, "w", id);
    assert_changed(f, &since, 1, (const char *[]){a});
    assert_ok(store_task_progress(f->st, a, "w", 1000, &p, &cancel, &em));
    assert_changed(f, &since, 1, (const char *[]){a});
    assert_ok(store_task_cancel(f->st, b, 0, NULL, &em));
    assert_changed(f, &since, 1, (const char *[]){b});
    f->now_ms += 20000;
    assert_ok(store_sweep_leases(f->st, NULL, &n, &em));
    assert_changed(f, &since, 1, (const char *[]){a});
    assert_ok(store_task_retry(f->st, b, &em));
    assert_changed(f, &since, 1, (const char *[]){b});
    assert_ok(store_check(f->st, &em)); /* a commit, but of no task */
    assert_changed(f, &since, 0, NULL);
    assert_changed(f, &other, 7, (const char *[]){a, b, a, a, b, a, b});
    fixture_free(f);
}

static void test_too_many(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1], count[256];
    int64_t since = 0;
    bool all = false, cancel;
    struct told t = {.n = 0};
    struct task_progress p = {.stage = "denoise", .fraction = 0.5};
    create_task(f->st, f->key_id, id);
    assert_changed(f, &since, 1, (const char *[]){id});
    claim_task(f->st, "w", id);
    fixture_sql(f->path, "INSERT INTO changes(seq) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL"
                         " SELECT i + 1 FROM c WHERE i < 30000) SELECT 1 FROM c");
    for (int i = 0; i < 1100; i++)
        assert_ok(store_task_progress(f->st, id, "w", 1000, &p, &cancel, &em));
    fixture_ask(f->path, "SELECT count(*) FROM changes", count);
    assert_in_range(strtol(count, NULL, 10), 8192, 8192 + 1100);
    assert_ok(store_changes(f->st, &since, add_id, &t, &all, &em));
    assert_true(all);
    assert_int_equal(t.n, 0);
    assert_changed(f, &since, 0, NULL);
    since += 7; /* of a database that was replaced by an older one */
    assert_ok(store_changes(f->st, &since, add_id, &t, &all, &em));
    assert_true(all);
    assert_changed(f, &since, 0, NULL);
    fixture_free(f);
}

/* A database of the first version gets the table when it is opened. */
static void test_an_older_database(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0);
    char a[TASK_ID_CHARS + 1], b[TASK_ID_CHARS + 1];
    int64_t since = 0;
    create_task(f->st, f->key_id, a);
    store_close(f->st);
    fixture_sql(f->path, "DROP TABLE changes; PRAGMA user_version = 1");
    fixture_open(f, 0);
    assert_int_equal(state_of(f->st, a), TASK_CREATED);
    create_task(f->st, f->key_id, b);
    assert_changed(f, &since, 1, (const char *[]){b});
    assert_sound(f->path);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_changes),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_an_older_database),
    };
    return cmocka_run_group_tests_name("store_changes", tests, NULL, NULL);
}

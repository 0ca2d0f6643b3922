/* SPDX-License-Identifier: MIT */
/* store/: opening, settings, keys. */
#include "store/store_test.h"

#include <sys/stat.h>

static void test_file_is_private_and_reopens(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct stat s;
    char wal[128];
    assert_int_equal(stat(f->path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    assert_int_equal(stat(wal, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    store_close(f->st);
    fixture_open(f, 0);
    struct api_key k;
    assert_ok(store_key_get(f->st, f->key_id, &k, &em));
    assert_string_equal(k.name, "first");
    api_key_deinit(&k);
    assert_ok(store_check(f->st, &em));
    fixture_free(f);
    store_close(NULL);
}

static void test_missing_file(void **state)
{
    (void)state;
    struct errmsg em;
    struct store *st;
    struct store_options o = {.path = "/tmp/easel-none/easel.db", .must_exist = true};
    assert_fails(store_open(&o, &st, &em), ERR_NOTFOUND, "easel.db");
    o.must_exist = false;
    assert_fails(store_open(&o, &st, &em), ERR_IO, "cannot make /tmp/easel-none/easel.db");
    o.path = "/tmp";
    assert_fails(store_open(&o, &st, &em), ERR_FORMAT, "not a file");
}

static void test_version_changes_with_commits(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1];
    int64_t before = store_version(f->st);
    assert_int_equal(store_version(f->st), before);
    create_task(f->st, f->key_id, id);
    int64_t after = store_version(f->st);
    assert_int_not_equal(after, before);
    fixture_sql(f->path, "UPDATE settings SET value = 1; DELETE FROM stages;"
                         "INSERT INTO settings VALUES ('other process', 'x')");
    assert_int_not_equal(store_version(f->st), after);
    fixture_free(f);
}

static void test_settings(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char *value;
    assert_fails(store_setting_get(f->st, "secret", &value, &em), ERR_NOTFOUND, "secret");
    assert_ok(store_setting_init(f->st, "secret", "one", &value, &em));
    assert_string_equal(value, "one");
    free(value);
    assert_ok(store_setting_init(f->st, "secret", "two", &value, &em));
    assert_string_equal(value, "one");
    free(value);
    assert_ok(store_setting_get(f->st, "secret", &value, &em));
    assert_string_equal(value, "one");
    free(value);
    fixture_free(f);
}

static void test_key_life(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct api_key k, found;
    char *text, stored[256];
    assert_ok(store_key_create(f->st, "anna", 5, 700, &text, &k, &em));
    assert_int_equal(strlen(text), 6 + 43);
    assert_int_equal(strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_"),
                     strlen(text));
    assert_memory_equal(text, "easel_", 6);
    assert_memory_equal(k.prefix, text, KEY_PREFIX_CHARS);
    assert_int_equal(k.created_ms, f->now_ms);
    for (int round = 0; round < 2; round++) { /* from the database, then from memory */
        assert_ok(store_key_find(f->st, text, &found, &em));
        assert_int_equal(found.id, k.id);
        assert_string_equal(found.name, "anna");
        assert_int_equal(found.rate_per_minute, 5);
        assert_int_equal(found.credits_micro, 700);
        api_key_deinit(&found);
    }
    snprintf(stored, sizeof stored,
             "SELECT count(*) FROM api_keys WHERE instr(prefix || hash, '%s')",
             text + KEY_PREFIX_CHARS);
    fixture_ask(f->path, stored, stored);
    assert_string_equal(stored, "0");

    assert_ok(store_key_limit(f->st, "anna", -1, 900, &em));
    assert_ok(store_key_find(f->st, text, &found, &em));
    assert_int_equal(found.rate_per_minute, 5);
    assert_int_equal(found.credits_micro, 900);
    api_key_deinit(&found);
    assert_ok(store_key_limit(f->st, "anna", 0, -2, &em));
    assert_ok(store_key_find(f->st, text, &found, &em));
    assert_int_equal(found.rate_per_minute, 0);
    assert_int_equal(found.credits_micro, 900);
    api_key_deinit(&found);

    assert_ok(store_key_revoke(f->st, "anna", &em));
    assert_fails(store_key_find(f->st, text, &found, &em), ERR_NOTFOUND, "no such key");
    assert_fails(store_key_revoke(f->st, "anna", &em), ERR_NOTFOUND, "anna");
    assert_fails(store_key_limit(f->st, "anna", 1, 1, &em), ERR_NOTFOUND, "anna");
    free(text);
    api_key_deinit(&k);
    fixture_free(f);
}

static void count_key(void *ctx, const struct api_key *k)
{
    char *names = ctx;
    strncat(names, k->name, 20);
    strncat(names, k->revoked_ms ? "- " : " ", 3);
}

static void test_key_names(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct api_key k;
    char *text, names[256] = "", long_name[66];
    memset(long_name, 'x', 65);
    long_name[65] = 0;
    const char *const wrong[] = {"", "a\"b", "a'b", "a\nb", "\xc3\xa4", " a", "a ", long_name};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(store_key_create(f->st, wrong[i], 1, 1, &text, &k, &em), ERR_USAGE,
                     "1 to 64 printable");
    assert_fails(store_key_create(f->st, "x", -1, 1, &text, &k, &em), ERR_USAGE, "rate");
    assert_fails(store_key_create(f->st, "x", 1, -2, &text, &k, &em), ERR_USAGE, "credits");
    long_name[64] = 0;
    fixture_key(f, long_name, -1);
    assert_ok(store_key_revoke(f->st, long_name, &em));
    fixture_key(f, "second one", -1);
    assert_fails(store_key_create(f->st, "second one", 1, 1, &text, &k, &em), ERR_CONFLICT,
                 "second one");
    /* the name of a revoked key is free */
    assert_ok(store_key_revoke(f->st, "second one", &em));
    fixture_key(f, "second one", -1);
    assert_ok(store_key_list(f->st, count_key, names, &em));
    assert_string_equal(names, "first xxxxxxxxxxxxxxxxxxxx- second one- second one ");
    fixture_free(f);
}

/* Another process revokes: noticed within some milliseconds, without a restart. */
static void test_key_cache_sees_other_processes(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct api_key k;
    struct store *other;
    char *text;
    assert_ok(store_key_create(f->st, "anna", 5, 700, &text, &k, &em));
    api_key_deinit(&k);
    assert_ok(store_key_find(f->st, text, &k, &em));
    api_key_deinit(&k);
    struct store_options o = {.path = f->path, .must_exist = true};
    assert_ok(store_open(&o, &other, &em));
    assert_ok(store_key_limit(other, "anna", 77, 1, &em));
    usleep(30000);
    assert_ok(store_key_find(f->st, text, &k, &em));
    assert_int_equal(k.rate_per_minute, 77);
    api_key_deinit(&k);
    assert_ok(store_key_revoke(other, "anna", &em));
    usleep(30000);
    assert_fails(store_key_find(f->st, text, &k, &em), ERR_NOTFOUND, "no such key");
    store_close(other);
    free(text);
    fixture_free(f);
}

static int64_t last_used(struct fixture *f, int64_t id)
{
    struct errmsg em;
    struct api_key k;
    assert_ok(store_check(f->st, &em)); /* runs behind what was written without waiting */
    assert_ok(store_key_get(f->st, id, &k, &em));
    int64_t used_ms = k.last_used_ms;
    api_key_deinit(&k);
    return used_ms;
}

static void test_last_use_is_noted_once_a_minute(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct api_key k;
    char *text;
    assert_ok(store_key_create(f->st, "anna", 5, 700, &text, &k, &em));
    int64_t id = k.id, start = f->now_ms;
    api_key_deinit(&k);
    assert_int_equal(last_used(f, id), 0);
    for (int i = 0; i < 3; i++) {
        assert_ok(store_key_find(f->st, text, &k, &em));
        api_key_deinit(&k);
        f->now_ms += 20000;
    }
    assert_int_equal(last_used(f, id), start);
    assert_ok(store_key_find(f->st, text, &k, &em));
    api_key_deinit(&k);
    assert_int_equal(last_used(f, id), start + 60000);
    free(text);
    fixture_free(f);
}

static void test_revoked_keys_tasks_are_cancelled(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct store_stats s;
    struct task t;
    char id[TASK_ID_CHARS + 1], last[TASK_ID_CHARS + 1];
    int64_t anna = fixture_key(f, "anna", 10000000000);
    create_task(f->st, anna, id);
    for (int i = 0; i < 600; i++) /* more than one batch */
        create_task(f->st, anna, last);
    claim_task(f->st, "w", id);
    assert_ok(store_key_revoke(f->st, "anna", &em));
    assert_int_equal(state_of(f->st, id), TASK_IN_PROGRESS);
    assert_ok(store_task_get(f->st, last, anna, &t, &em));
    assert_int_equal(t.state, TASK_FAILED);
    assert_string_equal(t.error, "cancelled");
    task_deinit(&t);
    assert_ok(store_stats(f->st, &s, &em));
    assert_int_equal(s.n_created, 0);
    assert_int_equal(s.n_failed, 600);
    assert_int_equal(credits_of(f->st, anna), 10000000000 - 1000000);

    /* a revocation that was cut off in the middle is carried on by the sweep; until then nobody
     * draws its tasks */
    size_t n;
    char bens[TASK_ID_CHARS + 1];
    for (int i = 0; i < 120; i++)
        create_task(f->st, f->key_id, id);
    fixture_sql(f->path, "UPDATE api_keys SET revoked_ms = 1");
    assert_fails(store_task_claim(f->st, "w", 1000, &t, &em), ERR_EMPTY, "no task");
    create_task(f->st, fixture_key(f, "ben", -1), bens);
    claim_task(f->st, "w", last);
    assert_string_equal(last, bens);
    assert_fails(store_task_claim(f->st, "w", 1000, &t, &em), ERR_EMPTY, "no task");
    assert_int_equal(state_of(f->st, id), TASK_CREATED);
    assert_ok(store_sweep_leases(f->st, NULL, &n, &em));
    assert_int_equal(state_of(f->st, id), TASK_FAILED);
    assert_sound(f->path);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_is_private_and_reopens),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_version_changes_with_commits),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_key_life),
        cmocka_unit_test(test_key_names),
        cmocka_unit_test(test_key_cache_sees_other_processes),
        cmocka_unit_test(test_last_use_is_noted_once_a_minute),
        cmocka_unit_test(test_revoked_keys_tasks_are_cancelled),
    };
    return cmocka_run_group_tests_name("store_keys", tests, NULL, NULL);
}

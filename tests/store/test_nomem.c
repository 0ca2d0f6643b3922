/* SPDX-License-Identifier: MIT */
/* store/ without memory: an error, no leak, and nothing half done. SQLite's and jansson's own
 * allocations are not counted. */
#include "store/store_test.h"

#include "formats/fault.h"

static struct fixture *f;
static char *key_text;

static enum err run_open(void *ctx, struct errmsg *em)
{
    struct store_options o = {.path = f->path};
    struct store *st;
    (void)ctx;
    enum err rc = store_open(&o, &st, em);
    if (!rc)
        store_close(st);
    return rc;
}

static enum err run_create(void *ctx, struct errmsg *em)
{
    struct gen_request r = some_request();
    char reference[] = "ref.png", url[] = "https://example.org/";
    struct task_new n = {.key_id = f->key_id, .request = &r};
    struct task t;
    bool existing;
    (void)ctx;
    r.references[r.n_references++] = reference;
    r.webhook_url = url;
    enum err rc = store_task_create(f->st, &n, &t, &existing, em);
    if (!rc)
        task_deinit(&t);
    return rc;
}

static void ignore_task(void *ctx, const struct task *t)
{
    (void)ctx;
    (void)t;
}

static enum err run_list(void *ctx, struct errmsg *em)
{
    struct task_query q = {.state = -1, .limit = 3};
    (void)ctx;
    return store_task_list(f->st, &q, ignore_task, NULL, em);
}

static enum err run_claim(void *ctx, struct errmsg *em)
{
    struct task t;
    (void)ctx;
    enum err rc = store_task_claim(f->st, "w", 1000, &t, em);
    if (!rc)
        task_deinit(&t);
    return rc;
}

static enum err run_key_find(void *ctx, struct errmsg *em)
{
    struct api_key k;
    (void)ctx;
    usleep(21000); /* so that the cache looks, too */
    enum err rc = store_key_find(f->st, key_text, &k, em);
    if (!rc)
        api_key_deinit(&k);
    return rc;
}

static void ignore_entry(void *ctx, const struct outbox_entry *e)
{
    (void)ctx;
    (void)e;
}

static enum err run_outbox_claim(void *ctx, struct errmsg *em)
{
    size_t n;
    (void)ctx;
    return store_outbox_claim(f->st, 10, 1, ignore_entry, NULL, &n, em);
}

static void test_each_call(void **state)
{
    (void)state;
    struct errmsg em;
    struct api_key k;
    char count[256], before[256];
    f = fixture_new(0);
    assert_ok(store_key_create(f->st, "anna", 1, -1, &key_text, &k, &em));
    api_key_deinit(&k);
    assert_true(fault_each(run_open, NULL) > 5);
    assert_true(fault_each(run_create, NULL) > 3);
    fixture_ask(f->path, "SELECT count(*) FROM tasks", count);
    assert_string_equal(count, "1"); /* those that failed left nothing */
    assert_true(fault_each(run_create, NULL) > 3);
    assert_true(fault_each(run_list, NULL) > 6);
    assert_true(fault_each(run_outbox_claim, NULL) > 2);
    fixture_ask(f->path, "SELECT count(*) FROM leases", before);
    assert_true(fault_each(run_claim, NULL) > 3);
    fixture_ask(f->path, "SELECT count(*) FROM leases", count);
    assert_string_equal(before, "0");
    assert_string_equal(count, "1");
    assert_sound(f->path);
    fixture_free(f);
    free(key_text);
}

/* The cache does without, if it must: the key is found all the same. */
static void test_key_find(void **state)
{
    (void)state;
    struct errmsg em;
    struct api_key k;
    f = fixture_new(0);
    assert_ok(store_key_create(f->st, "anna", 1, -1, &key_text, &k, &em));
    api_key_deinit(&k);
    for (size_t n = 1; n < 8; n++) {
        fault_countdown = n;
        enum err rc = run_key_find(NULL, &em);
        fault_countdown = 0;
        assert_true(rc == ERR_OK || rc == ERR_NOMEM);
    }
    assert_ok(run_key_find(NULL, &em));
    fixture_free(f);
    free(key_text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_call),
        cmocka_unit_test(test_key_find),
    };
    return cmocka_run_group_tests_name("store_nomem", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* store/: blobs past their lifetime, in two phases; old rows. */
#include "store/store_test.h"

#define DAY_MS ((int64_t)24 * 3600 * 1000)

struct deleted {
    char names[32][64];
    size_t n;
    const char *refuses; /* this one cannot be deleted */
};

static bool delete_blob(void *ctx, const char *blob)
{
    struct deleted *d = ctx;
    if (d->refuses && strcmp(blob, d->refuses) == 0)
        return false;
    assert_true(d->n < 32);
    snprintf(d->names[d->n++], 64, "%s", blob);
    return true;
}

static bool was_deleted(const struct deleted *d, const char *name)
{
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->names[i], name) == 0)
            return true;
    return false;
}

static size_t sweep(struct fixture *f, struct deleted *d)
{
    struct errmsg em;
    size_t n = 99;
    assert_ok(store_sweep_blobs(f->st, 100, delete_blob, d, &n, &em));
    return n;
}

static bool is_held(struct fixture *f, const char *blob)
{
    struct errmsg em;
    bool held;
    assert_ok(store_blob_is_held(f->st, blob, &held, &em));
    return held;
}

/* With one or two references. */
static void create_edit(struct fixture *f, const char *a, const char *b, char id[TASK_ID_CHARS + 1])
{
    struct errmsg em;
    struct gen_request r = some_request();
    struct task_new n = {.key_id = f->key_id, .request = &r};
    struct task t;
    bool existing;
    r.references[0] = strdup(a);
    r.references[1] = b ? strdup(b) : NULL;
    r.n_references = b ? 2 : 1;
    r.references_mp = 1;
    assert_ok(store_task_create(f->st, &n, &t, &existing, &em));
    memcpy(id, t.id, TASK_ID_CHARS + 1);
    task_deinit(&t);
    free(r.references[0]);
    free(r.references[1]);
}

static void complete(struct fixture *f, const char *id, const char *blob)
{
    struct errmsg em;
    char got[TASK_ID_CHARS + 1];
    struct task_result r = {.blob = blob};
    claim_task(f->st, "w", got);
    assert_string_equal(got, id);
    assert_ok(store_task_complete(f->st, id, "w", &r, &em));
}

static void test_lifetime(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct deleted d = {.n = 0};
    struct task t;
    char done[TASK_ID_CHARS + 1], failed[TASK_ID_CHARS + 1], waits[TASK_ID_CHARS + 1];
    create_edit(f, "a", "b", done);
    complete(f, done, "result");
    create_edit(f, "c", NULL, failed);
    assert_ok(store_task_cancel(f->st, failed, 0, NULL, &em));
    create_edit(f, "e", NULL, waits);
    f->now_ms += DAY_MS - 1;
    assert_int_equal(sweep(f, &d), 0);
    assert_int_equal(d.n, 0);
    assert_true(is_held(f, "result"));

    f->now_ms += 1;
    assert_int_equal(sweep(f, &d), 2);
    assert_int_equal(d.n, 4);
    assert_true(was_deleted(&d, "a") && was_deleted(&d, "b") && was_deleted(&d, "c") &&
                was_deleted(&d, "result"));
    assert_false(is_held(f, "result"));
    assert_false(is_held(f, "a"));
    assert_true(is_held(f, "e"));
    assert_ok(store_task_get(f->st, done, 0, &t, &em));
    assert_int_equal(t.state, TASK_COMPLETED);
    assert_null(t.result);
    assert_int_equal(t.request.n_references, 0);
    task_deinit(&t);
    assert_fails(store_task_retry(f->st, failed, &em), ERR_CONFLICT, "deleted");
    assert_int_equal(sweep(f, &d), 0);
    assert_sound(f->path);
    fixture_free(f);
}

/* What cannot be deleted stays known, and out of users' sight; as after a crash in between. */
static void test_phases(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct deleted d = {.refuses = "result"};
    struct task t;
    char id[TASK_ID_CHARS + 1];
    create_edit(f, "a", NULL, id);
    complete(f, id, "result");
    f->now_ms += DAY_MS;
    assert_int_equal(sweep(f, &d), 0);
    assert_int_equal(d.n, 1);
    assert_true(is_held(f, "result"));
    assert_false(is_held(f, "a"));
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    assert_null(t.result);
    task_deinit(&t);
    store_close(f->st);
    fixture_open(f, 0);
    d = (struct deleted){.n = 0};
    assert_int_equal(sweep(f, &d), 1);
    assert_int_equal(d.n, 1);
    assert_string_equal(d.names[0], "result");
    assert_false(is_held(f, "result"));
    fixture_free(f);
}

/* Several tasks of one request hold the same references. */
static void test_shared_references(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct deleted d = {.n = 0};
    char one[TASK_ID_CHARS + 1], two[TASK_ID_CHARS + 1];
    create_edit(f, "shared", NULL, one);
    create_edit(f, "shared", NULL, two);
    assert_ok(store_task_cancel(f->st, one, 0, NULL, &em));
    f->now_ms += DAY_MS;
    assert_int_equal(sweep(f, &d), 1);
    assert_int_equal(d.n, 0);
    assert_true(is_held(f, "shared"));
    assert_ok(store_task_cancel(f->st, two, 0, NULL, &em));
    f->now_ms += DAY_MS;
    assert_int_equal(sweep(f, &d), 1);
    assert_int_equal(d.n, 1);
    assert_false(is_held(f, "shared"));
    fixture_free(f);
}

static void test_retry_without_references_after_the_sweep(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct deleted d = {.n = 0};
    struct task t;
    char id[TASK_ID_CHARS + 1];
    create_task(f->st, f->key_id, id);
    assert_ok(store_task_cancel(f->st, id, 0, NULL, &em));
    f->now_ms += DAY_MS;
    assert_int_equal(sweep(f, &d), 1);
    assert_ok(store_task_retry(f->st, id, &em));
    complete(f, id, "late");
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    assert_string_equal(t.result, "late");
    task_deinit(&t);
    f->now_ms += DAY_MS;
    assert_int_equal(sweep(f, &d), 1);
    assert_string_equal(d.names[0], "late");
    fixture_free(f);
}

static void test_old_rows_are_forgotten(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct deleted d = {.n = 0};
    struct gen_request r = some_request();
    char url[] = "https://example.org/";
    uint8_t hash[32] = {0};
    struct task_new n = {
        .key_id = f->key_id, .request = &r, .idempotency_key = "k", .body_hash = hash};
    struct task t, got;
    bool existing;
    char text[256];
    r.webhook_url = url;
    assert_ok(store_task_create(f->st, &n, &t, &existing, &em));
    assert_ok(store_task_cancel(f->st, t.id, 0, NULL, &em));
    assert_ok(store_outbox_delivered(f->st, 1, 200, &em));
    assert_ok(store_outbox_failed(f->st, 2, 0, "away", 0, true, &em));
    f->now_ms += DAY_MS;
    sweep(f, &d);
    fixture_ask(f->path, "SELECT count(*) FROM idempotency", text);
    assert_string_equal(text, "0");
    f->now_ms += STORE_DELIVERED_KEEP_MS - DAY_MS - 1;
    sweep(f, &d);
    fixture_ask(f->path, "SELECT group_concat(id) FROM outbox", text);
    assert_string_equal(text, "1,2");
    f->now_ms += 1;
    sweep(f, &d);
    fixture_ask(f->path, "SELECT group_concat(id) FROM outbox", text);
    assert_string_equal(text, "2");
    f->now_ms += STORE_TASK_KEEP_MS + DAY_MS - STORE_DELIVERED_KEEP_MS - 1;
    sweep(f, &d);
    assert_ok(store_task_get(f->st, t.id, 0, &got, &em));
    task_deinit(&got);
    f->now_ms += 1;
    sweep(f, &d);
    assert_fails(store_task_get(f->st, t.id, 0, &got, &em), ERR_NOTFOUND, t.id);
    fixture_ask(f->path, "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM requests)",
                text);
    assert_string_equal(text, "0");
    task_deinit(&t);
    assert_sound(f->path);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lifetime),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_shared_references),
        cmocka_unit_test(test_retry_without_references_after_the_sweep),
        cmocka_unit_test(test_old_rows_are_forgotten),
    };
    return cmocka_run_group_tests_name("store_sweep", tests, NULL, NULL);
}

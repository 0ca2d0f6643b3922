/* SPDX-License-Identifier: MIT */
/* store/: tasks as the API sees them: states, requests, create, get, list, cancel, retry. */
#include "store/store_test.h"

static void test_states(void **state)
{
    (void)state;
    static const char *const allowed[] = {"01", "03", "10", "12", "13", "30"};
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++) {
            bool expected = false;
            for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
                expected = expected || (allowed[i][0] == '0' + from && allowed[i][1] == '0' + to);
            assert_int_equal(task_state_may_follow((enum task_state)from, (enum task_state)to),
                             expected);
        }
    assert_false(task_state_may_follow((enum task_state)9, TASK_CREATED));
    assert_string_equal(task_state_name(TASK_CREATED), "CREATED");
    assert_string_equal(task_state_name(TASK_IN_PROGRESS), "IN_PROGRESS");
    assert_string_equal(task_state_name(TASK_COMPLETED), "COMPLETED");
    assert_string_equal(task_state_name(TASK_FAILED), "FAILED");
}

static void test_request_round_trip(void **state)
{
    (void)state;
    struct errmsg em;
    struct gen_request r = some_request(), back, copy;
    char prompt[] = "\xe7\x8c\xab \"quoted\" \n and \x01, {[", a[] = "a.png", b[] = "b.jpg",
         url[] = "https://example.org/hook?x=1&y=2", secret[] = "whsec_xyz";
    char *text;
    r.prompt = prompt;
    r.enhance = true;
    r.quality = 80;
    r.seed = UINT32_MAX;
    r.references[0] = a;
    r.references[1] = b;
    r.n_references = 2;
    r.references_mp = 2.5;
    r.webhook_url = url;
    r.webhook_secret = secret;
    assert_ok(gen_request_write(&r, &text, &em));
    assert_ok(gen_request_read(text, &back, &em));
    free(text);
    assert_ok(gen_request_copy(&copy, &back, &em));
    gen_request_deinit(&back);
    assert_string_equal(copy.prompt, prompt);
    assert_string_equal(copy.model, r.model);
    assert_string_equal(copy.format, "png");
    assert_string_equal(copy.references[0], "a.png");
    assert_string_equal(copy.references[1], "b.jpg");
    assert_int_equal(copy.n_references, 2);
    assert_true(copy.references_mp == 2.5);
    assert_string_equal(copy.webhook_url, url);
    assert_string_equal(copy.webhook_secret, secret);
    assert_true(copy.enhance);
    assert_int_equal(copy.quality, 80);
    assert_int_equal(copy.seed, UINT32_MAX);
    assert_int_equal(copy.width_px, 1024);
    assert_int_equal(copy.height_px, 768);
    gen_request_deinit(&copy);
    gen_request_deinit(NULL);
}

static void test_request_refuses(void **state)
{
    (void)state;
    struct errmsg em;
    struct gen_request r = some_request();
    char *text, not_utf8[] = "a\xff";
    r.prompt = not_utf8;
    assert_fails(gen_request_write(&r, &text, &em), ERR_USAGE, "prompt is not valid UTF-8");
    r.prompt = NULL;
    assert_fails(gen_request_write(&r, &text, &em), ERR_USAGE, "needs a prompt");
    r = some_request();
    r.seed = -1;
    assert_fails(gen_request_write(&r, &text, &em), ERR_USAGE, "out of range");
    r = some_request();
    r.references_mp = NAN;
    assert_fails(gen_request_write(&r, &text, &em), ERR_USAGE, "out of range");
    static const char *const wrong[][2] = {
        {"", "not valid JSON"},
        {"[]", "expected a JSON object"},
        {"{\"prompt\":1}", "\"prompt\" must be a string"},
        {"{\"model\":\"m\"}", "\"prompt\" must be"},
        {"{\"prompt\":\"p\"}", "\"model\" must be"},
        {"{\"prompt\":\"p\",\"model\":\"m\",\"width\":\"1\"}", "\"width\" must be an integer"},
        {"{\"prompt\":\"p\",\"model\":\"m\",\"width\":1,\"height\":1,\"seed\":-1,\"quality\":1}",
         "\"seed\" must be"},
        {"{\"prompt\":\"p\",\"model\":\"m\",\"width\":1,\"height\":1,\"seed\":1,\"quality\":1,"
         "\"references\":[\"a\",2]}",
         "\"references\" must be"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(gen_request_read(wrong[i][0], &r, &em), ERR_FORMAT, wrong[i][1]);
}

static void test_create_and_get(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    int64_t anna = fixture_key(f, "anna", -1);
    struct gen_request r = some_request();
    struct task_new n = {
        .key_id = f->key_id, .dialect = DIALECT_BFL, .request = &r, .cost_microcredits = 5};
    struct task t, got;
    bool existing = true;
    assert_ok(store_task_create(f->st, &n, &t, &existing, &em));
    assert_false(existing);
    assert_int_equal(t.state, TASK_CREATED);
    assert_int_equal(t.queue_position, 1);
    assert_string_equal(t.request.prompt, "a red apple");
    assert_ok(store_task_get(f->st, t.id, f->key_id, &got, &em));
    assert_string_equal(got.id, t.id);
    assert_int_equal(got.dialect, DIALECT_BFL);
    assert_int_equal(got.key_id, f->key_id);
    assert_int_equal(got.cost_microcredits, 5);
    assert_int_equal(got.created_ms, f->now_ms);
    assert_int_equal(got.queue_position, 1);
    assert_int_equal(got.attempts, 0);
    assert_string_equal(got.request.model, "flux-2-pro");
    assert_null(got.result);
    assert_null(got.error);
    assert_null(got.progress_stage);
    task_deinit(&got);
    /* another's is as unknown as one that never was */
    assert_fails(store_task_get(f->st, t.id, anna, &got, &em), ERR_NOTFOUND, t.id);
    assert_fails(store_task_get(f->st, "' OR 1=1 --", 0, &got, &em), ERR_NOTFOUND, "no task");
    n.key_id = 12345;
    assert_fails(store_task_create(f->st, &n, &got, &existing, &em), ERR_NOTFOUND, "revoked");
    n = (struct task_new){.key_id = f->key_id, .request = &r, .cost_microcredits = -1};
    assert_fails(store_task_create(f->st, &n, &got, &existing, &em), ERR_USAGE, "cost");
    task_deinit(&t);
    fixture_free(f);
}

static enum err create_with(struct fixture *f, const char *key, uint8_t body, char *id,
                            bool *existing, struct errmsg *em)
{
    uint8_t hash[32] = {body};
    struct gen_request r = some_request();
    struct task_new n = {.key_id = f->key_id,
                         .request = &r,
                         .cost_microcredits = 1000000,
                         .idempotency_key = key,
                         .body_hash = hash};
    struct task t;
    enum err rc = store_task_create(f->st, &n, &t, existing, em);
    if (!rc) {
        memcpy(id, t.id, TASK_ID_CHARS + 1);
        task_deinit(&t);
    }
    return rc;
}

/* What was made before one failed is gone with it, and its idempotency keys are free. */
static void test_many_or_none(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    int64_t anna = fixture_key(f, "anna", 2);
    struct gen_request r = some_request();
    const uint8_t hash[32] = {7};
    static const char *const names[3] = {"k", "k#1", "k#2"};
    struct task_new news[3];
    struct task made[3], again[3];
    struct store_stats stats;
    bool existing[3];
    for (int i = 0; i < 3; i++)
        news[i] = (struct task_new){.key_id = anna,
                                    .request = &r,
                                    .cost_microcredits = 1,
                                    .idempotency_key = names[i],
                                    .body_hash = hash};
    assert_fails(store_tasks_create(f->st, news, 3, made, existing, &em), ERR_NOCREDITS, "too few");
    assert_ok(store_stats(f->st, &stats, &em));
    assert_int_equal(stats.n_created + stats.n_failed, 0);
    assert_ok(store_key_limit(f->st, "anna", -1, 3, &em));
    assert_ok(store_tasks_create(f->st, news, 3, made, existing, &em));
    for (int i = 0; i < 3; i++) {
        assert_false(existing[i]);
        assert_int_equal(made[i].queue_position, i + 1);
    }
    assert_ok(store_tasks_create(f->st, news, 3, again, existing, &em));
    for (int i = 0; i < 3; i++) {
        assert_true(existing[i]);
        assert_string_equal(again[i].id, made[i].id);
        task_deinit(&again[i]);
        task_deinit(&made[i]);
    }
    fixture_free(f);
}

static void test_idempotency(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char a[TASK_ID_CHARS + 1], b[TASK_ID_CHARS + 1];
    char long_key[STORE_IDEMPOTENCY_KEY_CHARS + 2] = {0};
    bool existing;
    f->key_id = fixture_key(f, "anna", 10000000);
    assert_ok(create_with(f, "k", 1, a, &existing, &em));
    assert_false(existing);
    assert_ok(create_with(f, "k", 1, b, &existing, &em));
    assert_true(existing);
    assert_string_equal(a, b);
    assert_int_equal(credits_of(f->st, f->key_id), 9000000); /* taken once */
    assert_fails(create_with(f, "k", 2, b, &existing, &em), ERR_CONFLICT, "another body");
    assert_ok(create_with(f, "other", 2, b, &existing, &em));
    assert_false(existing);
    memset(long_key, 'k', sizeof long_key - 1);
    assert_fails(create_with(f, long_key, 1, b, &existing, &em), ERR_USAGE, "263");
    assert_fails(create_with(f, "", 1, b, &existing, &em), ERR_USAGE, "263");
    f->now_ms += STORE_IDEMPOTENCY_MS;
    assert_ok(create_with(f, "k", 2, b, &existing, &em));
    assert_false(existing);
    assert_string_not_equal(a, b);
    fixture_free(f);
}

static void test_queue_bound_and_credits(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(2);
    char a[TASK_ID_CHARS + 1], b[TASK_ID_CHARS + 1];
    bool existing;
    int64_t anna = fixture_key(f, "anna", 1500000);
    f->key_id = anna;
    assert_ok(create_with(f, NULL, 0, a, &existing, &em));
    assert_fails(create_with(f, NULL, 0, b, &existing, &em), ERR_NOCREDITS, "0.5 are left");
    assert_int_equal(credits_of(f->st, anna), 500000);
    assert_ok(store_key_limit(f->st, "anna", -1, 5000000, &em));
    assert_ok(create_with(f, NULL, 0, b, &existing, &em));
    assert_fails(create_with(f, NULL, 0, b, &existing, &em), ERR_BUSY, "queue is full");
    assert_int_equal(credits_of(f->st, anna), 4000000);

    assert_ok(store_task_cancel(f->st, a, anna, NULL, &em));
    assert_int_equal(credits_of(f->st, anna), 5000000);
    assert_ok(store_task_cancel(f->st, a, anna, NULL, &em)); /* final: nothing, no second refund */
    assert_int_equal(credits_of(f->st, anna), 5000000);

    /* what was taken while the key had credits is not given to an unlimited one, nor the other
     * way round */
    assert_ok(store_key_limit(f->st, "anna", -1, -1, &em));
    assert_ok(store_task_cancel(f->st, b, anna, NULL, &em));
    assert_int_equal(credits_of(f->st, anna), -1);
    assert_ok(create_with(f, NULL, 0, a, &existing, &em));
    assert_ok(store_key_limit(f->st, "anna", -1, 0, &em));
    assert_ok(store_task_cancel(f->st, a, anna, NULL, &em));
    assert_int_equal(credits_of(f->st, anna), 0);
    assert_sound(f->path);
    fixture_free(f);
}

struct listing {
    char ids[300][TASK_ID_CHARS + 1];
    size_t n;
};

static void list_one(void *ctx, const struct task *t)
{
    struct listing *l = ctx;
    assert_true(l->n < 300);
    memcpy(l->ids[l->n++], t->id, TASK_ID_CHARS + 1);
}

static void test_list(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(1000);
    static char ids[250][TASK_ID_CHARS + 1];
    char other[TASK_ID_CHARS + 1];
    struct listing *l = calloc(1, sizeof *l);
    assert_non_null(l);
    int64_t anna = fixture_key(f, "anna", -1);
    for (int i = 0; i < 250; i++)
        create_task(f->st, f->key_id, ids[i]);
    create_task(f->st, anna, other);

    struct task_query q = {.key_id = f->key_id, .model = "flux-2-pro", .state = -1, .limit = 10};
    assert_ok(store_task_list(f->st, &q, list_one, l, &em));
    assert_int_equal(l->n, 10);
    for (int i = 0; i < 10; i++)
        assert_string_equal(l->ids[i], ids[249 - i]);
    char after[TASK_ID_CHARS + 1];
    memcpy(after, l->ids[9], sizeof after);
    q.after = after;
    q.limit = 1000;
    l->n = 0;
    assert_ok(store_task_list(f->st, &q, list_one, l, &em));
    assert_int_equal(l->n, 200);
    assert_string_equal(l->ids[0], ids[239]);
    q.after = other; /* not the caller's */
    assert_fails(store_task_list(f->st, &q, list_one, l, &em), ERR_NOTFOUND, other);

    q = (struct task_query){.key_id = f->key_id, .model = "flux-2-klein", .state = -1, .limit = 10};
    l->n = 0;
    assert_ok(store_task_list(f->st, &q, list_one, l, &em));
    assert_int_equal(l->n, 0);
    assert_ok(store_task_cancel(f->st, ids[100], 0, NULL, &em));
    q = (struct task_query){.state = TASK_FAILED, .limit = 10};
    assert_ok(store_task_list(f->st, &q, list_one, l, &em));
    assert_int_equal(l->n, 1);
    assert_string_equal(l->ids[0], ids[100]);
    q = (struct task_query){.key_id = anna, .state = -1, .limit = 10};
    l->n = 0;
    assert_ok(store_task_list(f->st, &q, list_one, l, &em));
    assert_int_equal(l->n, 1);
    assert_string_equal(l->ids[0], other);
    free(l);
    fixture_free(f);
}

static int64_t position_of(struct fixture *f, const char *id)
{
    struct errmsg em;
    struct task t;
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    int64_t p = t.queue_position;
    task_deinit(&t);
    return p;
}

/* The position that is told is the order in which they are taken. */
static void test_queue_position(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0);
    char ids[9][TASK_ID_CHARS + 1], id[TASK_ID_CHARS + 1];
    int64_t keys[3] = {f->key_id, fixture_key(f, "anna", -1), fixture_key(f, "ben", -1)};
    static const int owner[9] = {0, 0, 0, 0, 0, 1, 1, 2, 0};
    for (int i = 0; i < 9; i++)
        create_task(f->st, keys[owner[i]], ids[i]);
    for (int taken = 0; taken < 9; taken++) {
        bool seen[10] = {false};
        for (int i = 0; i < 9; i++) {
            int64_t p = position_of(f, ids[i]);
            assert_in_range(p, 0, 9 - taken);
            if (p) {
                assert_false(seen[p]);
                seen[p] = true;
            }
        }
        char next[TASK_ID_CHARS + 1] = "";
        for (int i = 0; i < 9; i++)
            if (position_of(f, ids[i]) == 1)
                memcpy(next, ids[i], sizeof next);
        claim_task(f->st, "w", id);
        assert_string_equal(id, next);
    }
    fixture_free(f);
}

static void test_queue_position_far_back(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(1000);
    char first[TASK_ID_CHARS + 1], id[TASK_ID_CHARS + 1];
    create_task(f->st, f->key_id, first);
    for (int i = 1; i < 500; i++)
        create_task(f->st, f->key_id, id);
    assert_int_equal(position_of(f, first), 1);
    assert_int_equal(position_of(f, id), 500);
    fixture_free(f);
}

static void test_cancel(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char queued[TASK_ID_CHARS + 1], running[TASK_ID_CHARS + 1], id[TASK_ID_CHARS + 1];
    struct task t;
    bool cancel = false;
    int64_t anna = fixture_key(f, "anna", -1);
    create_task(f->st, f->key_id, running);
    claim_task(f->st, "w", id);
    create_task(f->st, f->key_id, queued);

    assert_fails(store_task_cancel(f->st, queued, anna, NULL, &em), ERR_NOTFOUND, queued);
    assert_ok(store_task_cancel(f->st, queued, f->key_id, &t, &em));
    assert_int_equal(t.state, TASK_FAILED);
    assert_string_equal(t.error, "cancelled");
    assert_int_equal(t.finished_ms, f->now_ms);
    task_deinit(&t);

    struct task_progress p = {.stage = "denoise", .step = 1, .n_steps = 4, .fraction = 0.25};
    assert_ok(store_task_progress(f->st, running, "w", 10000, &p, &cancel, &em));
    assert_false(cancel);
    assert_ok(store_task_cancel(f->st, running, 0, &t, &em));
    assert_int_equal(t.state, TASK_IN_PROGRESS);
    assert_true(t.cancel_requested);
    task_deinit(&t);
    assert_ok(store_task_progress(f->st, running, "w", 10000, &p, &cancel, &em));
    assert_true(cancel);
    assert_ok(store_task_fail(f->st, running, "w", "cancelled", &em));
    assert_int_equal(state_of(f->st, running), TASK_FAILED);
    assert_sound(f->path);
    fixture_free(f);
}

static void test_retry(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1], same[TASK_ID_CHARS + 1];
    struct task t;
    int64_t anna = fixture_key(f, "anna", 1500000);
    create_task(f->st, anna, id);
    assert_fails(store_task_retry(f->st, id, &em), ERR_CONFLICT, "is CREATED");
    claim_task(f->st, "w", same);
    assert_ok(store_task_fail(f->st, id, "w", "broken", &em));
    assert_int_equal(credits_of(f->st, anna), 1500000);
    assert_ok(store_task_retry(f->st, id, &em));
    assert_int_equal(credits_of(f->st, anna), 500000);
    assert_ok(store_task_get(f->st, id, anna, &t, &em));
    assert_int_equal(t.state, TASK_CREATED);
    assert_int_equal(t.attempts, 0);
    assert_int_equal(t.finished_ms, 0);
    assert_int_equal(t.expires_ms, 0);
    assert_null(t.error);
    task_deinit(&t);
    claim_task(f->st, "w", same);
    assert_ok(store_task_fail(f->st, id, "w", "broken again", &em));
    assert_ok(store_key_limit(f->st, "anna", -1, 0, &em));
    assert_fails(store_task_retry(f->st, id, &em), ERR_NOCREDITS, "too few credits: this costs");
    assert_int_equal(state_of(f->st, id), TASK_FAILED);
    assert_fails(store_task_retry(f->st, "none", &em), ERR_NOTFOUND, "none");
    assert_sound(f->path);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_request_round_trip),
        cmocka_unit_test(test_request_refuses),
        cmocka_unit_test(test_create_and_get),
        cmocka_unit_test(test_many_or_none),
        cmocka_unit_test(test_idempotency),
        cmocka_unit_test(test_queue_bound_and_credits),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_queue_position),
        cmocka_unit_test(test_queue_position_far_back),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_retry),
    };
    return cmocka_run_group_tests_name("store_tasks", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* store/: what workers do: claims in turn, progress, results, leases that run out, figures. */
#include "store/store_test.h"

static void test_keys_take_turns(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char a[5][TASK_ID_CHARS + 1], b[2][TASK_ID_CHARS + 1], c[TASK_ID_CHARS + 1],
        id[TASK_ID_CHARS + 1];
    int64_t anna = fixture_key(f, "anna", -1), ben = fixture_key(f, "ben", -1);
    struct task t;
    assert_fails(store_task_claim(f->st, "w", 1000, &t, &em), ERR_EMPTY, "no task");
    for (int i = 0; i < 5; i++)
        create_task(f->st, f->key_id, a[i]);
    for (int i = 0; i < 2; i++)
        create_task(f->st, anna, b[i]);
    const char *const expected[] = {a[0], b[0], a[1], b[1], a[2]};
    for (size_t i = 0; i < 5; i++) {
        claim_task(f->st, "w", id);
        assert_string_equal(id, expected[i]);
    }
    /* a newcomer is served before one that waits longer, but was served just now */
    create_task(f->st, ben, c);
    claim_task(f->st, "w", id);
    assert_string_equal(id, c);
    assert_fails(store_task_claim(f->st, "", 1000, &t, &em), ERR_USAGE, "name");
    assert_fails(store_task_claim(f->st, "w", 0, &t, &em), ERR_USAGE, "lease");
    assert_sound(f->path);
    fixture_free(f);
}

static void assert_lost(struct fixture *f, const char *id, const char *worker)
{
    struct errmsg em;
    bool cancel;
    struct task_progress p = {.stage = "denoise", .fraction = 0.5};
    struct task_result r = {.blob = "x.png"};
    assert_fails(store_task_progress(f->st, id, worker, 1000, &p, &cancel, &em), ERR_CONFLICT,
                 "no longer");
    assert_fails(store_task_complete(f->st, id, worker, &r, &em), ERR_CONFLICT, "no longer");
    assert_fails(store_task_fail(f->st, id, worker, "x", &em), ERR_CONFLICT, "no longer");
    assert_fails(store_task_hand_back(f->st, id, worker, &em), ERR_CONFLICT, "no longer");
}

static void test_progress_and_result(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1];
    struct task t;
    struct buf jpeg = {0};
    bool cancel, held;
    int64_t anna = fixture_key(f, "anna", -1);
    create_task(f->st, f->key_id, id);
    claim_task(f->st, "w1", id);
    assert_fails(store_task_preview(f->st, id, 0, &jpeg, &em), ERR_NOTFOUND, "no preview");
    struct task_progress p = {.stage = "denoise",
                              .step = 2,
                              .n_steps = 4,
                              .fraction = 0.5,
                              .preview = "JPEG1",
                              .preview_len = 5};
    assert_ok(store_task_progress(f->st, id, "w1", 1000, &p, &cancel, &em));
    assert_false(cancel);
    p.preview = NULL;
    p.step = 3;
    p.fraction = 0.75;
    assert_ok(store_task_progress(f->st, id, "w1", 1000, &p, &cancel, &em));
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    assert_string_equal(t.progress_stage, "denoise");
    assert_int_equal(t.step, 3);
    assert_int_equal(t.n_steps, 4);
    assert_true(t.progress == 0.75);
    assert_int_equal(t.attempts, 1);
    assert_int_equal(t.started_ms, f->now_ms);
    assert_int_equal(t.queue_position, 0);
    task_deinit(&t);
    assert_ok(store_task_preview(f->st, id, f->key_id, &jpeg, &em));
    assert_int_equal(jpeg.len, 5);
    assert_memory_equal(jpeg.ptr, "JPEG1", 5);
    buf_deinit(&jpeg);
    assert_fails(store_task_preview(f->st, id, anna, &jpeg, &em), ERR_NOTFOUND, id);
    p.fraction = NAN;
    assert_fails(store_task_progress(f->st, id, "w1", 1000, &p, &cancel, &em), ERR_USAGE, "0 to 1");
    p.fraction = 1;
    p.preview_len = STORE_PREVIEW_BYTES_MAX + 1;
    assert_fails(store_task_progress(f->st, id, "w1", 1000, &p, &cancel, &em), ERR_USAGE, "bytes");
    assert_lost(f, id, "w2");

    const char *const names[] = {"text", "denoise"};
    struct task_result r = {.blob = "result.png",
                            .enhanced_prompt = "a very red apple",
                            .seconds = {0.5, 2},
                            .n_seconds = 2,
                            .stage_names = names};
    f->now_ms += 2500;
    assert_ok(store_task_complete(f->st, id, "w1", &r, &em));
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    assert_int_equal(t.state, TASK_COMPLETED);
    assert_string_equal(t.result, "result.png");
    assert_string_equal(t.enhanced_prompt, "a very red apple");
    assert_true(t.progress == 1);
    assert_int_equal(t.finished_ms, f->now_ms);
    assert_int_equal(t.expires_ms, f->now_ms + 24 * 3600 * 1000);
    task_deinit(&t);
    assert_fails(store_task_preview(f->st, id, 0, &jpeg, &em), ERR_NOTFOUND, "no preview");
    assert_ok(store_blob_is_held(f->st, "result.png", &held, &em));
    assert_true(held);
    assert_ok(store_blob_is_held(f->st, "other.png", &held, &em));
    assert_false(held);
    assert_lost(f, id, "w1");
    assert_sound(f->path);
    fixture_free(f);
}

static void test_bad_results_are_refused(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1];
    create_task(f->st, f->key_id, id);
    claim_task(f->st, "w", id);
    const char *const names[] = {"a name that is too long"};
    struct task_result r = {.blob = NULL};
    assert_fails(store_task_complete(f->st, id, "w", &r, &em), ERR_USAGE, "blob");
    r = (struct task_result){.blob = "x", .n_seconds = 9, .stage_names = names};
    assert_fails(store_task_complete(f->st, id, "w", &r, &em), ERR_USAGE, "stages");
    r.n_seconds = 1;
    assert_fails(store_task_complete(f->st, id, "w", &r, &em), ERR_USAGE, "stages");
    assert_int_equal(state_of(f->st, id), TASK_IN_PROGRESS);
    fixture_free(f);
}

static void test_hand_back_is_not_an_attempt(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1], other[TASK_ID_CHARS + 1], got[TASK_ID_CHARS + 1];
    struct task t;
    int64_t anna = fixture_key(f, "anna", -1);
    create_task(f->st, f->key_id, id);
    create_task(f->st, anna, other);
    for (int i = 0; i < 5; i++) { /* always the same: it goes back to the front */
        claim_task(f->st, "w", got);
        assert_string_equal(got, id);
        assert_ok(store_task_hand_back(f->st, id, "w", &em));
    }
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    assert_int_equal(t.state, TASK_CREATED);
    assert_int_equal(t.attempts, 0);
    assert_int_equal(t.started_ms, 0);
    assert_int_equal(t.queue_position, 1);
    task_deinit(&t);
    claim_task(f->st, "w", got);
    assert_ok(store_task_cancel(f->st, id, 0, NULL, &em));
    assert_ok(store_task_hand_back(f->st, id, "w", &em));
    assert_int_equal(state_of(f->st, id), TASK_FAILED);
    assert_sound(f->path);
    fixture_free(f);
}

static size_t sweep(struct fixture *f, const char *dead_worker)
{
    struct errmsg em;
    size_t n = 99;
    assert_ok(store_sweep_leases(f->st, dead_worker, &n, &em));
    return n;
}

static void test_leases_run_out(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1];
    struct task t;
    bool cancel;
    int64_t anna = fixture_key(f, "anna", 1000000);
    create_task(f->st, anna, id);
    claim_task(f->st, "w1", id);
    struct task_progress p = {.stage = "text", .fraction = 0};
    f->now_ms += 9000;
    assert_ok(store_task_progress(f->st, id, "w1", 10000, &p, &cancel, &em));
    f->now_ms += 9999;
    assert_int_equal(sweep(f, NULL), 0);
    f->now_ms += 1;
    assert_int_equal(sweep(f, NULL), 1);
    assert_int_equal(sweep(f, NULL), 0);
    assert_int_equal(state_of(f->st, id), TASK_CREATED);
    assert_lost(f, id, "w1");

    claim_task(f->st, "w2", id);
    assert_lost(f, id, "w1");
    assert_int_equal(sweep(f, "w1"), 0);
    assert_int_equal(sweep(f, "w2"), 1); /* seen to have died: at once */
    assert_int_equal(state_of(f->st, id), TASK_CREATED);

    claim_task(f->st, "w3", id);
    f->now_ms += 10000;
    assert_int_equal(credits_of(f->st, anna), 0);
    assert_int_equal(sweep(f, NULL), 1);
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    assert_int_equal(t.state, TASK_FAILED);
    assert_non_null(strstr(t.error, "the worker stopped"));
    assert_int_equal(t.attempts, TASK_ATTEMPTS_MAX);
    task_deinit(&t);
    assert_int_equal(credits_of(f->st, anna), 1000000);
    assert_sound(f->path);
    fixture_free(f);
}

static void test_lease_of_a_cancelled_task(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1];
    struct task t;
    create_task(f->st, f->key_id, id);
    claim_task(f->st, "w", id);
    assert_ok(store_task_cancel(f->st, id, 0, NULL, &em));
    assert_int_equal(sweep(f, "w"), 1);
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    assert_int_equal(t.state, TASK_FAILED);
    assert_string_equal(t.error, "cancelled");
    task_deinit(&t);
    fixture_free(f);
}

/* The clock of leases begins anew with each boot: those of another are over. */
static void test_leases_end_with_the_boot(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0);
    char id[TASK_ID_CHARS + 1];
    create_task(f->st, f->key_id, id);
    claim_task(f->st, "w", id);
    assert_int_equal(sweep(f, NULL), 0);
    fixture_sql(f->path, "UPDATE leases SET boot = 'another', until_ms = until_ms + 1000000000");
    assert_int_equal(sweep(f, NULL), 1);
    assert_int_equal(state_of(f->st, id), TASK_CREATED);
    fixture_free(f);
}

struct days {
    struct usage_day d[8];
    size_t n;
};

static void add_day(void *ctx, const struct usage_day *d)
{
    struct days *all = ctx;
    assert_true(all->n < 8);
    all->d[all->n++] = *d;
}

static void complete_one(struct fixture *f, double seconds)
{
    struct errmsg em;
    char id[TASK_ID_CHARS + 1];
    const char *const names[] = {"text", "denoise"};
    struct task_result r = {
        .blob = "r.png", .seconds = {seconds, 1}, .n_seconds = 2, .stage_names = names};
    create_task(f->st, f->key_id, id);
    claim_task(f->st, "w", id);
    assert_ok(store_task_complete(f->st, id, "w", &r, &em));
}

static void test_usage_and_stats(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct days days = {.n = 0};
    struct store_stats s;
    char id[TASK_ID_CHARS + 1];
    complete_one(f, 0.25);
    complete_one(f, 0.5);
    f->now_ms += (int64_t)24 * 3600 * 1000;
    complete_one(f, 0.25);
    assert_ok(store_usage(f->st, f->key_id, 2, add_day, &days, &em));
    assert_int_equal(days.n, 2);
    assert_string_equal(days.d[0].day, "2023-11-14");
    assert_int_equal(days.d[0].pictures, 2);
    assert_true(fabs(days.d[0].megapixels - 2 * 1024 * 768 / 1e6) < 1e-9);
    assert_int_equal(days.d[0].cost_microcredits, 2000000);
    assert_string_equal(days.d[1].day, "2023-11-15");
    days.n = 0;
    assert_ok(store_usage(f->st, f->key_id, 1, add_day, &days, &em));
    assert_int_equal(days.n, 1);
    days.n = 0;
    assert_ok(store_usage(f->st, f->key_id + 1, 9, add_day, &days, &em));
    assert_int_equal(days.n, 0);

    create_task(f->st, f->key_id, id);
    claim_task(f->st, "w", id);
    int64_t oldest_ms = f->now_ms;
    create_task(f->st, f->key_id, id);
    f->now_ms += 1000;
    create_task(f->st, f->key_id, id);
    assert_ok(store_task_cancel(f->st, id, 0, NULL, &em));
    assert_ok(store_stats(f->st, &s, &em));
    assert_int_equal(s.n_created, 1);
    assert_int_equal(s.n_in_progress, 1);
    assert_int_equal(s.oldest_created_ms, oldest_ms);
    assert_int_equal(s.n_completed, 3);
    assert_int_equal(s.n_failed, 1);
    assert_int_equal(s.n_stages, 2);
    assert_string_equal(s.stages[0].name, "denoise");
    assert_true(s.stages[0].seconds == 3);
    assert_string_equal(s.stages[1].name, "text");
    assert_true(s.stages[1].seconds == 1);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_take_turns),
        cmocka_unit_test(test_progress_and_result),
        cmocka_unit_test(test_bad_results_are_refused),
        cmocka_unit_test(test_hand_back_is_not_an_attempt),
        cmocka_unit_test(test_leases_run_out),
        cmocka_unit_test(test_lease_of_a_cancelled_task),
        cmocka_unit_test(test_leases_end_with_the_boot),
        cmocka_unit_test(test_usage_and_stats),
    };
    return cmocka_run_group_tests_name("store_worker", tests, NULL, NULL);
}

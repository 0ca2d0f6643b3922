/* SPDX-License-Identifier: MIT */
/* store/: requests that can no longer be read back fail their own tasks, and stop nobody else's. */
#include "store/store_test.h"

static void create_hooked(struct fixture *f, int64_t key_id, char id[TASK_ID_CHARS + 1])
{
    struct errmsg em;
    struct gen_request r = some_request();
    char url[] = "https://example.org/hook", secret[] = "whsec_mine";
    struct task_new n = {.key_id = key_id, .request = &r, .cost_microcredits = 1000};
    struct task t;
    bool existing;
    r.webhook_url = url;
    r.webhook_secret = secret;
    assert_ok(store_task_create(f->st, &n, &t, &existing, &em));
    memcpy(id, t.id, TASK_ID_CHARS + 1);
    task_deinit(&t);
}

static void damage(struct fixture *f, const char *id, const char *sql)
{
    char text[256];
    snprintf(text, sizeof text, "%s WHERE seq = (SELECT seq FROM tasks WHERE id = '%s')", sql, id);
    fixture_sql(f->path, text);
}

static void count_entry(void *ctx, const struct outbox_entry *e)
{
    size_t *n_failed = ctx;
    assert_string_equal(e->url, "https://example.org/hook");
    assert_string_equal(e->secret, "whsec_mine");
    *n_failed += e->state == TASK_FAILED;
}

static void count_task(void *ctx, const struct task *t)
{
    size_t *n = ctx;
    assert_string_equal(t->request.model, "flux-2-pro");
    ++*n;
}

static void assert_failed(struct fixture *f, const char *id)
{
    struct errmsg em;
    struct task t;
    assert_ok(store_task_get(f->st, id, 0, &t, &em));
    assert_int_equal(t.state, TASK_FAILED);
    assert_non_null(strstr(t.error, "damaged on the server's disk"));
    assert_true(t.damaged);
    assert_string_equal(t.request.model, "flux-2-pro");
    assert_string_equal(t.request.prompt, "");
    assert_int_equal(t.attempts, 0);
    task_deinit(&t);
    assert_fails(store_task_retry(f->st, id, &em), ERR_CONFLICT, "damaged");
}

static void test_they_fail_alone(void **state)
{
    (void)state;
    static const char *const harms[] = {
        "UPDATE requests SET body = substr(body, 1, 40)",
        "UPDATE requests SET body = '{\"prompt\":7}'",
        "DELETE FROM requests",
    };
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char ids[3][TASK_ID_CHARS + 1], sound[TASK_ID_CHARS + 1], id[TASK_ID_CHARS + 1];
    size_t n = 0, n_failed = 0;
    int64_t anna = fixture_key(f, "anna", 10000);
    struct task_query q = {.key_id = anna, .model = "flux-2-pro", .state = -1, .limit = 10};
    for (size_t i = 0; i < 3; i++) {
        create_hooked(f, anna, ids[i]);
        damage(f, ids[i], harms[i]);
        assert_int_equal(state_of(f->st, ids[i]), TASK_CREATED);
    }
    create_hooked(f, anna, sound);
    assert_ok(store_task_list(f->st, &q, count_task, &n, &em));
    assert_int_equal(n, 4);
    assert_int_equal(credits_of(f->st, anna), 6000);
    claim_task(f->st, "w", id);
    assert_string_equal(id, sound);
    for (size_t i = 0; i < 3; i++)
        assert_failed(f, ids[i]);
    assert_int_equal(credits_of(f->st, anna), 9000);
    assert_ok(store_outbox_list(f->st, false, 100, count_entry, &n_failed, &em));
    assert_int_equal(n_failed, 3);
    assert_sound(f->path);
    fixture_free(f);
}

/* More than fail in one transaction; and what was failed stays so if nothing is left to claim. */
static void test_many(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    char ids[230][TASK_ID_CHARS + 1], sound[TASK_ID_CHARS + 1], id[TASK_ID_CHARS + 1];
    struct store_stats s;
    struct task t;
    for (size_t i = 0; i < 230; i++)
        create_task(f->st, f->key_id, ids[i]);
    fixture_sql(f->path, "UPDATE requests SET body = ''");
    create_task(f->st, f->key_id, sound);
    claim_task(f->st, "w", id);
    assert_string_equal(id, sound);
    create_task(f->st, f->key_id, id);
    fixture_sql(f->path, "UPDATE requests SET body = ''");
    assert_fails(store_task_claim(f->st, "w", 1000, &t, &em), ERR_EMPTY, "no task");
    assert_failed(f, id);
    assert_ok(store_stats(f->st, &s, &em));
    assert_int_equal(s.n_failed, 231);
    assert_int_equal(s.n_created, 0);

    /* damaged while it is drawn: it completes */
    struct task_result r = {.blob = "x.png"};
    assert_ok(store_task_complete(f->st, sound, "w", &r, &em));
    assert_int_equal(state_of(f->st, sound), TASK_COMPLETED);
    assert_sound(f->path);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_they_fail_alone),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests_name("store_damaged", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* store/: webhooks that are owed: one for each change, in order per task, once. */
#include "store/store_test.h"

struct batch {
    struct outbox_entry e[64]; /* url, secret and last_error are not kept */
    char url[64][80], secret[64][40], error[64][600];
    size_t n;
};

static void add_entry(void *ctx, const struct outbox_entry *e)
{
    struct batch *b = ctx;
    assert_true(b->n < 64);
    b->e[b->n] = *e;
    b->e[b->n].url = b->e[b->n].secret = b->e[b->n].last_error = NULL;
    snprintf(b->url[b->n], 80, "%s", e->url);
    snprintf(b->secret[b->n], 40, "%s", e->secret ? e->secret : "");
    snprintf(b->error[b->n], 600, "%s", e->last_error ? e->last_error : "");
    b->n++;
}

static void claim_entries(struct fixture *f, size_t limit, struct batch *b)
{
    struct errmsg em;
    size_t n;
    b->n = 0;
    assert_ok(store_outbox_claim(f->st, limit, 30000, add_entry, b, &n, &em));
    assert_int_equal(n, b->n);
}

static void create_hooked(struct fixture *f, char id[TASK_ID_CHARS + 1])
{
    struct errmsg em;
    struct gen_request r = some_request();
    char url[] = "https://example.org/hook", secret[] = "whsec_mine";
    struct task_new n = {.key_id = f->key_id, .request = &r};
    struct task t;
    bool existing;
    r.webhook_url = url;
    r.webhook_secret = secret;
    assert_ok(store_task_create(f->st, &n, &t, &existing, &em));
    memcpy(id, t.id, TASK_ID_CHARS + 1);
    task_deinit(&t);
}

static int64_t next_due(struct fixture *f)
{
    struct errmsg em;
    int64_t due_ms;
    assert_ok(store_outbox_next_due(f->st, &due_ms, &em));
    return due_ms;
}

static void test_in_order_per_task(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    char one[TASK_ID_CHARS + 1], two[TASK_ID_CHARS + 1], id[TASK_ID_CHARS + 1];
    struct task_result r = {.blob = "r.png"};
    create_task(f->st, f->key_id, id); /* without a webhook: owes nothing */
    assert_int_equal(next_due(f), INT64_MAX);
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 0);
    claim_task(f->st, "w", id);
    create_hooked(f, one);
    create_hooked(f, two);
    assert_int_equal(next_due(f), f->now_ms);
    claim_task(f->st, "w", id);
    assert_string_equal(id, one);
    assert_ok(store_task_complete(f->st, one, "w", &r, &em));

    claim_entries(f, 10, b);
    assert_int_equal(b->n, 2); /* the first of each */
    assert_string_equal(b->e[0].task_id, one);
    assert_int_equal(b->e[0].state, TASK_CREATED);
    assert_string_equal(b->url[0], "https://example.org/hook");
    assert_string_equal(b->secret[0], "whsec_mine");
    assert_string_equal(b->e[1].task_id, two);
    assert_string_not_equal(b->e[0].message_id, b->e[1].message_id);
    int64_t first = b->e[0].id;
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 0); /* leased */
    assert_int_equal(next_due(f), f->now_ms + 30000);

    static const enum task_state expected[] = {TASK_IN_PROGRESS, TASK_COMPLETED};
    for (size_t i = 0; i < 2; i++) {
        assert_ok(store_outbox_delivered(f->st, first, 204, &em));
        claim_entries(f, 10, b);
        assert_int_equal(b->n, 1);
        assert_string_equal(b->e[0].task_id, one);
        assert_int_equal(b->e[0].state, expected[i]);
        first = b->e[0].id;
    }
    assert_ok(store_outbox_delivered(f->st, first, 200, &em));
    assert_fails(store_outbox_delivered(f->st, 999, 200, &em), ERR_NOTFOUND, "999");

    /* who delivered the other died: again when its lease is over, under the same id */
    f->now_ms += 30000;
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 1);
    assert_string_equal(b->e[0].task_id, two);
    struct store_stats s;
    assert_ok(store_stats(f->st, &s, &em));
    assert_int_equal(s.webhooks_delivered, 3);
    assert_int_equal(s.webhooks_pending, 1);
    free(b);
    assert_sound(f->path);
    fixture_free(f);
}

/* Who delivered is gone: all that was leased is due, but not what waits for its next try. */
static void test_release(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    char ids[3][TASK_ID_CHARS + 1];
    size_t n;
    for (size_t i = 0; i < 3; i++)
        create_hooked(f, ids[i]);
    f->now_ms += 1000;
    claim_entries(f, 2, b);
    assert_int_equal(b->n, 2);
    int64_t waits = b->e[0].id, leased = b->e[1].id;
    assert_ok(store_outbox_failed(f->st, waits, 500, "HTTP 500", f->now_ms + 9000, false, &em));
    assert_ok(store_outbox_release(f->st, &n, &em));
    assert_int_equal(n, 1);
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 2); /* the leased one, and the one that nobody had */
    assert_true(b->e[0].id == leased || b->e[1].id == leased);
    assert_int_equal(next_due(f), f->now_ms + 9000);
    assert_ok(store_outbox_release(f->st, &n, &em));
    assert_int_equal(n, 2);
    assert_ok(store_outbox_release(f->st, &n, &em));
    assert_int_equal(n, 0);
    f->now_ms += 9000;
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 3);
    free(b);
    fixture_free(f);
}

static void test_retries_death_and_redelivery(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    char id[TASK_ID_CHARS + 1], message[TASK_ID_CHARS + 1], long_text[2000];
    struct store_stats s;
    size_t n;
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    create_hooked(f, id);
    claim_task(f->st, "w", id);
    claim_entries(f, 10, b);
    int64_t first = b->e[0].id;
    memcpy(message, b->e[0].message_id, sizeof message);
    assert_ok(store_outbox_failed(f->st, first, 500, long_text, f->now_ms + 5000, false, &em));
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 0); /* the later one waits with it */
    assert_int_equal(next_due(f), f->now_ms + 5000);
    f->now_ms += 5000;
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 1);
    assert_int_equal(b->e[0].id, first);
    assert_string_equal(b->e[0].message_id, message);
    assert_int_equal(b->e[0].tries, 1);
    assert_int_equal(b->e[0].last_status, 500);
    assert_int_equal(strlen(b->error[0]), 500);

    assert_ok(store_outbox_failed(f->st, first, 0, "no route", 0, true, &em));
    claim_entries(f, 10, b); /* the dead one holds nobody up */
    assert_int_equal(b->n, 1);
    assert_int_equal(b->e[0].state, TASK_IN_PROGRESS);
    int64_t second = b->e[0].id;
    b->n = 0;
    assert_ok(store_outbox_list(f->st, true, 10, add_entry, b, &em));
    assert_int_equal(b->n, 1);
    assert_true(b->e[0].dead);
    assert_string_equal(b->error[0], "no route");
    assert_ok(store_stats(f->st, &s, &em));
    assert_int_equal(s.webhooks_dead, 1);
    assert_int_equal(s.webhooks_pending, 1);
    assert_int_equal(s.webhooks_tries_failed, 2);

    assert_fails(store_outbox_redeliver(f->st, 999, &n, &em), ERR_NOTFOUND, "999");
    assert_ok(store_outbox_redeliver(f->st, 0, &n, &em));
    assert_int_equal(n, 1);
    assert_ok(store_outbox_redeliver(f->st, 0, &n, &em));
    assert_int_equal(n, 0);
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 0); /* one of a task at a time */
    assert_ok(store_outbox_delivered(f->st, second, 200, &em));
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 1);
    assert_int_equal(b->e[0].id, first);
    assert_int_equal(b->e[0].tries, 0);
    assert_string_equal(b->e[0].message_id, message);
    assert_ok(store_outbox_delivered(f->st, first, 200, &em));

    assert_ok(store_outbox_redeliver(f->st, second, &n, &em)); /* a delivered one, once more */
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 1);
    assert_int_equal(b->e[0].id, second);
    b->n = 0;
    assert_ok(store_outbox_list(f->st, false, 10, add_entry, b, &em));
    assert_int_equal(b->n, 2);
    assert_int_equal(b->e[0].id, second); /* newest first */
    assert_int_equal(b->e[1].delivered_ms, f->now_ms);
    free(b);
    assert_sound(f->path);
    fixture_free(f);
}

/* A receiver that is away for long must not hide those of other tasks. */
static void test_many_tasks(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    char id[TASK_ID_CHARS + 1];
    for (int i = 0; i < 100; i++)
        create_hooked(f, id);
    size_t n = 0;
    for (claim_entries(f, 40, b); b->n; claim_entries(f, 40, b))
        for (size_t i = 0; i < b->n; i++, n++)
            assert_ok(store_outbox_failed(f->st, b->e[i].id, 503, "busy", f->now_ms + 3600000,
                                          false, &em));
    assert_int_equal(n, 100);
    create_hooked(f, id);
    claim_entries(f, 40, b);
    assert_int_equal(b->n, 1);
    assert_string_equal(b->e[0].task_id, id);
    free(b);
    fixture_free(f);
}

/* The clock goes back by six hours: neither a try that is planned, nor a lease, nor an entry that
 * waits behind another is put off for so long. */
static void test_clock_set_back(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct batch *b = calloc(1, sizeof *b);
    assert_non_null(b);
    char failed[TASK_ID_CHARS + 1], leased[TASK_ID_CHARS + 1], id[TASK_ID_CHARS + 1];
    const int64_t back_ms = (int64_t)6 * 3600 * 1000;
    create_hooked(f, failed);
    create_hooked(f, leased);
    claim_task(f->st, "w", id); /* now each of them has a second entry */
    claim_task(f->st, "w", id);
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 2);
    assert_ok(store_outbox_failed(f->st, b->e[0].id, 503, "busy", f->now_ms + 40000, false, &em));
    f->now_ms -= back_ms;
    assert_ok(store_outbox_clock_back(f->st, back_ms, &em));
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 0);
    f->now_ms += 40000; /* past the lease of 30 s, and the failed one's next try */
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 2);
    assert_ok(store_outbox_delivered(f->st, b->e[0].id, 200, &em));
    claim_entries(f, 10, b);
    assert_int_equal(b->n, 1); /* the one behind it */
    free(b);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_per_task),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_retries_death_and_redelivery),
        cmocka_unit_test(test_many_tasks),
        cmocka_unit_test(test_clock_set_back),
    };
    return cmocka_run_group_tests_name("store_outbox", tests, NULL, NULL);
}

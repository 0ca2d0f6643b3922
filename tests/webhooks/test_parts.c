/* SPDX-License-Identifier: MIT */
/* webhooks/: signatures, outcomes and backoff, queues of receivers. */
#include "test.h"

#include "webhooks/webhooks_impl.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define DAY_MS (24 * 3600 * INT64_C(1000))

static void check_signature(const char *secret, const char *id, int64_t timestamp_s,
                            const char *body, const char *expected)
{
    struct errmsg em;
    struct buf out = {0};
    assert_ok(webhook_sign(secret, id, timestamp_s, body, strlen(body), &out, &em));
    assert_string_equal((char *)out.ptr, expected);
    buf_deinit(&out);
}

/* The expected values come from Python:
 *   base64.b64encode(hmac.digest(key, f"{id}.{timestamp}.{body}".encode(), "sha256"))
 * with key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") for the first, the example
 * of Standard Webhooks' libraries, and the secret's bytes for the others. */
static void test_signatures(void **state)
{
    (void)state;
    check_signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}",
                    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    check_signature("a raw secret of the operator", "msg_1", 1700000000,
                    "{\"status\":\"COMPLETED\"}",
                    "v1,bAzzH0/dIXsCQQA/Is+/Z8f9oh/3M2xJHv0LsBzRwlY=");
    check_signature("a raw secret of the operator", "msg_1", 0, "",
                    "v1,CtvMwS6PDmZuzQ84RtOjfZTbKR30SRUgf7B2u9mM9II=");
}

static void test_signature_is_appended(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf out = {0};
    assert_ok(buf_append(&out, "x ", 2, &em));
    assert_ok(webhook_sign(SECRET, "a", 1, "b", 1, &out, &em));
    assert_memory_equal(out.ptr, "x v1,", 5);
    assert_fails(webhook_sign("", "a", 1, "b", 1, &out, &em), ERR_USAGE, "1 to 256");
    assert_fails(webhook_sign("whsec_?", "a", 1, "b", 1, &out, &em), ERR_USAGE, "base64");
    assert_int_equal(out.len, 2 + 3 + 44);
    buf_deinit(&out);
}

static void test_secrets(void **state)
{
    (void)state;
    struct errmsg em;
    char text[300];
    assert_ok(webhook_secret_check(SECRET, &em));
    assert_ok(webhook_secret_check("sixteen letters!", &em));
    assert_fails(webhook_secret_check("fifteen letters", &em), ERR_USAGE, "at least 16");
    assert_fails(webhook_secret_check("", &em), ERR_USAGE, "1 to 256");
    memset(text, 'a', sizeof text);
    text[256] = '\0';
    assert_ok(webhook_secret_check(text, &em));
    text[256] = 'a';
    text[257] = '\0';
    assert_fails(webhook_secret_check(text, &em), ERR_USAGE, "257");
    assert_fails(webhook_secret_check("whsec_", &em), ERR_USAGE, "0 bytes");
    assert_fails(webhook_secret_check("whsec_not*base64", &em), ERR_USAGE, "base64");
    assert_fails(webhook_secret_check("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", &em), ERR_USAGE,
                 "22 bytes");
    /* 64 bytes, then 66 */
    snprintf(text, sizeof text, "whsec_%.*s", 86,
             "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
             "AAAA");
    assert_ok(webhook_secret_check(text, &em));
    snprintf(text, sizeof text, "whsec_%.*s", 88,
             "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
             "AAAA");
    assert_fails(webhook_secret_check(text, &em), ERR_USAGE, "66 bytes");
}

static void test_statuses(void **state)
{
    (void)state;
    struct outcome o;
    for (int status = 200; status < 300; status++) {
        outcome_set_status(&o, status, 0);
        assert_true(o.delivered);
    }
    outcome_set_status(&o, 302, 0);
    assert_false(o.delivered || o.hopeless);
    assert_non_null(strstr(o.error, "redirects are not followed"));
    outcome_set_status(&o, 410, 0);
    assert_true(o.hopeless);
    outcome_set_status(&o, 503, 77);
    assert_false(o.delivered || o.hopeless);
    assert_int_equal(o.retry_after_s, 77);
    assert_string_equal(o.error, "HTTP 503");
    outcome_set_status(&o, 429, UINT32_MAX);
    assert_int_equal(o.retry_after_s, 3 * 3600);
    outcome_set_status(&o, 500, 77);
    assert_int_equal(o.retry_after_s, 0);
    outcome_fail(&o, "bad\r\nline \xff");
    assert_string_equal(o.error, "bad??line ?");
}

static void test_backoff(void **state)
{
    (void)state;
    static const unsigned expected_s[] = {5, 30, 120, 600, 3600, 10800, 10800, 10800};
    struct outcome o = {0};
    for (unsigned i = 0; i < 8; i++) {
        int64_t ms = 1000 * (int64_t)expected_s[i];
        assert_int_equal(retry_delay_ms(&retry_standard, &o, i, 0, 0, 0), ms * 8 / 10);
        assert_int_equal(retry_delay_ms(&retry_standard, &o, i, 0, 0, UINT32_MAX), ms * 12 / 10);
    }
    o.retry_after_s = 60;
    assert_int_equal(retry_delay_ms(&retry_standard, &o, 0, 0, 0, 0), 60000);
    assert_int_equal(retry_delay_ms(&retry_standard, &o, 4, 0, 0, 0), 3600 * 800);
}

/* How long does a delivery live that always fails, and over how many tries? */
static void test_death(void **state)
{
    (void)state;
    struct outcome o = {0};
    int64_t now_ms = 1000, delay_ms;
    unsigned tries = 0;
    while ((delay_ms = retry_delay_ms(&retry_standard, &o, tries, 1000, now_ms, 1u << 31)) >= 0) {
        now_ms += delay_ms;
        assert_in_range(++tries, 1, 20);
    }
    assert_int_equal(tries, 12);
    assert_in_range(now_ms - 1000, 22 * 3600 * 1000, DAY_MS);

    /* an old one gets some tries: redelivered, or the service was away */
    assert_in_range(retry_delay_ms(&retry_standard, &o, 0, 0, 9 * DAY_MS, 0), 1, 5000);
    assert_in_range(retry_delay_ms(&retry_standard, &o, 3, 0, 9 * DAY_MS, 0), 1, 600000);
    assert_int_equal(retry_delay_ms(&retry_standard, &o, 4, 0, 9 * DAY_MS, 0), -1);

    o.hopeless = true;
    assert_int_equal(retry_delay_ms(&retry_standard, &o, 0, 0, 0, 0), -1);
}

/* ---- queues ---- */

static int64_t n_made;

static void push(struct receivers *rs, const char *receiver, double lease_ends_s)
{
    struct errmsg em;
    struct delivery *d;
    char url[] = "http://unused/";
    struct outbox_entry e = {.id = ++n_made, .url = url};
    assert_ok(delivery_new(&e, &d, &em));
    snprintf(d->url.receiver, sizeof d->url.receiver, "%s", receiver);
    d->lease_ends_s = lease_ends_s;
    assert_ok(receivers_push_take(rs, d, 0, &em));
}

static struct delivery *start(struct receivers *rs, const char *receiver)
{
    struct delivery *d = receivers_start(rs);
    assert_non_null(d);
    assert_string_equal(d->url.receiver, receiver);
    return d;
}

static void end(struct receivers *rs, struct delivery *d, double seconds)
{
    receivers_end(rs, d, seconds, 1);
    delivery_free(d);
}

static void test_turns_and_windows(void **state)
{
    (void)state;
    struct receivers rs = {.max_running = 64, .per_host = 4};
    for (int i = 0; i < 12; i++)
        push(&rs, "a", 100);
    push(&rs, "b", 100);
    struct delivery *a1 = start(&rs, "a"), *b1 = start(&rs, "b"), *a2 = start(&rs, "a");
    assert_true(a1->entry.id < a2->entry.id);
    assert_null(receivers_start(&rs)); /* new ones have a window of 2 */
    end(&rs, b1, 0.1);
    assert_null(receivers_start(&rs));
    end(&rs, a1, 0.1); /* quick: 4 */
    struct delivery *a[3];
    for (int i = 0; i < 3; i++)
        a[i] = start(&rs, "a");
    assert_null(receivers_start(&rs));
    for (int i = 0; i < 3; i++)
        end(&rs, a[i], 0.1);
    end(&rs, a2, 9); /* slow again */
    struct delivery *last = start(&rs, "a");
    assert_int_equal(rs.n_running, 1);
    assert_int_equal(rs.n_running_slow, 1);
    assert_int_equal(rs.n_queued, 6);
    end(&rs, last, 0.1);
    receivers_deinit(&rs);
}

/* However many receivers hang, half of the transfers are for those that answer. */
static void test_slow_ones_share_half(void **state)
{
    (void)state;
    struct receivers rs = {.max_running = 8, .per_host = 8};
    push(&rs, "quick", 100);
    end(&rs, start(&rs, "quick"), 0.1);
    char name[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "slow%d", i);
        push(&rs, name, 100);
    }
    struct delivery *running[8];
    size_t n = 0;
    while (n < 8 && (running[n] = receivers_start(&rs)) != NULL)
        n++;
    assert_int_equal(n, 4);
    for (int i = 0; i < 6; i++)
        push(&rs, "quick", 100);
    for (int i = 0; i < 4; i++)
        running[n++] = start(&rs, "quick");
    assert_null(receivers_start(&rs));
    assert_int_equal(rs.n_running, 8);
    for (size_t i = 0; i < n; i++)
        end(&rs, running[i], i < 4 ? 15 : 0.1);
    assert_int_equal(rs.n_running + rs.n_running_slow, 0);
    receivers_deinit(&rs);
}

static void test_stale_and_late_ones_go(void **state)
{
    (void)state;
    struct receivers rs = {.max_running = 64, .per_host = 8};
    for (int i = 0; i < 10; i++)
        push(&rs, "a", i % 2 ? 100 : 50);
    int64_t last = n_made;
    receivers_drop_stale(&rs, 60);
    assert_int_equal(rs.n_queued, 5);
    struct delivery probe = {.entry.id = last};
    snprintf(probe.url.receiver, sizeof probe.url.receiver, "a");
    assert_true(receivers_hold(&rs, &probe));
    probe.entry.id = last - 1;
    assert_false(receivers_hold(&rs, &probe));
    /* a receiver of unknown speed gets two at a time, a second each: 4 in 2 s */
    receivers_shed(&rs, 2);
    assert_int_equal(rs.n_queued, 4);
    probe.entry.id = last;
    assert_false(receivers_hold(&rs, &probe));
    push(&rs, "a", 100); /* the end of the queue is still its end */
    for (int i = 0; i < 2; i++)
        end(&rs, start(&rs, "a"), 0.1);
    receivers_shed(&rs, 1000);
    assert_int_equal(rs.n_queued, 3);
    receivers_shed(&rs, 0);
    assert_int_equal(rs.n_queued, 0);
    assert_null(receivers_start(&rs));
    receivers_deinit(&rs);
}

static void test_idle_receivers_are_forgotten(void **state)
{
    (void)state;
    struct receivers rs = {.max_running = 64, .per_host = 8};
    char name[16];
    for (unsigned i = 0; i < 2 * RECEIVERS_MAX; i++) {
        snprintf(name, sizeof name, "r%u", i);
        push(&rs, name, 100);
        end(&rs, start(&rs, name), 0.1);
    }
    assert_int_equal(rs.n, RECEIVERS_MAX);
    for (unsigned i = 0; i < 2 * RECEIVERS_MAX; i++) { /* busy ones stay */
        snprintf(name, sizeof name, "s%u", i);
        push(&rs, name, 100);
    }
    assert_int_equal(rs.n_queued, 2 * RECEIVERS_MAX);
    assert_int_equal(rs.n, 2 * RECEIVERS_MAX);
    receivers_deinit(&rs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_signature_is_appended),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_death),
        cmocka_unit_test(test_turns_and_windows),
        cmocka_unit_test(test_slow_ones_share_half),
        cmocka_unit_test(test_stale_and_late_ones_go),
        cmocka_unit_test(test_idle_receivers_are_forgotten),
    };
    return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}

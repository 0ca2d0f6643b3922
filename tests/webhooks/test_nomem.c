/* SPDX-License-Identifier: MIT */
/* webhooks/ without memory: an error, no crash, no leak. */
#include "test.h"

#include "formats/fault.h"
#include "webhooks/webhooks_impl.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

static enum err run_url(void *ctx, struct errmsg *em)
{
    struct webhook_url u = {0};
    (void)ctx;
    enum err rc = webhook_url_parse("https://example.com/hook", &u, em);
    if (rc)
        assert_null(u.url);
    webhook_url_deinit(&u);
    return rc;
}

static enum err run_sign(void *ctx, struct errmsg *em)
{
    struct buf out = {0};
    (void)ctx;
    enum err rc = webhook_sign(SECRET, "msg_1", 1, "{}", 2, &out, em);
    buf_deinit(&out);
    return rc;
}

/* An entry from its claim to the moment before it is sent. */
static enum err run_entry(void *ctx, struct errmsg *em)
{
    char url[] = "https://example.com/hook", secret[] = "of the caller";
    const struct outbox_entry e = {.id = 1, .url = url, .secret = secret, .message_id = "msg_1"};
    const struct transfer_options options = {false, 1000, SECRET};
    struct receivers rs = {.max_running = 1, .per_host = 1};
    struct delivery *d = NULL;
    (void)ctx;
    enum err rc = delivery_new(&e, &d, em);
    if (!rc)
        rc = webhook_url_parse(d->entry.url, &d->url, em);
    if (!rc)
        rc = receivers_push_take(&rs, d, 0, em);
    if (rc) {
        delivery_free(d);
        receivers_deinit(&rs);
        return rc;
    }
    d = receivers_start(&rs);
    assert_non_null(d);
    rc = transfer_prepare(d, &options, em);
    receivers_end(&rs, d, -1, 0);
    delivery_free(d);
    receivers_deinit(&rs);
    return rc;
}

static void test_url(void **state)
{
    (void)state;
    assert_true(fault_each(run_url, NULL) >= 1);
}

static void test_sign(void **state)
{
    (void)state;
    assert_true(fault_each(run_sign, NULL) >= 2);
}

static void test_entry(void **state)
{
    (void)state;
    assert_true(fault_each(run_entry, NULL) >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url),
        cmocka_unit_test(test_sign),
        cmocka_unit_test(test_entry),
    };
    return cmocka_run_group_tests_name("webhooks_nomem", tests, NULL, NULL);
}

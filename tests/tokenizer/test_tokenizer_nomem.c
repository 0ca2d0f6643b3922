/* SPDX-License-Identifier: MIT */
/* The tokenizer without memory: an error, no crash, no leak. */
#include "test.h"

#include "formats/fault.h"
#include "models/tokenizer.h"
#include "tokenizer/small_tokenizer.h"

static enum err run_parse(void *ctx, struct errmsg *em)
{
    const struct buf *json = ctx;
    struct tokenizer *t = NULL;
    enum err rc = tokenizer_parse((const char *)json->ptr, json->len, "small", &t, em);
    tokenizer_close(t);
    return rc;
}

static enum err run_encode(void *ctx, struct errmsg *em)
{
    static const char text[] = "ab <s> e\xcc\x81 é \xcc\x81 a longer text, so that lists grow "
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    int32_t *ids = NULL;
    size_t n;
    enum err rc = tokenizer_encode(ctx, text, strlen(text), &ids, &n, em);
    free(ids);
    return rc;
}

static void test_without_memory(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf json = {0};
    struct tokenizer *t;
    struct small_tokenizer s = {.vocab = ",\"ab\":256",
                                .merges = "\"a b\"",
                                .added = "{\"id\":257,\"content\":\"<s>\",\"normalized\":false},"
                                         "{\"id\":258,\"content\":\"e\xcc\x81!\"}"};
    assert_ok(small_tokenizer_json(&json, &s, &em));
    assert_true(fault_each(run_parse, &json) > 10);
    assert_ok(tokenizer_parse((const char *)json.ptr, json.len, "small", &t, &em));
    assert_true(fault_each(run_encode, t) > 4);
    tokenizer_close(t);
    buf_deinit(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_without_memory)};
    return cmocka_run_group_tests_name("tokenizer without memory", tests, NULL, NULL);
}

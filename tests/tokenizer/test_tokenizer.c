/* SPDX-License-Identifier: MIT */
/* The tokenizer against transformers, on thousands of texts (made by
 * tools/fixtures/tokenizer.py), and against files that mean harm. */
#include "test.h"

#include <jansson.h>

#include "base/file.h"
#include "models/tokenizer.h"
#include "tokenizer/small_tokenizer.h"

static struct errmsg em;
static struct tokenizer *qwen3;
static json_t *cases;

static json_t *load_json(const char *name)
{
    json_error_t je;
    json_t *j = json_load_file(data_path(name), JSON_ALLOW_NUL, &je);
    if (!j)
        fail_msg("%s: %s", name, je.text);
    return j;
}

static int setup(void **state)
{
    (void)state;
    cases = load_json("tokenizer/qwen3-cases.json");
    return tokenizer_open(data_path("tokenizer/qwen3-tokenizer.json"), &qwen3, &em);
}

static int teardown(void **state)
{
    (void)state;
    tokenizer_close(qwen3);
    json_decref(cases);
    return 0;
}

/* ---- against the reference ---- */

/* expected: ids as differences, or as they are. */
static void check_ids(const struct tokenizer *t, const char *text, size_t len,
                      const json_t *expected, bool differences, size_t max_n)
{
    int32_t *ids;
    size_t n, n_expected = json_array_size(expected);
    json_int_t id = 0;
    assert_ok(tokenizer_encode(t, text, len, &ids, &n, &em));
    if (n > max_n)
        n = max_n;
    for (size_t i = 0; i < n_expected; i++) {
        json_int_t v = json_integer_value(json_array_get(expected, i));
        id = differences ? id + v : v;
        if (i >= n || ids[i] != id)
            fail_msg("\"%.200s\" gives at token %zu of %zu: %d, expected %lld", text, i, n,
                     i < n ? (int)ids[i] : -1, (long long)id);
    }
    if (n != n_expected)
        fail_msg("\"%.200s\" gives %zu tokens, expected %zu", text, n, n_expected);
    free(ids);
}

static void check_decodes(const struct tokenizer *t, const char *text, size_t len,
                          const char *expected, size_t expected_len)
{
    int32_t *ids;
    size_t n;
    struct buf out = {0};
    assert_ok(tokenizer_encode(t, text, len, &ids, &n, &em));
    for (size_t i = 0; i < n; i++)
        assert_ok(tokenizer_decode(t, ids[i], &out, &em));
    if (out.len != expected_len || (out.len && memcmp(out.ptr, expected, out.len)))
        fail_msg("\"%.200s\" comes back as \"%.200s\"", text, out.ptr ? (char *)out.ptr : "");
    buf_deinit(&out);
    free(ids);
}

static void test_equals_transformers(void **state)
{
    (void)state;
    const json_t *list = json_object_get(cases, "cases");
    size_t i;
    json_t *c;
    assert_true(json_array_size(list) >= 3500);
    json_array_foreach(list, i, c)
    {
        const json_t *text = json_array_get(c, 0);
        check_ids(qwen3, json_string_value(text), json_string_length(text), json_array_get(c, 1),
                  true, SIZE_MAX);
    }
}

static void test_decodes_what_it_encoded(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(cases, "cases"), i, c)
    {
        const json_t *text = json_array_get(c, 0);
        const json_t *decoded = json_array_get(c, json_array_size(c) > 2 ? 2 : 0);
        check_decodes(qwen3, json_string_value(text), json_string_length(text),
                      json_string_value(decoded), json_string_length(decoded));
    }
}

/* The text of a rule, as pick() in tools/fixtures/tokenizer.py makes it. */
static void make_text(const json_t *rule, struct buf *out)
{
    const json_t *words = json_object_get(rule, "words");
    json_int_t n = json_integer_value(json_object_get(rule, "n"));
    uint64_t x = (uint64_t)json_integer_value(json_object_get(rule, "seed"));
    while (n-- > 0) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        const json_t *word = json_array_get(words, (size_t)((x >> 33) % json_array_size(words)));
        assert_ok(buf_append(out, json_string_value(word), json_string_length(word), &em));
    }
}

static void test_long_texts(void **state)
{
    (void)state;
    size_t i;
    json_t *rule;
    json_array_foreach(json_object_get(cases, "long"), i, rule)
    {
        struct buf text = {0};
        int32_t *ids;
        size_t n;
        char hash[20];
        uint64_t h = 14695981039346656037u;
        make_text(rule, &text);
        assert_ok(tokenizer_encode(qwen3, (char *)text.ptr, text.len, &ids, &n, &em));
        for (size_t k = 0; k < n; k++)
            h = (h ^ (uint64_t)ids[k]) * 1099511628211u;
        for (size_t k = 0; k < 8; k++) {
            assert_int_equal(ids[k],
                             json_integer_value(json_array_get(json_object_get(rule, "first"), k)));
            assert_int_equal(ids[n - 8 + k],
                             json_integer_value(json_array_get(json_object_get(rule, "last"), k)));
        }
        assert_int_equal(n, json_integer_value(json_object_get(rule, "n_ids")));
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)h);
        assert_string_equal(hash, json_string_value(json_object_get(rule, "hash")));
        free(ids);
        buf_deinit(&text);
    }
}

static void test_truncation(void **state)
{
    (void)state;
    const json_t *rule = json_object_get(cases, "truncated");
    struct buf text = {0};
    make_text(rule, &text);
    assert_int_equal(json_array_size(json_object_get(rule, "ids")), 512);
    check_ids(qwen3, (char *)text.ptr, text.len, json_object_get(rule, "ids"), false, 512);
    buf_deinit(&text);
}

static void test_chat_template(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    assert_true(json_array_size(json_object_get(cases, "chat")) > 5);
    json_array_foreach(json_object_get(cases, "chat"), i, c)
    {
        struct buf text = {0};
        assert_ok(buf_printf(&text, &em,
                             "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n<think>\n\n"
                             "</think>\n\n",
                             json_string_value(json_array_get(c, 0))));
        check_ids(qwen3, (char *)text.ptr, text.len, json_array_get(c, 1), true, SIZE_MAX);
        buf_deinit(&text);
    }
}

static void test_other_forms_of_files(void **state)
{
    (void)state;
    json_t *list = load_json("tokenizer/small-tokenizers.json");
    size_t i, k;
    json_t *entry, *c;
    assert_int_equal(json_array_size(list), 7);
    json_array_foreach(list, i, entry)
    {
        struct tokenizer *t;
        const char *name = json_string_value(json_object_get(entry, "name"));
        char *text = json_dumps(json_object_get(entry, "tokenizer"), 0);
        assert_non_null(text);
        assert_ok(tokenizer_parse(text, strlen(text), name, &t, &em));
        json_array_foreach(json_object_get(entry, "cases"), k, c)
        {
            const char *s = json_string_value(json_array_get(c, 0));
            check_ids(t, s, strlen(s), json_array_get(c, 1), false, SIZE_MAX);
        }
        tokenizer_close(t);
        free(text);
    }
    json_decref(list);
}

/* ---- ids and texts ---- */

static void test_special_ids(void **state)
{
    (void)state;
    struct buf out = {0};
    assert_int_equal(tokenizer_special_id(qwen3, "<|im_end|>"), 151645);
    assert_int_equal(tokenizer_special_id(qwen3, "<think>"), 151667);
    assert_int_equal(tokenizer_special_id(qwen3, "hello"), -1);
    assert_int_equal(tokenizer_vocab_size(qwen3), 151669);
    assert_ok(tokenizer_decode(qwen3, 151645, &out, &em));
    assert_string_equal((char *)out.ptr, "<|im_end|>");
    assert_fails(tokenizer_decode(qwen3, 151669, &out, &em), ERR_FORMAT, "151669");
    assert_fails(tokenizer_decode(qwen3, -1, &out, &em), ERR_FORMAT, "-1");
    buf_deinit(&out);
}

static void test_empty_text(void **state)
{
    (void)state;
    int32_t *ids;
    size_t n = 1;
    assert_ok(tokenizer_encode(qwen3, "", 0, &ids, &n, &em));
    assert_int_equal(n, 0);
    free(ids);
}

static void test_invalid_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *where;
    } bad[] = {
        {"\x80", "byte 0 (0x80)"},      /* a continuation alone */
        {"ab\xff", "byte 2 (0xff)"},    /* never in UTF-8 */
        {"a\xc0\x80", "byte 1 (0xc0)"}, /* overlong NUL */
        {"\xc1\xbf", "byte 0"},         /* overlong */
        {"\xe0\x9f\xbf", "byte 0"},     /* overlong */
        {"\xf0\x8f\xbf\xbf", "byte 0"}, /* overlong */
        {"xyz\xed\xa0\x80", "byte 3"},  /* a surrogate */
        {"\xf4\x90\x80\x80", "byte 0"}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", "byte 0"}, /* above U+10FFFF */
        {"é\xc3", "byte 2 (0xc3)"},     /* ends too early */
        {"\xe4\xbd", "byte 0"},         /* ends too early */
        {"\xf0\x9f\x98x", "byte 0"},    /* not a continuation */
        {"<|im_end|>\xfe", "byte 10"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int32_t *ids = NULL;
        size_t n;
        assert_fails(tokenizer_encode(qwen3, bad[i].text, strlen(bad[i].text), &ids, &n, &em),
                     ERR_FORMAT, bad[i].where);
        assert_null(ids);
    }
}

static void test_too_long(void **state)
{
    (void)state;
    int32_t *ids;
    size_t n, len = ((size_t)4 << 20) + 1;
    char *text = calloc(len, 1);
    assert_non_null(text);
    assert_fails(tokenizer_encode(qwen3, text, len, &ids, &n, &em), ERR_USAGE, "too long");
    free(text);
}

/* ---- files that mean harm ---- */

static void expect_refused(struct small_tokenizer s, enum err code, const char *message)
{
    struct buf json = {0};
    struct tokenizer *t = NULL;
    assert_ok(small_tokenizer_json(&json, &s, &em));
    assert_fails(tokenizer_parse((char *)json.ptr, json.len, "t.json", &t, &em), code, message);
    assert_null(t);
    assert_non_null(strstr(em.text, "t.json"));
    buf_deinit(&json);
}

#define REFUSED(code, message, ...)                                                                \
    expect_refused((struct small_tokenizer){__VA_ARGS__}, code, message)
#define ADDED(id, content) "{\"id\":" id ",\"content\":\"" content "\",\"normalized\":false}"

static void test_small_tokenizer_works(void **state)
{
    (void)state;
    struct buf json = {0};
    struct tokenizer *t;
    int32_t *ids;
    size_t n;
    struct small_tokenizer s = {.vocab = ",\"ab\":256,\"abc\":257,\"Ġab\":258",
                                .merges = "\"a b\",[\"ab\",\"c\"],\"Ġ ab\"",
                                .added = ADDED("259", "<s>")};
    assert_ok(small_tokenizer_json(&json, &s, &em));
    assert_ok(tokenizer_parse((char *)json.ptr, json.len, "small", &t, &em));
    assert_ok(tokenizer_encode(t, "abc<s> ab", 9, &ids, &n, &em));
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 257);
    assert_int_equal(ids[1], 259);
    assert_int_equal(ids[2], 258);
    free(ids);
    tokenizer_close(t);
    buf_deinit(&json);
}

static void test_unsupported_files(void **state)
{
    (void)state;
    REFUSED(ERR_UNSUPPORTED, "normalizer \"NFKC\"", .normalizer = "{\"type\":\"NFKC\"}");
    REFUSED(ERR_UNSUPPORTED, "normalizer \"Lowercase\"",
            .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}");
    REFUSED(ERR_UNSUPPORTED, "normalizer \"an integer\"", .normalizer = "7");
    REFUSED(ERR_UNSUPPORTED, "pre_tokenizer \"Metaspace\"",
            .pre_tokenizer = "{\"type\":\"Metaspace\"}");
    REFUSED(ERR_UNSUPPORTED, "pre_tokenizer \"null\"", .pre_tokenizer = "null");
    REFUSED(ERR_UNSUPPORTED, "pre_tokenizer \"Digits\"",
            .pre_tokenizer =
                "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"}," SMALL_BYTE_LEVEL
                "]}");
    REFUSED(ERR_UNSUPPORTED, "Isolated",
            .pre_tokenizer =
                "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
                "\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\"}," SMALL_BYTE_LEVEL "]}");
    REFUSED(ERR_UNSUPPORTED, "add_prefix_space",
            .pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}");
    REFUSED(ERR_UNSUPPORTED, "post_processor \"BertProcessing\"",
            .post_processor = "{\"type\":\"BertProcessing\"}");
    REFUSED(ERR_UNSUPPORTED, "decoder \"WordPiece\"", .decoder = "{\"type\":\"WordPiece\"}");
    REFUSED(ERR_UNSUPPORTED, "with dropout", .model = ",\"dropout\":0.1");
    REFUSED(ERR_UNSUPPORTED, "end_of_word_suffix", .model = ",\"end_of_word_suffix\":\"</w>\"");
    REFUSED(ERR_UNSUPPORTED, "has the id 300, expected 256", .added = ADDED("300", "<s>"));
    REFUSED(ERR_UNSUPPORTED, "has the id 256, expected 97", .added = ADDED("256", "a"));
}

static void test_patterns(void **state)
{
    (void)state;
    REFUSED(ERR_FORMAT, "is not valid: ", .pre_tokenizer = SMALL_PRE_TOKENIZER("a{3,1}"));
    REFUSED(ERR_FORMAT, "is not valid: ", .pre_tokenizer = SMALL_PRE_TOKENIZER("(a"));
    REFUSED(ERR_FORMAT, "is not valid: ", .pre_tokenizer = SMALL_PRE_TOKENIZER("[b-a]"));
    REFUSED(ERR_UNSUPPORTED, "an unknown escape", .pre_tokenizer = SMALL_PRE_TOKENIZER("\\\\h"));
    REFUSED(ERR_UNSUPPORTED, "an unknown escape", .pre_tokenizer = SMALL_PRE_TOKENIZER("a\\\\"));
    REFUSED(ERR_UNSUPPORTED, "an unknown kind of group",
            .pre_tokenizer = SMALL_PRE_TOKENIZER("(?R)"));
    REFUSED(ERR_UNSUPPORTED, "an unknown kind of group",
            .pre_tokenizer = SMALL_PRE_TOKENIZER("(*ACCEPT)"));
    REFUSED(ERR_UNSUPPORTED, "an unknown property",
            .pre_tokenizer = SMALL_PRE_TOKENIZER("\\\\p{Wrong}"));
    REFUSED(ERR_UNSUPPORTED, "an unknown property", .pre_tokenizer = SMALL_PRE_TOKENIZER("\\\\p{"));
    REFUSED(ERR_UNSUPPORTED, "a class in a class",
            .pre_tokenizer = SMALL_PRE_TOKENIZER("[[:alpha:]]"));
    REFUSED(ERR_UNSUPPORTED, "an anchor", .pre_tokenizer = SMALL_PRE_TOKENIZER("^a"));
    REFUSED(ERR_UNSUPPORTED, "a possessive interval",
            .pre_tokenizer = SMALL_PRE_TOKENIZER("a{1,2}+"));
}

/* The first token of "-" and the text, which the pattern takes for one word or for two: only in one
 * can the merge of "-" and the text's first byte take place. */
static int32_t first_token(const char *pre_tokenizer, const char *text)
{
    struct buf json = {0};
    struct tokenizer *t;
    int32_t *ids;
    size_t n;
    char dashed[8];
    struct small_tokenizer s = {.pre_tokenizer = pre_tokenizer,
                                .vocab = ",\"-à\":256,\"-á\":257,\"-ð\":258",
                                .merges = "\"- à\",\"- á\",\"- ð\""};
    assert_ok(small_tokenizer_json(&json, &s, &em));
    assert_ok(tokenizer_parse((char *)json.ptr, json.len, "small", &t, &em));
    snprintf(dashed, sizeof dashed, "-%s", text);
    assert_ok(tokenizer_encode(t, dashed, strlen(dashed), &ids, &n, &em));
    int32_t first = ids[0];
    free(ids);
    tokenizer_close(t);
    buf_deinit(&json);
    return first;
}

#define NEWER(property, text, token)                                                               \
    assert_int_equal(first_token(SMALL_PRE_TOKENIZER("-\\\\p{" property "}|."), text), token);     \
    assert_int_equal(first_token(SMALL_PRE_TOKENIZER("-[x\\\\p{" property "}]|."), text), token);  \
    assert_int_equal(first_token(SMALL_PRE_TOKENIZER("-\\\\P{" property "}|."), text), '-')

/* What Unicode 15 and 16 added has the properties that Oniguruma gives it. */
static void test_newer_characters(void **state)
{
    (void)state;
    NEWER("Lu", "\u1c89", 257);
    NEWER("L", "\u1c89", 257);
    NEWER("Ll", "\u1c8a", 257);
    NEWER("Lm", "\U00016d40", 258);
    NEWER("Lo", "\U000105c0", 258);
    NEWER("L", "\U000105c0", 258);
    NEWER("M", "\u0897", 256);
    NEWER("N", "\U00010d40", 258);
    NEWER("Lt", "\u1f88", 257);
}

static void test_runaway_pattern(void **state)
{
    (void)state;
    struct buf json = {0};
    struct tokenizer *t;
    int32_t *ids;
    size_t n;
    struct small_tokenizer s = {.pre_tokenizer = SMALL_PRE_TOKENIZER("(?:a|a)*[^a]{2}")};
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac";
    assert_ok(small_tokenizer_json(&json, &s, &em));
    assert_ok(tokenizer_parse((char *)json.ptr, json.len, "small", &t, &em));
    assert_fails(tokenizer_encode(t, text, strlen(text), &ids, &n, &em), ERR_FORMAT,
                 "too many steps");
    tokenizer_close(t);
    buf_deinit(&json);
}

static void test_missing_byte(void **state)
{
    (void)state;
    static const char json[] =
        "{\"pre_tokenizer\":" SMALL_BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}";
    struct tokenizer *t;
    int32_t *ids;
    size_t n;
    assert_ok(tokenizer_parse(json, strlen(json), "small", &t, &em));
    assert_fails(tokenizer_encode(t, "ab", 2, &ids, &n, &em), ERR_UNSUPPORTED, "byte 0x62");
    tokenizer_close(t);
}

static void test_bad_models(void **state)
{
    (void)state;
    REFUSED(ERR_FORMAT, "duplicate object key", .vocab = ",\"\\u0061\":256");
    REFUSED(ERR_FORMAT, "two tokens have the id 97", .vocab = ",\"xy\":97");
    REFUSED(ERR_FORMAT, "must be a number from 0 to", .vocab = ",\"xy\":-1");
    REFUSED(ERR_FORMAT, "must be a number from 0 to", .vocab = ",\"xy\":1000000");
    REFUSED(ERR_FORMAT, "must be a number from 0 to", .vocab = ",\"xy\":\"1\"");
    REFUSED(ERR_FORMAT, "not in the vocabulary", .merges = "\"a b\"");
    REFUSED(ERR_FORMAT, "not in the vocabulary", .vocab = ",\"xy\":256",
            .merges = "[\"xy\",\"z\"]");
    REFUSED(ERR_FORMAT, "must be two tokens", .merges = "\"ab\"");
    REFUSED(ERR_FORMAT, "must be two tokens", .merges = "\"a b c\"");
    REFUSED(ERR_FORMAT, "must be two tokens", .merges = "[\"a\"]");
    REFUSED(ERR_FORMAT, "must be two tokens", .merges = "[\"a\",1]");
    REFUSED(ERR_FORMAT, "must be two tokens", .merges = "17");
    REFUSED(ERR_FORMAT, "\"added_tokens.content\" must be a string", .added = "{\"id\":256}");
    REFUSED(ERR_FORMAT, "\"added_tokens.id\" must be an integer", .added = "{\"content\":\"x\"}");
    REFUSED(ERR_FORMAT, "\"lstrip\" must be true or false",
            .added = "{\"id\":256,\"content\":\"<s>\",\"lstrip\":1}");
    REFUSED(ERR_FORMAT, "two added tokens have the text",
            .added = "{\"id\":256,\"content\":\"\\u00e9!\",\"normalized\":true},"
                     "{\"id\":257,\"content\":\"e\\u0301!\",\"normalized\":true}");
    REFUSED(ERR_FORMAT, "nested deeper",
            .model = ",\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
                     "]]]]]]]]]]]");
}

static void expect_text_refused(const char *json, enum err code, const char *message)
{
    struct tokenizer *t = NULL;
    assert_fails(tokenizer_parse(json, strlen(json), "t.json", &t, &em), code, message);
    assert_null(t);
}

static void test_bad_texts(void **state)
{
    (void)state;
    expect_text_refused("", ERR_FORMAT, "not valid JSON");
    expect_text_refused("[]", ERR_FORMAT, "expected a JSON object");
    expect_text_refused("{", ERR_FORMAT, "not valid JSON");
    expect_text_refused("{\"version\":\"2.0\"}", ERR_UNSUPPORTED, "version");
    expect_text_refused("{}", ERR_UNSUPPORTED, "pre_tokenizer \"nothing\"");
    expect_text_refused("{\"pre_tokenizer\":" SMALL_BYTE_LEVEL "}", ERR_FORMAT,
                        "\"model\" must be an object");
    expect_text_refused("{\"pre_tokenizer\":" SMALL_BYTE_LEVEL ",\"model\":{\"type\":\"Unigram\"}}",
                        ERR_UNSUPPORTED, "model \"Unigram\"");
    expect_text_refused("{\"pre_tokenizer\":" SMALL_BYTE_LEVEL ",\"model\":{\"vocab\":{}}}",
                        ERR_FORMAT, "model.vocab");
    expect_text_refused("{\"pre_tokenizer\":" SMALL_BYTE_LEVEL ",\"model\":{\"vocab\":{\"a\":0}}}",
                        ERR_FORMAT, "model.merges");
}

static void test_missing_file(void **state)
{
    (void)state;
    struct tokenizer *t;
    assert_fails(tokenizer_open("/nowhere/tokenizer.json", &t, &em), ERR_NOTFOUND,
                 "/nowhere/tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_transformers),
        cmocka_unit_test(test_decodes_what_it_encoded),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_chat_template),
        cmocka_unit_test(test_other_forms_of_files),
        cmocka_unit_test(test_special_ids),
        cmocka_unit_test(test_empty_text),
        cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_small_tokenizer_works),
        cmocka_unit_test(test_unsupported_files),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_newer_characters),
        cmocka_unit_test(test_runaway_pattern),
        cmocka_unit_test(test_missing_byte),
        cmocka_unit_test(test_bad_models),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_missing_file),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, setup, teardown);
}

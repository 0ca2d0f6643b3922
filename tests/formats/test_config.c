/* SPDX-License-Identifier: MIT */
/* config.json: every getter, every message, every limit. */
#include "test.h"

#include <unistd.h>

#include "formats/config.h"

static struct errmsg em;

static struct config *parse(const char *text)
{
    struct config *c = NULL;
    assert_ok(config_parse(text, strlen(text), "c.json", &c, &em));
    return c;
}

static void refused(const char *text, size_t len, const char *message)
{
    struct config *c = NULL;
    assert_fails(config_parse(text, len, "c.json", &c, &em), ERR_FORMAT, message);
    assert_null(c);
    assert_non_null(strstr(em.text, "c.json"));
}

#define REFUSED(text, message) refused(text, sizeof(text) - 1, message)

static void test_sizes(void **state)
{
    (void)state;
    struct config *c =
        parse("{\"n\":12,\"neg\":-1,\"big\":9223372036854775807,\"f\":1.0,\"s\":\"x\","
              "\"nothing\":null,\"rope\":{\"n\":3,\"deep\":{\"n\":4}}}");
    size_t v = 7;
    assert_ok(config_size(c, "n", 1, 12, CONFIG_REQUIRED, &v, &em));
    assert_int_equal(v, 12);
    assert_ok(config_size(c, "rope.n", 1, 12, CONFIG_REQUIRED, &v, &em));
    assert_int_equal(v, 3);
    assert_ok(config_size(c, "rope.deep.n", 0, SIZE_MAX, CONFIG_REQUIRED, &v, &em));
    assert_int_equal(v, 4);
    assert_ok(config_size(c, "absent", 1, 12, 99, &v, &em));
    assert_int_equal(v, 99);
    assert_ok(config_size(c, "nothing", 1, 12, 98, &v, &em));
    assert_int_equal(v, 98);
    assert_ok(config_size(c, "n.x", 1, 12, 97, &v, &em)); /* n is no object */
    assert_int_equal(v, 97);
    assert_fails(config_size(c, "n", 1, 11, 5, &v, &em), ERR_FORMAT,
                 "c.json: the field \"n\" must be from 1 to 11, not 12");
    assert_fails(config_size(c, "neg", 0, 11, 5, &v, &em), ERR_FORMAT, "not -1");
    assert_fails(config_size(c, "big", 0, 1 << 20, 5, &v, &em), ERR_FORMAT, "9223372036854775807");
    assert_fails(config_size(c, "f", 0, 9, 5, &v, &em), ERR_FORMAT,
                 "\"f\" must be an integer, not a number with a fraction");
    assert_fails(config_size(c, "s", 0, 9, 5, &v, &em), ERR_FORMAT,
                 "\"s\" must be an integer, not a string");
    assert_fails(config_size(c, "nothing", 0, 9, CONFIG_REQUIRED, &v, &em), ERR_FORMAT,
                 "c.json: the field \"nothing\" is missing");
    assert_fails(config_size(c, "rope.x", 0, 9, CONFIG_REQUIRED, &v, &em), ERR_FORMAT,
                 "\"rope.x\" is missing");
    assert_int_equal(v, 97);
    assert_true(config_has(c, "rope.deep"));
    assert_true(config_has(c, "n"));
    assert_false(config_has(c, "nothing"));
    assert_false(config_has(c, "rope.deep.x"));
    assert_false(config_has(c, ""));
    config_close(c);
    config_close(NULL);
}

static void test_doubles_and_bools(void **state)
{
    (void)state;
    struct config *c =
        parse("{\"eps\":1e-6,\"theta\":1000000,\"yes\":true,\"no\":false,\"s\":\"1\"}");
    double d = 0;
    bool b = false;
    assert_ok(config_double(c, "eps", 0, 1, CONFIG_REQUIRED, &d, &em));
    assert_true(d == 1e-6);
    assert_ok(config_double(c, "theta", 1, 1e9, CONFIG_REQUIRED, &d, &em));
    assert_true(d == 1e6);
    assert_ok(config_double(c, "absent", 0, 1, 0.5, &d, &em));
    assert_true(d == 0.5);
    assert_fails(config_double(c, "absent", 0, 1, CONFIG_REQUIRED, &d, &em), ERR_FORMAT, "missing");
    assert_fails(config_double(c, "theta", 0, 1, 0.5, &d, &em), ERR_FORMAT,
                 "must be from 0 to 1, not 1e+06");
    assert_fails(config_double(c, "s", 0, 1, 0.5, &d, &em), ERR_FORMAT, "a number, not a string");
    assert_ok(config_bool(c, "yes", CONFIG_REQUIRED, &b, &em));
    assert_true(b);
    assert_ok(config_bool(c, "no", 1, &b, &em));
    assert_false(b);
    assert_ok(config_bool(c, "absent", 1, &b, &em));
    assert_true(b);
    assert_fails(config_bool(c, "absent", CONFIG_REQUIRED, &b, &em), ERR_FORMAT, "missing");
    assert_fails(config_bool(c, "eps", 0, &b, &em), ERR_FORMAT, "must be true or false");
    config_close(c);
}

static void test_strings_and_lists(void **state)
{
    (void)state;
    struct config *c = parse("{\"s\":\"x\",\"n\":[1,2,3],\"l\":[\"a\",\"b\"],\"mixed\":[1,\"a\"],"
                             "\"none\":[]}");
    const char *s = NULL, *l[2];
    size_t v[4], n = 9;
    assert_ok(config_string(c, "s", NULL, &s, &em));
    assert_string_equal(s, "x");
    assert_ok(config_string(c, "absent", "fallback", &s, &em));
    assert_string_equal(s, "fallback");
    assert_fails(config_string(c, "absent", NULL, &s, &em), ERR_FORMAT, "missing");
    assert_fails(config_string(c, "n", NULL, &s, &em), ERR_FORMAT, "a string, not an array");
    assert_ok(config_sizes(c, "n", 1, 3, v, 4, &n, &em));
    assert_int_equal(n, 3);
    assert_int_equal(v[2], 3);
    assert_ok(config_sizes(c, "absent", 1, 3, v, 4, &n, &em));
    assert_int_equal(n, 0);
    assert_ok(config_sizes(c, "none", 1, 3, v, 4, &n, &em));
    assert_int_equal(n, 0);
    assert_fails(config_sizes(c, "n", 1, 2, v, 4, &n, &em), ERR_FORMAT, "\"n[2]\" must be from 1");
    assert_fails(config_sizes(c, "n", 1, 3, v, 2, &n, &em), ERR_FORMAT, "has 3 elements");
    assert_fails(config_sizes(c, "s", 1, 3, v, 4, &n, &em), ERR_FORMAT, "an array of integers");
    assert_fails(config_sizes(c, "mixed", 1, 3, v, 4, &n, &em), ERR_FORMAT, "\"mixed[1]\"");
    assert_ok(config_strings(c, "l", l, 2, &n, &em));
    assert_int_equal(n, 2);
    assert_string_equal(l[1], "b");
    assert_ok(config_strings(c, "absent", l, 2, &n, &em));
    assert_int_equal(n, 0);
    assert_fails(config_strings(c, "l", l, 1, &n, &em), ERR_FORMAT, "at most 1");
    assert_fails(config_strings(c, "mixed", l, 2, &n, &em), ERR_FORMAT, "\"mixed[0]\"");
    config_close(c);
}

static void test_bad_texts(void **state)
{
    (void)state;
    REFUSED("", "not valid JSON");
    REFUSED("{", "not valid JSON at line 1");
    REFUSED("{\n\"a\":}", "line 2");
    REFUSED("[1]", "expected a JSON object, found an array");
    REFUSED("{\"a\":NaN}", "not valid JSON");
    REFUSED("{\"a\":Infinity}", "not valid JSON");
    REFUSED("{\"a\":1e999}", "not valid JSON");
    REFUSED("{\"a\":99999999999999999999}", "not valid JSON");
    REFUSED("{\"a\":1,\"a\":2}", "duplicate object key");
    REFUSED("{\"a\":1} x", "not valid JSON");
    REFUSED("{\"a\":\"\xff\"}", "not valid JSON");
    REFUSED("{\"a\":\"\\u0000\"}", "column 13: a NUL character (\\u0000) is not taken");
    REFUSED("{\"a\":\"\\ud800\"}", "not valid JSON");
    REFUSED("{\"a\":1}\0", "not valid JSON");
}

static void test_limits(void **state)
{
    (void)state;
    size_t n = 5u << 20;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, '[', n);
    memcpy(text, "{\"a\":", 5);
    refused(text, 1000, "nested deeper than 32 levels");
    refused(text, n, "too large");
    /* many small values: memory, not depth */
    for (size_t i = 6; i < n; i++)
        text[i] = i % 2 ? ',' : '1';
    refused(text, 4u << 20, "more than 200000 values");
    /* brackets and commas in strings count for nothing */
    memset(text, '[', n);
    memcpy(text, "{\"a\":\"\\\",", 9);
    memcpy(text + 300000, "\"}", 3);
    struct config *c = NULL;
    assert_ok(config_parse(text, 300002, "c.json", &c, &em));
    config_close(c);
    free(text);
}

static void test_files(void **state)
{
    (void)state;
    struct config *c = NULL;
    assert_fails(config_open("/nowhere/config.json", &c, &em), ERR_NOTFOUND,
                 "/nowhere/config.json");
    assert_fails(config_open("/", &c, &em), ERR_FORMAT, "not a regular file");
    assert_fails(config_open("/dev/null", &c, &em), ERR_FORMAT, "/dev/null");
    assert_null(c);
}

/* A number that no integer holds stands in the way of no text. */
static void test_files_of_texts(void **state)
{
    (void)state;
    static const char text[] = "{\"model_max_length\": 1000000000000000019884624838656, "
                               "\"pad_token\": {\"content\": \"<pad>\"}, \"n\": 3}";
    struct config *c = NULL;
    const char *pad;
    size_t n;
    char path[] = "/tmp/easel-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    assert_fails(config_open(path, &c, &em), ERR_FORMAT, "too big integer");
    assert_ok(config_open_texts(path, &c, &em));
    assert_ok(config_string(c, "pad_token.content", NULL, &pad, &em));
    assert_string_equal(pad, "<pad>");
    assert_fails(config_size(c, "n", 0, 9, 0, &n, &em), ERR_FORMAT, "must be an integer");
    config_close(c);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_doubles_and_bools),
        cmocka_unit_test(test_strings_and_lists),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_files_of_texts),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}

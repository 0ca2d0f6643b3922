/* SPDX-License-Identifier: MIT */
/* The small languages of HTTP. */
#include "test.h"

#include "http/text.h"

static void test_percent(void **state)
{
    static const struct {
        const char *text;
        bool plus;
        const char *expected; /* NULL: refused */
    } cases[] = {
        {"", false, ""},         {"/a%20b", false, "/a b"}, {"%2e%2E%2f", false, "../"},
        {"a+b", false, "a+b"},   {"a+b%2B", true, "a b+"},  {"%e2%82%ac", false, "\xe2\x82\xac"},
        {"%", false, NULL},      {"a%4", false, NULL},      {"%4g", false, NULL},
        {"%g4", false, NULL},    {"%00", false, NULL},      {"a%00b", false, NULL},
        {"%u0041", false, NULL}, {"%%41", false, NULL},     {"% 41", false, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[32];
        size_t len = 99;
        bool ok =
            http_percent_decode(cases[i].text, strlen(cases[i].text), cases[i].plus, out, &len);
        if (ok != (cases[i].expected != NULL))
            fail_msg("\"%s\" was %s", cases[i].text, ok ? "taken" : "refused");
        if (ok) {
            assert_string_equal(out, cases[i].expected);
            assert_int_equal(len, strlen(cases[i].expected));
        }
    }
}

static void test_query(void **state)
{
    struct http_field pairs[8];
    char room[100];
    size_t n;
    const char *text = "a=1&b=%3D%26&&c&=x&d=e=f&a=2";
    (void)state;
    assert_int_equal(http_query_bound("", 0), 0);
    assert_true(http_query_bound(text, strlen(text)) >= 6);
    assert_true(http_query_split(text, strlen(text), pairs, 8, room, &n));
    assert_int_equal(n, 6);
    assert_string_equal(pairs[0].name, "a");
    assert_string_equal(pairs[0].value, "1");
    assert_string_equal(pairs[1].value, "=&");
    assert_string_equal(pairs[2].name, "c");
    assert_string_equal(pairs[2].value, "");
    assert_string_equal(pairs[3].name, "");
    assert_string_equal(pairs[3].value, "x");
    assert_string_equal(pairs[4].value, "e=f");
    assert_string_equal(pairs[5].value, "2");
    assert_false(http_query_split(text, strlen(text), pairs, 5, room, &n));
    assert_false(http_query_split("a=%", 3, pairs, 8, room, &n));
    assert_false(http_query_split("%00=1", 5, pairs, 8, room, &n));
    assert_true(http_query_split("", 0, pairs, 8, room, &n));
    assert_int_equal(n, 0);
}

static void test_tokens(void **state)
{
    (void)state;
    assert_true(http_is_token("X-Request-Id"));
    assert_true(http_is_token("!#$%&'*+-.^_`|~09azAZ"));
    assert_false(http_is_token(""));
    assert_false(http_is_token("a b"));
    assert_false(http_is_token("a:"));
    assert_false(http_is_token("a\t"));
    assert_false(http_is_token("\xc3\xa4"));
    assert_true(http_is_value(""));
    assert_true(http_is_value("a\tb \xc3\xa4"));
    assert_false(http_is_value("a\rb"));
    assert_false(http_is_value("a\nb"));
    assert_false(http_is_value("\x7f"));
}

static void test_dates(void **state)
{
    static const char *const same[] = {"Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    static const char *const bad[] = {"",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 GMT+1",
                                      "Sun, 06 Now 1994 08:49:37 GMT",
                                      "Sun, 32 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:61:37 GMT",
                                      "Sun, 06 Nov 1934 08:49:37 GMT",
                                      "784111777",
                                      "Sun, 06 Nov 1994 08:49:37 GMT and much more behind it"};
    char text[HTTP_DATE_BYTES];
    int64_t t;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_true(http_date_read(same[i], &t));
        assert_int_equal(t, 784111777);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (http_date_read(bad[i], &t))
            fail_msg("\"%s\" was taken", bad[i]);
    http_date_write(784111777, text);
    assert_string_equal(text, same[0]);
    http_date_write(951782400, text);
    assert_string_equal(text, "Tue, 29 Feb 2000 00:00:00 GMT");
    http_date_write(-5, text);
    assert_string_equal(text, "Thu, 01 Jan 1970 00:00:00 GMT");
    http_date_write(INT64_MAX, text);
    assert_string_equal(text, "Fri, 31 Dec 9999 23:59:59 GMT");
    for (int64_t at = 0; at < 8000000000; at += 86400 * 13 + 12345) {
        http_date_write(at, text);
        assert_true(http_date_read(text, &t));
        assert_int_equal(t, at);
    }
}

static void test_etags(void **state)
{
    static const struct {
        const char *list, *etag;
        bool found;
    } cases[] = {
        {"\"a\"", "\"a\"", true},
        {"\"a\"", "\"b\"", false},
        {"*", "\"a\"", true},
        {" * ", NULL, true},
        {"\"a\"", NULL, false},
        {"\"x\", \"a\"", "\"a\"", true},
        {"\"x\",,W/\"a\" ", "\"a\"", true},
        {"\"a\"", "W/\"a\"", true},
        {"\"x, \\\"a\"", "\"a\"", false},
        {"a", "a", false},
        {"\"a", "\"a\"", false},
        {"\"x\" \"a\"", "\"a\"", false},
        {"\"aa\"", "\"a\"", false},
        {"", "\"a\"", false},
        {"*, \"b\"", "\"a\"", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (http_etag_in_list(cases[i].list, cases[i].etag) != cases[i].found)
            fail_msg("%s in %s", cases[i].etag, cases[i].list);
    assert_true(http_if_range_holds("\"a\"", "\"a\"", 0));
    assert_false(http_if_range_holds("W/\"a\"", "W/\"a\"", 0));
    assert_false(http_if_range_holds("\"b\"", "\"a\"", 0));
    assert_false(http_if_range_holds("\"a\"", NULL, 0));
    assert_true(http_if_range_holds("Sun, 06 Nov 1994 08:49:37 GMT", "\"a\"", 784111777));
    assert_false(http_if_range_holds("Sun, 06 Nov 1994 08:49:37 GMT", "\"a\"", 784111776));
}

static void test_ranges(void **state)
{
    static const struct {
        const char *value;
        uint64_t size;
        enum http_range_kind kind;
        uint64_t first, len;
    } cases[] = {
        {"bytes=0-0", 10, RANGE_PART, 0, 1},
        {"bytes=2-5", 10, RANGE_PART, 2, 4},
        {"Bytes= 2-5 ", 10, RANGE_PART, 2, 4},
        {"bytes=5-", 10, RANGE_PART, 5, 5},
        {"bytes=0-", 10, RANGE_PART, 0, 10},
        {"bytes=5-99", 10, RANGE_PART, 5, 5},
        {"bytes=5-99999999999999999999999", 10, RANGE_PART, 5, 5},
        {"bytes=-3", 10, RANGE_PART, 7, 3},
        {"bytes=-30", 10, RANGE_PART, 0, 10},
        {"bytes=-0", 10, RANGE_NONE, 0, 0},
        {"bytes=10-", 10, RANGE_NONE, 0, 0},
        {"bytes=99999999999999999999999-", 10, RANGE_NONE, 0, 0},
        {"bytes=0-", 0, RANGE_NONE, 0, 0},
        {"bytes=-1", 0, RANGE_NONE, 0, 0},
        {"bytes=5-2", 10, RANGE_WHOLE, 0, 0},
        {"bytes=0-1,3-4", 10, RANGE_WHOLE, 0, 0},
        {"bytes=", 10, RANGE_WHOLE, 0, 0},
        {"bytes=-", 10, RANGE_WHOLE, 0, 0},
        {"bytes=a-b", 10, RANGE_WHOLE, 0, 0},
        {"bytes=1-b", 10, RANGE_WHOLE, 0, 0},
        {"bytes 1-2", 10, RANGE_WHOLE, 0, 0},
        {"lines=1-2", 10, RANGE_WHOLE, 0, 0},
        {"bytes=+1-2", 10, RANGE_WHOLE, 0, 0},
        {"bytes=1--2", 10, RANGE_WHOLE, 0, 0},
        {"", 10, RANGE_WHOLE, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_range got = {0, 0};
        enum http_range_kind kind = http_range_read(cases[i].value, cases[i].size, &got);
        if (kind != cases[i].kind)
            fail_msg("\"%s\" is %d", cases[i].value, (int)kind);
        if (kind == RANGE_PART) {
            assert_int_equal(got.first, cases[i].first);
            assert_int_equal(got.len, cases[i].len);
        }
    }
}

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *host;
        unsigned port;
    } good[] = {{"127.0.0.1:8080", "127.0.0.1", 8080},
                {"[::1]:80", "::1", 80},
                {"[::]:65535", "::", 65535},
                {"localhost:0", "localhost", 0}};
    static const char *const bad[] = {
        "",        "8080", ":8080",        "localhost", "localhost:", "a:b",
        "a:65536", "a:-1", "::1:80",       "[::1]",     "[::1:80",    "[]:80",
        "a:1 ",    "a:+1", "a:0000000080", "a\nb:1",    "[a]b:80"};
    struct http_address a;
    struct errmsg em;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_ok(http_address_read(good[i].text, &a, &em));
        assert_string_equal(a.host, good[i].host);
        assert_int_equal(a.port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fails(http_address_read(bad[i], &a, &em), ERR_USAGE, "write HOST:PORT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percent),   cmocka_unit_test(test_query),
        cmocka_unit_test(test_tokens),    cmocka_unit_test(test_dates),
        cmocka_unit_test(test_etags),     cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests_name("http text", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* The parts of api/ that need no server: bodies, fields, pictures, signed URLs, rates, routes. */
#include "test.h"

#include "api/core_impl.h"
#include "base/base64.h"
#include "base/file.h"

static const char *const pictures[] = {"input_image", "input_image_2", NULL};

static enum err parse(const char *text, struct body *b, struct errmsg *em)
{
    return body_parse(text, strlen(text), pictures, b, em);
}

/* ---- bodies ---- */

static void test_pictures_stay_where_they_are(void **state)
{
    (void)state;
    struct errmsg em;
    struct body b;
    const char *text = "{\"prompt\": \"a \\\"cat\\\"\", \"input_image_2\": \"Qk\\/I=\",\n"
                       " \"deep\": {\"input_image\": \"not mine\"}, \"input_image\":\"AAAA\"}";
    assert_ok(parse(text, &b, &em));
    assert_int_equal(b.n_pictures, 2);
    assert_string_equal(b.pictures[0].field, "input_image");
    assert_memory_equal(b.pictures[0].ptr, "AAAA", 4);
    assert_int_equal(b.pictures[0].len, 4);
    assert_int_equal(b.pictures[1].len, 6);
    assert_ptr_equal(body_picture(&b, "input_image_2"), &b.pictures[1]);
    assert_null(body_picture(&b, "input_image_3"));
    assert_string_equal(json_string_value(json_object_get(b.root, "prompt")), "a \"cat\"");
    assert_string_equal(json_string_value(json_object_get(b.root, "input_image")), "");
    const json_t *deep = json_object_get(b.root, "deep");
    assert_string_equal(json_string_value(json_object_get(deep, "input_image")), "not mine");
    body_deinit(&b);
}

static void test_a_name_may_be_spelled_with_escapes(void **state)
{
    (void)state;
    struct errmsg em;
    struct body b;
    assert_ok(parse("{\"input\\u005fimage\": \"AAAA\"}", &b, &em));
    assert_int_equal(b.n_pictures, 1);
    assert_string_equal(json_string_value(json_object_get(b.root, "input_image")), "");
    body_deinit(&b);
}

static void test_values_that_look_like_names(void **state)
{
    (void)state;
    struct errmsg em;
    struct body b;
    assert_ok(parse("{\"a\": \"input_image\", \"b\": [\"input_image\", \"x\"], \"c\": \"]}\\\\\"}",
                    &b, &em));
    assert_int_equal(b.n_pictures, 0);
    assert_string_equal(json_string_value(json_object_get(b.root, "c")), "]}\\");
    body_deinit(&b);
}

/* A value that is no string is jansson's, whatever follows it. */
static void test_a_picture_of_another_type(void **state)
{
    (void)state;
    struct errmsg em;
    struct body b;
    assert_ok(parse("{\"input_image\": 7, \"x\": \"y\"}", &b, &em));
    assert_int_equal(b.n_pictures, 0);
    assert_string_equal(json_string_value(json_object_get(b.root, "x")), "y");
    body_deinit(&b);
    assert_ok(parse("{\"input_image\": {\"x\": \"y\"}}", &b, &em));
    assert_int_equal(b.n_pictures, 0);
    body_deinit(&b);
}

static void test_bodies_that_are_refused(void **state)
{
    (void)state;
    struct errmsg em;
    struct body b;
    assert_fails(body_parse(NULL, 0, pictures, &b, &em), ERR_FORMAT, "empty");
    assert_fails(parse("[1]", &b, &em), ERR_FORMAT, "expected a JSON object");
    assert_fails(parse("{\"a\": 1", &b, &em), ERR_FORMAT, "not valid JSON");
    assert_fails(parse("{\"input_image\": \"AAAA", &b, &em), ERR_FORMAT, "inside of a string");
    assert_fails(parse("{\"input_image\": \"AAAA\\\"}", &b, &em), ERR_FORMAT, "inside of a string");
    assert_fails(parse("{} x", &b, &em), ERR_FORMAT, "not valid JSON");
    assert_fails(parse("{\"a\": \"\xff\"}", &b, &em), ERR_FORMAT, "not valid JSON");
    assert_fails(parse("{\"a\": \"\\u0000\"}", &b, &em), ERR_FORMAT, "not valid JSON");
    assert_fails(parse("{\"a\": 1, \"a\": 1}", &b, &em), ERR_FORMAT, "duplicate");
    assert_fails(parse("{\"input_image\": \"A\", \"input_image\": \"B\"}", &b, &em), ERR_FORMAT,
                 "duplicate");
}

static void test_bodies_have_bounds(void **state)
{
    (void)state;
    struct errmsg em;
    struct body b;
    char deep[100];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    assert_fails(body_parse(deep, sizeof deep, pictures, &b, &em), ERR_FORMAT, "nested deeper");
    size_t len = API_BODY_JSON_BYTES_MAX + 100;
    char *text = malloc(len + 1);
    memset(text, 'x', len);
    memcpy(text, "{\"prompt\":\"", 11);
    memcpy(text + len - 2, "\"}", 3);
    assert_fails(body_parse(text, len, pictures, &b, &em), ERR_FORMAT, "without its pictures");
    /* the same as a picture is no matter */
    memcpy(text, "{\"input_image\":\"", 16);
    assert_ok(body_parse(text, len, pictures, &b, &em));
    assert_int_equal(b.pictures[0].len, len - 18);
    body_deinit(&b);
    free(text);
}

/* ---- fields ---- */

static struct faults faults;

static struct fields fields_of(const char *text)
{
    free(faults.items);
    faults = (struct faults){0};
    json_t *root = json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
    assert_non_null(root);
    return (struct fields){.root = root, .faults = &faults};
}

static void fields_end(struct fields *f)
{
    json_decref((json_t *)f->root);
    free(faults.items);
    faults = (struct faults){0};
}

static void test_integers(void **state)
{
    (void)state;
    struct fields f = fields_of("{\"a\": 1024.0, \"b\": 7, \"t\": true, \"h\": 1.5, \"s\": \"7\","
                                " \"big\": 1e300, \"n\": null, \"low\": 1}");
    int64_t v = -5;
    assert_true(field_integer(&f, "a", 2, 2000, 9, &v));
    assert_int_equal(v, 1024);
    assert_true(field_integer(&f, "b", 7, 7, 9, &v));
    assert_int_equal(v, 7);
    assert_true(field_integer(&f, "absent", 2, 2000, 9, &v));
    assert_int_equal(v, 9);
    assert_true(field_integer(&f, "n", 2, 2000, 10, &v));
    assert_int_equal(v, 10);
    assert_int_equal(faults.n, 0);
    static const char *const wrong[] = {"t", "h", "s", "big", "low"};
    for (size_t i = 0; i < 5; i++) {
        assert_false(field_integer(&f, wrong[i], 2, 2000, 9, &v));
        assert_int_equal(faults.n, i + 1);
        assert_string_equal(faults.items[i].field, wrong[i]);
        assert_string_equal(faults.items[i].reason, "must be an integer from 2 to 2000");
        assert_int_equal(faults.items[i].rank, i + 4);
    }
    assert_int_equal(v, 10);
    f.null_is_wrong = true;
    assert_false(field_integer(&f, "n", 2, 2000, 9, &v));
    fields_end(&f);
}

static void test_strings(void **state)
{
    (void)state;
    struct fields f = fields_of("{\"four\": \"\\u00e4\\u20ac\\ud83d\\ude00x\", \"n\": 3,"
                                " \"blank\": \" \\t\\u3000\\u00a0\\n\", \"null\": null}");
    assert_non_null(field_string(&f, "four", FIELD_NOT_BLANK, 4));
    assert_null(field_string(&f, "four", 0, 3));
    assert_string_equal(faults.items[0].reason, "must be at most 3 characters long");
    assert_null(field_string(&f, "n", 0, 9));
    assert_string_equal(faults.items[1].reason, "must be a string, not a number");
    assert_null(field_string(&f, "blank", FIELD_NOT_BLANK, 9));
    assert_string_equal(faults.items[2].reason, "must not be blank");
    assert_null(field_string(&f, "null", FIELD_REQUIRED, 9));
    assert_string_equal(faults.items[3].reason, "is required");
    assert_null(field_string(&f, "null", 0, 9));
    assert_int_equal(faults.n, 4);
    fields_end(&f);
}

static void test_booleans_and_choices(void **state)
{
    (void)state;
    static const char *const formats[] = {"png", "jpeg", NULL};
    struct fields f = fields_of("{\"t\": true, \"one\": 1, \"f\": \"jpeg\", \"g\": \"gif\"}");
    bool b = false;
    assert_true(field_boolean(&f, "t", false, &b) && b);
    assert_true(field_boolean(&f, "absent", true, &b) && b);
    assert_false(field_boolean(&f, "one", true, &b));
    assert_string_equal(faults.items[0].reason, "must be true or false, not a number");
    assert_int_equal(field_choice(&f, "f", formats), 1);
    assert_int_equal(field_choice(&f, "absent", formats), -1);
    assert_int_equal(field_choice(&f, "g", formats), -2);
    assert_int_equal(field_choice(&f, "t", formats), -2);
    assert_string_equal(faults.items[1].reason, "must be one of: png, jpeg");
    fields_end(&f);
}

static void test_faults_are_bounded(void **state)
{
    (void)state;
    struct faults all = {0};
    for (unsigned i = 0; i < 2 * API_FAULTS_MAX; i++)
        faults_add(&all, i, "field", "%u", i);
    assert_int_equal(all.n, API_FAULTS_MAX);
    assert_string_equal(all.items[API_FAULTS_MAX - 1].reason, "31");
    free(all.items);
}

/* ---- pictures ---- */

static void assert_decodes(const char *text, const char *expected)
{
    struct errmsg em;
    struct buf out = {0};
    assert_ok(picture_decode_base64(text, strlen(text), &out, &em));
    assert_int_equal(out.len, strlen(expected));
    assert_memory_equal(out.ptr, expected, out.len);
    buf_deinit(&out);
}

static void test_base64_as_clients_write_it(void **state)
{
    (void)state;
    assert_decodes("aGVsbG8/Pz8+", "hello\?\?\?>");
    assert_decodes("aGVsbG8_Pz8-", "hello\?\?\?>");
    assert_decodes("aGVsbG8\\/Pz8+", "hello\?\?\?>");
    assert_decodes("aGVs\\nbG8\\u002fPz\\r\\n8+\\n", "hello\?\?\?>");
    assert_decodes("aGVsbG8\\u002FPz8\\u002B", "hello\?\?\?>");
    assert_decodes("aGVsbG8", "hello");
    assert_decodes("aGVsbG8=", "hello");
    assert_decodes("aGVs\n bG8=", "hello");
    assert_decodes("data:image/png;base64,aGVsbG8=", "hello");
    assert_decodes("data:image\\/png;name=a.png;base64,aGVsbG8=", "hello");
    assert_decodes("DATA:;BASE64,aGVsbG8=", "hello");
    assert_decodes(" \n\\r\\tdata:image/png;base64, aGVsbG8=", "hello");
}

static void test_what_is_no_base64(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"https://example.org/a.png", "is a URL that is not taken here"},
        {"aGVsbG8=aGVs", "not base64"},
        {"aGVsb", "not base64"},
        {"aGV\\u00e4", "it holds a character outside of ASCII"},
        {"aGV\xc3\xa4", "it holds a character outside of ASCII"},
        {"aGV\\", "it holds the character '\\'"},
        {"aGV\\u00", "it holds the character '\\'"},
        {"aGV\\u00zz", "it holds the character '\\'"},
        {" https://example.org/a.png", "is a URL that is not taken here"},
        {"data:image/png,aGVsbG8=", "without \";base64,\""},
        {"data:", "without \";base64,\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errmsg em;
        struct buf out = {0};
        const char *text = cases[i].text;
        assert_fails(picture_decode_base64(text, strlen(text), &out, &em), ERR_FORMAT,
                     cases[i].message);
        buf_deinit(&out);
    }
}

/* Escapes, line breaks and plain stretches at every distance from the borders of pieces. */
static void test_long_base64(void **state)
{
    (void)state;
    struct errmsg em;
    uint8_t bytes[6000];
    struct buf plain = {0}, text = {0}, out = {0};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * i * 31 + i);
    assert_ok(base64_encode(bytes, sizeof bytes, &plain, &em));
    for (size_t step = 1; step < 1500; step += 37) {
        text.len = out.len = 0;
        for (size_t i = 0; i < plain.len; i++) {
            if (i % step == step - 1)
                assert_ok(buf_append(&text, "\\r\\n", 4, &em));
            assert_ok(buf_append(&text, plain.ptr + i, 1, &em));
        }
        assert_ok(picture_decode_base64((char *)text.ptr, text.len, &out, &em));
        assert_int_equal(out.len, sizeof bytes);
        assert_memory_equal(out.ptr, bytes, sizeof bytes);
    }
    buf_deinit(&plain);
    buf_deinit(&text);
    buf_deinit(&out);
}

static void encode(size_t width_px, size_t height_px, enum image_format format, struct buf *out)
{
    struct errmsg em;
    struct image img;
    assert_ok(image_init(&img, width_px, height_px, &em));
    for (size_t i = 0; i < width_px * height_px * 3; i++)
        img.rgb[i] = (uint8_t)(i * 7);
    assert_ok(image_encode(&img, format, 90, NULL, out, &em));
    image_deinit(&img);
}

static void test_pictures_are_looked_at(void **state)
{
    (void)state;
    struct errmsg em;
    enum image_format format;
    size_t w, h;
    for (int i = 0; i < 3; i++) {
        struct buf file = {0};
        encode(80, 64, (enum image_format)i, &file);
        assert_ok(picture_check(file.ptr, file.len, &format, &w, &h, &em));
        assert_true((int)format == i && w == 80 && h == 64);
        assert_int_equal(picture_check(file.ptr, file.len / 2, &format, &w, &h, &em), ERR_FORMAT);
        buf_deinit(&file);
    }
}

static void test_shapes_of_pictures(void **state)
{
    (void)state;
    struct errmsg em;
    enum image_format format;
    size_t w, h;
    struct buf small = {0}, long_one = {0}, longest = {0};
    encode(63, 100, IMAGE_PNG, &small);
    assert_fails(picture_check(small.ptr, small.len, &format, &w, &h, &em), ERR_FORMAT,
                 "63x100 pixels: each side must have at least 64");
    encode(513, 64, IMAGE_PNG, &long_one);
    assert_fails(picture_check(long_one.ptr, long_one.len, &format, &w, &h, &em), ERR_FORMAT,
                 "8:1");
    encode(512, 64, IMAGE_PNG, &longest);
    assert_ok(picture_check(longest.ptr, longest.len, &format, &w, &h, &em));
    assert_fails(picture_check("GIF89a", 6, &format, &w, &h, &em), ERR_FORMAT,
                 "not a PNG, JPEG or WebP");
    assert_fails(picture_check(NULL, 0, &format, &w, &h, &em), ERR_FORMAT, "empty");
    buf_deinit(&small);
    buf_deinit(&long_one);
    buf_deinit(&longest);
}

/* ---- signed URLs ---- */

static void test_signatures(void **state)
{
    (void)state;
    const char *name = "0123456789abcdef0123456789abcdef.png";
    char s[URL_SIGNATURE_CHARS + 1], other[URL_SIGNATURE_CHARS + 1];
    int64_t expires_s;
    url_sign("secret", name, 2000000000, s);
    assert_int_equal(url_verify("secret", name, "2000000000", s, 1, &expires_s), ERR_OK);
    assert_int_equal(expires_s, 2000000000);
    assert_int_equal(url_verify("secret", name, "2000000000", s, 2000000000, &expires_s),
                     ERR_NOTFOUND);
    assert_int_equal(url_verify("secret", name, "2000000001", s, 1, &expires_s), ERR_DENIED);
    assert_int_equal(url_verify("Secret", name, "2000000000", s, 1, &expires_s), ERR_DENIED);
    assert_int_equal(url_verify("secret", "0123456789abcdef0123456789abcdee.png", "2000000000", s,
                                1, &expires_s),
                     ERR_DENIED);
    assert_int_equal(url_verify("secret", "../../etc/passwd", "2000000000", s, 1, &expires_s),
                     ERR_DENIED);
    static const char *const numbers[] = {
        "", "-2000000000", "02000000000", "2000000000 ", "0x77359400", "99999999999999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_int_equal(url_verify("secret", name, numbers[i], s, 1, &expires_s), ERR_DENIED);
    assert_int_equal(url_verify("secret", name, NULL, s, 1, &expires_s), ERR_DENIED);
    assert_int_equal(url_verify("secret", name, "2000000000", NULL, 1, &expires_s), ERR_DENIED);
    memcpy(other, s, sizeof other);
    other[URL_SIGNATURE_CHARS - 1] ^= 1;
    assert_int_equal(url_verify("secret", name, "2000000000", other, 1, &expires_s), ERR_DENIED);
    other[URL_SIGNATURE_CHARS - 1] = 0;
    assert_int_equal(url_verify("secret", name, "2000000000", other, 1, &expires_s), ERR_DENIED);
}

static void test_hosts(void **state)
{
    (void)state;
    static const char *const good[] = {"localhost", "draw.example.org:8080", "127.0.0.1:1",
                                       "[::1]",     "[fe80::1]:65535",       "a_b-c"};
    static const char *const bad[] = {"",          ":80",  "a b",   "a/b",     "a@b", "a\"b",
                                      "a\r\nX: y", "[::1", "[]",    "[::1]x",  "a:",  "a:123456",
                                      "a:1:2",     "a?b",  "a:80/", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(host_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(host_valid(bad[i]));
    char longest[300];
    memset(longest, 'a', sizeof longest);
    longest[256] = 0;
    assert_false(host_valid(longest));
    longest[255] = 0;
    assert_true(host_valid(longest));
}

/* ---- rates ---- */

static struct rate_state take(struct rates *r, int64_t key, int64_t rate, double now_s)
{
    struct errmsg em;
    struct rate_state s;
    assert_ok(rates_take(r, key, rate, now_s, &s, &em));
    return s;
}

static void test_burst_and_minute(void **state)
{
    (void)state;
    struct errmsg em;
    struct rates *r;
    assert_ok(rates_new(&r, &em));
    for (int i = 0; i < 10; i++) {
        struct rate_state s = take(r, 1, 50, 100);
        assert_true(s.allowed);
        assert_int_equal(s.remaining, 49 - i);
    }
    struct rate_state s = take(r, 1, 50, 100);
    assert_false(s.allowed);
    assert_int_equal(s.retry_after_s, 1);
    assert_int_equal(s.limit, 50);
    assert_int_equal(s.remaining, 40);
    assert_int_equal(s.reset_s, 12);
    /* a second later ten more, until the minute's are gone */
    int n = 10;
    for (double now_s = 101; now_s < 106; now_s++)
        while (take(r, 1, 50, now_s).allowed)
            n++;
    assert_int_equal(n, 54);
    s = take(r, 1, 50, 105.5);
    assert_false(s.allowed);
    assert_int_equal(s.retry_after_s, 1);
    assert_int_equal(s.remaining, 0);
    assert_true(take(r, 2, 50, 106).allowed);
    assert_true(take(r, 1, 50, 108).allowed);
    rates_free(r);
}

static void test_small_and_no_rates(void **state)
{
    (void)state;
    struct errmsg em;
    struct rates *r;
    assert_ok(rates_new(&r, &em));
    assert_true(take(r, 1, 1, 5).allowed);
    struct rate_state s = take(r, 1, 1, 5);
    assert_true(!s.allowed && s.retry_after_s == 60 && s.remaining == 0);
    assert_true(take(r, 1, 1, 65).allowed);
    /* the operator gives more: at once */
    for (int i = 0; i < 100; i++)
        assert_true(take(r, 1, 0, 65).allowed);
    /* a clock that stands still, or goes back, gives nothing */
    assert_false(take(r, 1, 1, 3).allowed);
    /* 6000 a minute are a hundred a second, not ten */
    for (int i = 0; i < 100; i++)
        assert_true(take(r, 2, 6000, 1).allowed);
    assert_false(take(r, 2, 6000, 1).allowed);
    rates_free(r);
}

static void test_many_keys(void **state)
{
    (void)state;
    struct errmsg em;
    struct rates *r;
    assert_ok(rates_new(&r, &em));
    for (int64_t key = 1; key < 1000; key++)
        assert_true(take(r, key, 1, 1).allowed);
    for (int64_t key = 1; key < 1000; key++)
        assert_false(take(r, key, 1, 1).allowed);
    rates_free(r);
}

/* ---- routes ---- */

static const struct route *find(const char *method, const char *path, char *arg, char *allow)
{
    char args[API_PATH_ARGS_MAX][API_PATH_ARG_CHARS] = {{0}};
    size_t index;
    const struct route *route = routes_find(method, path, args, &index, allow, 80);
    if (route)
        assert_ptr_equal(routes_at(index), route);
    memcpy(arg, args[0], API_PATH_ARG_CHARS);
    return route;
}

static void test_routes(void **state)
{
    (void)state;
    char arg[API_PATH_ARG_CHARS], allow[80];
    const struct route *r = find("GET", "/v1/ai/text-to-image/flux-2-pro/abc", arg, allow);
    assert_non_null(r);
    assert_string_equal(r->pattern, "/v1/ai/text-to-image/flux-2-pro/{task-id}");
    assert_string_equal(arg, "abc");
    assert_ptr_equal(find("HEAD", "/v1/ai/text-to-image/flux-2-pro/abc", arg, allow), r);
    assert_null(find("PUT", "/v1/ai/text-to-image/flux-2-pro/abc", arg, allow));
    assert_string_equal(allow, "GET, HEAD, DELETE, OPTIONS");
    assert_null(find("GET", "/v1/ai/text-to-image/flux-2-pro/", arg, allow));
    assert_string_equal(allow, "");
    assert_null(find("GET", "/v1/ai/text-to-image/flux-2-pro/a/b", arg, allow));
    assert_null(find("GET", "/v1/tasks//events", arg, allow));
    assert_non_null(find("GET", "/v1/tasks/x/events", arg, allow));
    assert_non_null(find("GET", "/", arg, allow));
    char longest[200] = "/v1/files/";
    memset(longest + 10, 'a', API_PATH_ARG_CHARS);
    assert_null(find("GET", longest, arg, allow));
    longest[10 + API_PATH_ARG_CHARS - 1] = 0;
    assert_non_null(find("GET", longest, arg, allow));
}

/* A path is answered by one route: no two patterns take the same. */
static void test_patterns_do_not_overlap(void **state)
{
    (void)state;
    char arg[API_PATH_ARG_CHARS], allow[80];
    for (size_t i = 0; i < routes_count(); i++) {
        const struct route *r = routes_at(i);
        assert_ptr_equal(find(r->method, r->pattern, arg, allow), r);
    }
}

/* ---- times ---- */

static void test_times(void **state)
{
    (void)state;
    json_t *t = json_time(1767225600123), *none = json_time(0);
    assert_string_equal(json_string_value(t), "2026-01-01T00:00:00.123Z");
    assert_true(json_is_null(none));
    json_decref(t);
    json_decref(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pictures_stay_where_they_are),
        cmocka_unit_test(test_a_name_may_be_spelled_with_escapes),
        cmocka_unit_test(test_values_that_look_like_names),
        cmocka_unit_test(test_a_picture_of_another_type),
        cmocka_unit_test(test_bodies_that_are_refused),
        cmocka_unit_test(test_bodies_have_bounds),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_booleans_and_choices),
        cmocka_unit_test(test_faults_are_bounded),
        cmocka_unit_test(test_base64_as_clients_write_it),
        cmocka_unit_test(test_what_is_no_base64),
        cmocka_unit_test(test_long_base64),
        cmocka_unit_test(test_pictures_are_looked_at),
        cmocka_unit_test(test_shapes_of_pictures),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_burst_and_minute),
        cmocka_unit_test(test_small_and_no_rates),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_patterns_do_not_overlap),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Texts that travel in picture files: there and back in all three formats, and what
 * other programs have written. */
#include "image_test.h"

#include "image/image_impl.h"
#include "image/xmp_impl.h"

/* A file of that format carrying these texts. */
static struct buf file_with(enum image_format f, const struct image_texts *texts)
{
    struct errmsg em;
    struct image img = picture_smooth(16, 12);
    struct buf b = {0};
    assert_ok(image_encode(&img, f, 90, texts, &b, &em));
    image_deinit(&img);
    return b;
}

/* The file reads as these texts, in their order, and as a picture. */
static void check_texts(const struct buf *file, const struct image_texts *expected)
{
    struct errmsg em;
    struct image_texts t;
    struct image img;
    assert_ok(image_texts_read(file->ptr, file->len, &t, &em));
    assert_int_equal(t.n, expected->n);
    for (size_t i = 0; i < t.n; i++) {
        assert_string_equal(t.items[i].key, expected->items[i].key);
        assert_string_equal(t.items[i].value, expected->items[i].value);
    }
    image_texts_deinit(&t);
    assert_ok(image_decode(file->ptr, file->len, &img, &em));
    image_deinit(&img);
}

static void check_round_trip(const struct image_texts *texts)
{
    for (size_t f = 0; f < 3; f++) {
        struct buf file = file_with(all_formats[f], texts);
        check_texts(&file, texts);
        buf_deinit(&file);
    }
}

static void add(struct image_texts *t, const char *key, const char *value)
{
    struct errmsg em;
    assert_ok(image_texts_add(t, key, value, &em));
}

static void test_ordinary_texts(void **state)
{
    (void)state;
    struct image_texts t = {0};
    check_round_trip(&t);
    add(&t, "prompt", "a red apple on a blue background");
    add(&t, "seed", "18446744073709551615");
    add(&t, "empty", "");
    add(&t, "_a.b-c_9", "odd but allowed");
    check_round_trip(&t);
    image_texts_deinit(&t);
}

static void test_nasty_texts(void **state)
{
    (void)state;
    static const char *const values[] = {
        "<easel:seed>1</easel:seed>",
        "]]> & &amp; &#65; &lt; \" ' <!-- --> <?xpacket end=\"w\"?>",
        " leading and trailing  \n",
        "\t tab \r\n return \r lone \n",
        "\x01\x02\x08\x0b\x0c\x0e\x1f\x7f",
        "_x0041_ _x005F_ _x005F_x0041_ _x0041\x07 __x0001__ _x00 _x_ _",
        "_x0041\x01_x0042\x02_",
        "caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 \xc2\x80\xc2\x9f",
        "\xef\xbf\xbe\xef\xbf\xbf\xef\xbb\xbf\xe2\x80\xa8\xf4\x8f\xbf\xbf",
        "\x1b[31mred\x1b[0m",
        "%s%n%d \\u0041 \\\\",
        "</x:xmpmeta>",
    };
    struct image_texts all = {0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct image_texts one = {0};
        char key[16];
        snprintf(key, sizeof key, "key%zu", i);
        add(&one, "prompt", values[i]);
        add(&all, key, values[i]);
        check_round_trip(&one);
        image_texts_deinit(&one);
    }
    check_round_trip(&all);
    image_texts_deinit(&all);
}

/* Every code point that UTF-8 can hold, but for NUL. */
static void test_every_character(void **state)
{
    (void)state;
    struct errmsg em;
    struct image_texts t = {0};
    struct buf b = {0};
    unsigned n = 0;
    for (uint32_t v = 1; v <= 0x10ffff; v++) {
        if (v >= 0xd800 && v <= 0xdfff)
            continue;
        assert_ok(utf8_append(&b, v, &em));
        if (b.len > 900000 || v == 0x10ffff) {
            char key[16];
            snprintf(key, sizeof key, "part%u", n++);
            add(&t, key, (char *)b.ptr);
            b.len = 0;
        }
    }
    check_round_trip(&t);
    buf_deinit(&b);
    image_texts_deinit(&t);
}

static char *long_value(size_t len, const char *pattern)
{
    char *s = malloc(len + 1);
    assert_non_null(s);
    for (size_t i = 0; i < len; i++)
        s[i] = pattern[i % strlen(pattern)];
    s[len] = 0;
    return s;
}

/* A JPEG segment ends at 64 KB: every length about that point, and far beyond. */
static void test_long_texts(void **state)
{
    (void)state;
    static const size_t lengths[] = {1000,  64800, 64900,      64950,  65000,   65050, 65100,
                                     65200, 65300, 65400,      65500,  65533,   65534, 65535,
                                     65536, 65700, 128u << 10, 700000, 1u << 20};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct image_texts t = {0};
        char *s = long_value(lengths[i], "word and ");
        add(&t, "seed", "7");
        add(&t, "prompt", s);
        add(&t, "after", "still here");
        check_round_trip(&t);
        free(s);
        image_texts_deinit(&t);
    }
}

/* 8 MiB, some of it characters that take seven bytes each in XML. */
static void test_as_much_as_is_allowed(void **state)
{
    (void)state;
    struct errmsg em;
    struct image_texts t = {0};
    char *s = long_value(1u << 20, "plain");
    char *longer = long_value(1u << 20, "\x01");
    for (int i = 0; i < 8; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        add(&t, key, i < 6 ? s : longer);
    }
    assert_fails(image_texts_add(&t, "more", "x", &em), ERR_USAGE, "is too much");
    struct buf jpeg = file_with(IMAGE_JPEG, &t);
    check_texts(&jpeg, &t);
    buf_deinit(&jpeg);
    image_texts_deinit(&t);
    for (int i = 0; i < 256; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        add(&t, key, "v");
    }
    assert_fails(image_texts_add(&t, "k256", "v", &em), ERR_USAGE, "is too much");
    add(&t, "k7", "replaced");
    check_round_trip(&t);
    image_texts_deinit(&t);
    free(s);
    free(longer);
}

static void test_add_judges(void **state)
{
    (void)state;
    struct errmsg em;
    struct image_texts t = {0};
    static const char *const bad_keys[] = {"", "1a", "a b", "a:b", "-a", "caf\xc3\xa9", "a\n"};
    for (size_t i = 0; i < sizeof bad_keys / sizeof *bad_keys; i++)
        assert_fails(image_texts_add(&t, bad_keys[i], "v", &em), ERR_USAGE, "cannot be the name");
    char *key = long_value(80, "k");
    assert_fails(image_texts_add(&t, key, "v", &em), ERR_USAGE, "at most 79");
    key[79] = 0;
    add(&t, key, "v");
    assert_fails(image_texts_add(&t, "k", "\xff", &em), ERR_USAGE, "not valid UTF-8");
    assert_fails(image_texts_add(&t, "k", "\xed\xa0\x80", &em), ERR_USAGE, "not valid UTF-8");
    assert_fails(image_texts_add(&t, "k", "\xc0\x80", &em), ERR_USAGE, "not valid UTF-8");
    assert_fails(image_texts_add(&t, "k", "\xf4\x90\x80\x80", &em), ERR_USAGE, "not valid UTF-8");
    add(&t, "k", "first");
    add(&t, "k", "second");
    assert_int_equal(t.n, 2);
    assert_string_equal(image_texts_find(&t, "k"), "second");
    assert_null(image_texts_find(&t, "other"));
    assert_null(image_texts_find(NULL, "other"));
    image_texts_deinit(&t);
    image_texts_deinit(NULL);
    free(key);
}

static void test_png_of_pillow(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf file = fixture("texts/pillow.png");
    struct image_texts t;
    assert_ok(image_texts_read(file.ptr, file.len, &t, &em));
    assert_int_equal(t.n, 4);
    assert_string_equal(image_texts_find(&t, "plain"), "caf\xc3\xa9 au lait");
    assert_int_equal(strlen(image_texts_find(&t, "packed")), 8000);
    assert_string_equal(image_texts_find(&t, "international"),
                        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\x9f\x98\x80");
    assert_int_equal(strlen(image_texts_find(&t, "international packed")), 6000);
    buf_deinit(&file);
    /* a key that is no XML name is escaped in XMP, and comes back */
    struct buf jpeg = file_with(IMAGE_JPEG, &t);
    check_texts(&jpeg, &t);
    buf_deinit(&jpeg);
    image_texts_deinit(&t);
}

static void test_xmp_of_others(void **state)
{
    (void)state;
    static const char *const names[] = {"texts/foreign.jpg", "texts/foreign.webp"};
    for (int i = 0; i < 2; i++) {
        struct errmsg em;
        struct buf file = fixture(names[i]);
        struct image_texts t;
        assert_ok(image_texts_read(file.ptr, file.len, &t, &em));
        assert_int_equal(t.n, 4);
        assert_string_equal(image_texts_find(&t, "seed"), "42");
        assert_string_equal(image_texts_find(&t, "quoted"), "say \"hi\" & go");
        assert_string_equal(image_texts_find(&t, "prompt"), "one <two> &amp; \xf0\x9f\x98\x80"
                                                            "A three");
        assert_string_equal(image_texts_find(&t, "empty"), "");
        image_texts_deinit(&t);
        buf_deinit(&file);
    }
}

static struct image_texts xmp_texts(const char *xmp)
{
    struct errmsg em;
    struct image_texts t = {0};
    assert_ok(image_xmp_read((const uint8_t *)xmp, strlen(xmp), &t, NULL, &em));
    return t;
}

#define OPEN "<r xmlns:q='" XMP_NAMESPACE "'>"

/* Nothing that a packet says may do more than be ignored. */
static void test_hostile_xmp(void **state)
{
    (void)state;
    static const struct {
        const char *xmp, *value; /* value of key "k"; NULL: none */
    } cases[] = {
        {"", NULL},
        {"<", NULL},
        {"<<<<", NULL},
        {"<!-- never ends", NULL},
        {"<![CDATA[ never ends", NULL},
        {"<r xmlns:q='" XMP_NAMESPACE, NULL},
        {OPEN "<q:k>never ends", NULL},
        {OPEN "<q:k>wrong</q:l>", NULL},
        {OPEN "<q:k", NULL},
        {OPEN "<q:k>a</q:k", NULL},
        {OPEN "<q:k>a<![CDATA[b</q:k>", NULL},
        {OPEN "<q:k>a</q:k>", "a"},
        {OPEN "<q:k>a<b>b<c/></b></q:k>", "ab"},
        {OPEN "<q:k>1</q:k><q:k>2</q:k>", "1"},
        {OPEN "<q:k>&#0;&#xD800;&#x110000;&#99999999;</q:k>",
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {OPEN "<q:k>&#;&#x;&#12a;&;&unknown;&#123456789012345;&</q:k>",
         "&#;&#x;&#12a;&;&unknown;&#123456789012345;&"},
        {OPEN "<q:k>_x0000_ _xD800_ _x004_ _x00g1_ _x0041</q:k>",
         "_x0000_ _xD800_ _x004_ _x00g1_ _x0041"},
        {OPEN "<q:k>\xff\xc3</q:k>", "\xef\xbf\xbd\xef\xbf\xbd"},
        {OPEN "<x q:k='a' q:l=>", "a"},
        {OPEN "<x q:k=\"a>b\">", "a>b"},
        {"<r xmlns='" XMP_NAMESPACE "'><k>a</k>", NULL},
        {"<r xmlns:q='" XMP_NAMESPACE "evil'><q:k>a</q:k>", NULL},
        {"<!DOCTYPE x [<!ENTITY e 'boom'>]>" OPEN "<q:k>&e;</q:k>", "&e;"},
        {OPEN "<q:>a</q:><q:k>b</q:k>", "b"},
        {OPEN "<q:k/>", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct image_texts t = xmp_texts(cases[i].xmp);
        const char *v = image_texts_find(&t, "k");
        const char *expected = cases[i].value;
        if ((v == NULL) != (expected == NULL) || (v && strcmp(v, expected) != 0))
            fail_msg("%s: \"%s\", expected \"%s\"", cases[i].xmp, v ? v : "(none)",
                     expected ? expected : "(none)");
        image_texts_deinit(&t);
    }
}

/* Endless repetition costs no endless time, and leaves a bounded list. */
static void test_xmp_of_many_elements(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf b = {0};
    assert_ok(buf_printf(&b, &em, OPEN));
    for (int i = 0; i < 100000; i++)
        assert_ok(buf_printf(&b, &em, "<q:k%d>v</q:k%d>", i, i));
    struct image_texts t = xmp_texts((char *)b.ptr);
    assert_int_equal(t.n, IMAGE_TEXTS_MAX);
    image_texts_deinit(&t);
    buf_deinit(&b);
}

/* A part missing, out of place or of another packet: the main packet still reads. */
static void test_damaged_extension(void **state)
{
    (void)state;
    struct errmsg em;
    struct image_texts t = {0}, seen;
    char *s = long_value(200000, "x");
    add(&t, "seed", "7");
    add(&t, "prompt", s);
    struct buf file = file_with(IMAGE_JPEG, &t);
    uint8_t *part = memmem(file.ptr, file.len, "http://ns.adobe.com/xmp/extension/", 34);
    assert_non_null(part);
    part[35 + 32 + 7] ^= 1; /* the first part's offset */
    assert_ok(image_texts_read(file.ptr, file.len, &seen, &em));
    assert_string_equal(image_texts_find(&seen, "seed"), "7");
    assert_null(image_texts_find(&seen, "prompt"));
    image_texts_deinit(&seen);
    part[35 + 32 + 7] ^= 1;
    part[35] ^= 1; /* its GUID */
    assert_ok(image_texts_read(file.ptr, file.len, &seen, &em));
    assert_int_equal(seen.n, 1);
    image_texts_deinit(&seen);
    buf_deinit(&file);
    image_texts_deinit(&t);
    free(s);
}

static void test_md5(void **state)
{
    (void)state;
    char hex[33];
    image_md5_hex((const uint8_t *)"", 0, hex);
    assert_string_equal(hex, "D41D8CD98F00B204E9800998ECF8427E");
    image_md5_hex((const uint8_t *)"message digest", 14, hex);
    assert_string_equal(hex, "F96B697D7CB7938D525A2F31AAF161D0");
    const char *eighty = "1234567890123456789012345678901234567890"
                         "1234567890123456789012345678901234567890";
    image_md5_hex((const uint8_t *)eighty, 80, hex);
    assert_string_equal(hex, "57EDF4A22BE3C955AC49DA2E2107B67A");
}

static void test_no_texts_is_not_an_error(void **state)
{
    (void)state;
    static const char *const names[] = {"files/png_rgb8.png", "files/jpg_grey.jpg",
                                        "files/webp_lossy.webp", "files/webp_icc_alpha.webp"};
    for (int i = 0; i < 4; i++) {
        struct errmsg em;
        struct image_texts t;
        struct buf file = fixture(names[i]);
        assert_ok(image_texts_read(file.ptr, file.len, &t, &em));
        assert_int_equal(t.n, 0);
        image_texts_deinit(&t);
        buf_deinit(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary_texts),
        cmocka_unit_test(test_nasty_texts),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_as_much_as_is_allowed),
        cmocka_unit_test(test_add_judges),
        cmocka_unit_test(test_png_of_pillow),
        cmocka_unit_test(test_xmp_of_others),
        cmocka_unit_test(test_hostile_xmp),
        cmocka_unit_test(test_xmp_of_many_elements),
        cmocka_unit_test(test_damaged_extension),
        cmocka_unit_test(test_md5),
        cmocka_unit_test(test_no_texts_is_not_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

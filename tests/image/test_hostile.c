/* SPDX-License-Identifier: MIT */
/* Truncated, damaged and hostile files: each refused with a line that says why, and none
 * read by accident. */
#include "image_test.h"

#include "image/image_impl.h"

static void refuse(const void *bytes, size_t len, const char *needle)
{
    struct errmsg em;
    struct image img;
    assert_fails(image_decode(bytes, len, &img, &em), ERR_FORMAT, needle);
}

/* Every beginning of a file is refused. A copy of each length, so that a read past the
 * end is seen by the address sanitizer. */
static void check_every_beginning(const char *name, const char *needle)
{
    struct buf file = fixture(name);
    for (size_t n = 0; n < file.len; n += n < 64 || file.len - n < 64 ? 1 : 7) {
        uint8_t *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, file.ptr, n);
        struct errmsg em;
        struct image img;
        struct image_texts texts;
        enum image_format f;
        size_t w, h;
        enum err rc = image_decode(copy, n, &img, &em);
        if (rc != ERR_FORMAT)
            fail_msg("the first %zu bytes of %s: %d", n, name, (int)rc);
        if (n >= 12 && !strstr(em.text, needle) && !strstr(em.text, "early") &&
            !strstr(em.text, "truncated"))
            fail_msg("the first %zu bytes of %s: \"%s\"", n, name, em.text);
        (void)!image_probe(copy, n, &f, &w, &h, &em);
        if (image_texts_read(copy, n, &texts, &em) == ERR_OK)
            image_texts_deinit(&texts);
        free(copy);
    }
    buf_deinit(&file);
}

static void test_truncated_png(void **state)
{
    (void)state;
    check_every_beginning("files/png_rgba8.png", "truncated");
    check_every_beginning("files/png_rgb8_interlaced.png", "truncated");
    check_every_beginning("files/png_exif6.png", "truncated");
}

static void test_truncated_jpeg(void **state)
{
    (void)state;
    check_every_beginning("files/jpg_baseline_420.jpg", "damaged");
    check_every_beginning("files/jpg_progressive_444.jpg", "damaged");
    check_every_beginning("files/jpg_cmyk.jpg", "damaged");
}

static void test_truncated_webp(void **state)
{
    (void)state;
    check_every_beginning("files/webp_lossy_alpha.webp", "truncated");
    check_every_beginning("files/webp_lossless.webp", "truncated");
    check_every_beginning("files/webp_animated.webp", "truncated");
}

/* One byte changed, each step bytes: an error or a picture of the probed size, never
 * more. Setting up a profile takes milliseconds, so files with one take larger steps. */
static void check_changed_bytes(const char *name, size_t step)
{
    struct buf file = fixture(name);
    for (size_t i = 0; i < file.len; i += step) {
        struct errmsg em;
        struct image img;
        enum image_format f;
        size_t w, h;
        uint8_t old = file.ptr[i];
        file.ptr[i] ^= (uint8_t)(1u << i / step % 8);
        enum err probed = image_probe(file.ptr, file.len, &f, &w, &h, &em);
        if (probed || w * h < (1u << 20)) {
            enum err rc = image_decode(file.ptr, file.len, &img, &em);
            assert_false(rc == ERR_OK && probed != ERR_OK);
            if (rc == ERR_OK) {
                assert_int_equal(img.width_px, w);
                assert_int_equal(img.height_px, h);
                image_deinit(&img);
            } else {
                assert_true(rc == ERR_FORMAT || rc == ERR_UNSUPPORTED);
            }
        }
        file.ptr[i] = old;
    }
    buf_deinit(&file);
}

static void test_changed_bytes(void **state)
{
    (void)state;
    check_changed_bytes("files/png_palette8_trns.png", 1);
    check_changed_bytes("files/png_icc_rgb.png", 29);
    check_changed_bytes("files/jpg_exif6.jpg", 1);
    check_changed_bytes("files/jpg_progressive_420.jpg", 1);
    check_changed_bytes("files/webp_icc_alpha.webp", 29);
    check_changed_bytes("files/webp_animated_small_frame.webp", 1);
}

static void test_other_files(void **state)
{
    (void)state;
    refuse("", 0, "is empty");
    refuse("GIF89a..........", 16, "not a PNG, JPEG or WebP picture");
    refuse("\x89PNG", 4, "not a PNG, JPEG or WebP");
    refuse("RIFF\x10\0\0\0WAVEfmt ", 16, "not a PNG, JPEG or WebP");
    refuse("\xff\xd8\xff\xd9", 4, "damaged");
    refuse("\x89PNG\r\n\x1a\n", 8, "truncated");
}

/* ---- PNG --------------------------------------------------------------------- */

static void write32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void chunk_append(struct buf *b, const char *type, const void *data, size_t len)
{
    struct errmsg em;
    uint8_t n[4];
    size_t start = b->len + 4;
    write32(n, (uint32_t)len);
    assert_ok(buf_append(b, n, 4, &em));
    assert_ok(buf_append(b, type, 4, &em));
    assert_ok(buf_append(b, data, len, &em));
    write32(n, (uint32_t)crc32(0, b->ptr + start, (unsigned)(len + 4)));
    assert_ok(buf_append(b, n, 4, &em));
}

/* A PNG of that size whose only pixel data is the given zlib stream. */
static struct buf png_file(uint32_t w, uint32_t h, const void *data, size_t len)
{
    struct errmsg em;
    struct buf b = {0};
    uint8_t head[13] = {[8] = 8, [9] = 2};
    write32(head, w);
    write32(head + 4, h);
    assert_ok(buf_append(&b, "\x89PNG\r\n\x1a\n", 8, &em));
    chunk_append(&b, "IHDR", head, 13);
    chunk_append(&b, "IDAT", data, len);
    chunk_append(&b, "IEND", "", 0);
    return b;
}

static void check_png_size(uint32_t w, uint32_t h, const char *needle)
{
    struct buf b = png_file(w, h, "x", 1);
    struct errmsg em;
    enum image_format f;
    size_t sw, sh;
    refuse(b.ptr, b.len, needle);
    assert_fails(image_probe(b.ptr, b.len, &f, &sw, &sh, &em), ERR_FORMAT, needle);
    buf_deinit(&b);
}

static void test_png_bombs(void **state)
{
    (void)state;
    check_png_size(100000, 100000, "too large: 100000×100000, at most 67 million pixels");
    check_png_size(8192, 8193, "too large: 8192×8193");
    check_png_size(0x7fffffff, 0x7fffffff, "too large");
    check_png_size(0xffffffff, 1, "too large");
    check_png_size(0, 5, "0×5 pixels");
}

static void test_png_pixel_data(void **state)
{
    (void)state;
    uint8_t zeros[4096] = {0}, packed[256];
    uLongf n = sizeof packed;
    assert_int_equal(compress2(packed, &n, zeros, 31 * 10, 9), Z_OK);
    struct buf b = png_file(10, 10, packed, n); /* exactly what 10×10 needs */
    struct errmsg em;
    struct image img;
    assert_ok(image_decode(b.ptr, b.len, &img, &em));
    image_deinit(&img);
    buf_deinit(&b);
    b = png_file(10, 11, packed, n);
    refuse(b.ptr, b.len, "the PNG is damaged: ");
    buf_deinit(&b);
    b = png_file(10, 10, packed, n - 6);
    refuse(b.ptr, b.len, "the PNG is damaged: ");
    buf_deinit(&b);
    b = png_file(10, 10, "garbage here", 12);
    refuse(b.ptr, b.len, "the PNG is damaged: ");
    b.ptr[29] ^= 1; /* IHDR's check sum */
    refuse(b.ptr, b.len, "header (IHDR) is damaged");
    buf_deinit(&b);
}

/* A text that inflates to gigabytes, a thousand times: passed over, quickly. */
static void test_png_text_bombs(void **state)
{
    (void)state;
    struct errmsg em;
    size_t n_zeros = 16u << 20;
    uint8_t *zeros = calloc(n_zeros, 1);
    uLongf n = compressBound(n_zeros);
    uint8_t *data = malloc(n + 8);
    assert_true(zeros && data);
    memset(zeros, 'a', n_zeros);
    memcpy(data, "bomb\0\0", 6);
    assert_int_equal(compress2(data + 6, &n, zeros, n_zeros, 9), Z_OK);
    struct buf b = png_file(4, 4, "x", 1);
    b.len -= 12;
    for (int i = 0; i < 1000; i++)
        chunk_append(&b, "zTXt", data, n + 6);
    chunk_append(&b, "IEND", "", 0);
    struct image_texts t;
    assert_ok(image_texts_read(b.ptr, b.len, &t, &em));
    assert_int_equal(t.n, 0);
    image_texts_deinit(&t);
    refuse(b.ptr, b.len, "damaged");
    buf_deinit(&b);
    free(zeros);
    free(data);
}

static void test_png_odd_texts(void **state)
{
    (void)state;
    static const struct {
        const char *type, *data;
        size_t len;
        const char *key, *value; /* NULL: passed over */
    } cases[] = {
        {"tEXt", "k\0v", 3, "k", "v"},
        {"tEXt", "k\0", 2, "k", ""},
        {"tEXt", "k", 1, NULL, NULL},
        {"tEXt", "", 0, NULL, NULL},
        {"tEXt", "\0v", 2, NULL, NULL},
        {"tEXt", "k\0a\0b", 5, "k", "a"},
        {"tEXt", "caf\xe9\0v", 6, NULL, NULL},
        {"tEXt", "k\0\xe9", 3, "k", "\xc3\xa9"},
        {"zTXt", "k\0", 2, NULL, NULL},
        {"zTXt", "k\0\1abc", 6, NULL, NULL},
        {"zTXt", "k\0\0abc", 6, NULL, NULL},
        {"iTXt", "k\0\0\0\0\0v", 7, "k", "v"},
        {"iTXt", "k\0\0\0en\0x\0\xff", 10, "k", "\xef\xbf\xbd"},
        {"iTXt", "k\0\0\0\0v", 6, NULL, NULL},
        {"iTXt", "k\0\2\0\0\0v", 7, NULL, NULL},
        {"iTXt", "k\0", 2, NULL, NULL},
        {"iTXt", "k\0\0", 3, NULL, NULL},
        {"iTXt", "k\0\1\0\0\0v", 7, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct errmsg em;
        struct image_texts t;
        struct buf b = png_file(4, 4, "x", 1);
        chunk_append(&b, cases[i].type, cases[i].data, cases[i].len);
        assert_ok(image_texts_read(b.ptr, b.len, &t, &em));
        if (t.n != (cases[i].key ? 1 : 0))
            fail_msg("case %zu: %zu texts", i, t.n);
        if (cases[i].key)
            assert_string_equal(image_texts_find(&t, cases[i].key), cases[i].value);
        image_texts_deinit(&t);
        b.ptr[b.len - 1] ^= 1; /* the check sum */
        assert_ok(image_texts_read(b.ptr, b.len, &t, &em));
        assert_int_equal(t.n, 0);
        image_texts_deinit(&t);
        buf_deinit(&b);
    }
}

/* ---- JPEG -------------------------------------------------------------------- */

static void test_jpeg_bomb(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf file = fixture("files/jpg_baseline_444.jpg");
    uint8_t *sof = memmem(file.ptr, file.len, "\xff\xc0", 2);
    assert_non_null(sof);
    memcpy(sof + 5, "\xff\x00\xff\x00", 4);
    refuse(file.ptr, file.len, "too large: 65280×65280");
    enum image_format f;
    size_t w, h;
    assert_fails(image_probe(file.ptr, file.len, &f, &w, &h, &em), ERR_FORMAT, "too large");
    memcpy(sof + 5, "\0\x1d\0\0", 4);
    refuse(file.ptr, file.len, "damaged");
    buf_deinit(&file);
}

/* A progressive file's first scan, then n scans of one empty coefficient each: a table
 * whose only code, 0, ends a block; 3 bytes of it for the 24 blocks. */
static struct buf jpeg_of_scans(int n)
{
    static const uint8_t table[22] = {0xff, 0xc4, 0, 20, 0x10, 1};
    struct errmsg em;
    struct buf file = fixture("files/jpg_progressive_444.jpg"), b = {0};
    uint8_t *first = memmem(file.ptr, file.len, "\xff\xda", 2);
    assert_non_null(first);
    size_t at = (size_t)(first - file.ptr) + 2;
    uint8_t *second = memmem(file.ptr + at, file.len - at, "\xff\xda", 2);
    assert_non_null(second);
    assert_ok(buf_append(&b, file.ptr, (size_t)(second - file.ptr), &em));
    assert_ok(buf_append(&b, table, sizeof table, &em));
    for (int i = 0; i < n; i++) {
        uint8_t k = (uint8_t)(1 + i % 63);
        const uint8_t scan[13] = {0xff, 0xda, 0, 8, 1, (uint8_t)(1 + i / 63), 0, k, k};
        assert_ok(buf_append(&b, scan, sizeof scan, &em));
    }
    assert_ok(buf_append(&b, "\xff\xd9", 2, &em));
    buf_deinit(&file);
    return b;
}

static void test_jpeg_of_many_scans(void **state)
{
    (void)state;
    struct errmsg em;
    struct image img;
    struct buf some = jpeg_of_scans(98), many = jpeg_of_scans(189);
    assert_ok(image_decode(some.ptr, some.len, &img, &em));
    image_deinit(&img);
    refuse(many.ptr, many.len, "the JPEG has more than 100 scans");
    buf_deinit(&some);
    buf_deinit(&many);
}

static void test_jpeg_kinds_that_are_not_read(void **state)
{
    (void)state;
    struct errmsg em;
    struct image img;
    struct buf file = fixture("files/jpg_baseline_444.jpg");
    uint8_t *sof = memmem(file.ptr, file.len, "\xff\xc0", 2);
    assert_non_null(sof);
    sof[4] = 12; /* bits */
    assert_fails(image_decode(file.ptr, file.len, &img, &em), ERR_UNSUPPORTED,
                 "this kind of JPEG is not supported: ");
    sof[4] = 8;
    sof[1] = 0xc3; /* lossless */
    assert_fails(image_decode(file.ptr, file.len, &img, &em), ERR_UNSUPPORTED,
                 "this kind of JPEG is not supported: ");
    buf_deinit(&file);
}

/* What careless programs leave behind a picture, or between its segments. */
static void test_jpeg_harmless_extras(void **state)
{
    (void)state;
    struct errmsg em;
    struct image img;
    struct buf file = fixture("files/jpg_baseline_444.jpg");
    assert_ok(buf_append(&file, "trailing bytes", 14, &em));
    assert_ok(image_decode(file.ptr, file.len, &img, &em));
    image_deinit(&img);
    buf_deinit(&file);
}

/* ---- WebP, EXIF --------------------------------------------------------------- */

static void test_webp_bomb(void **state)
{
    (void)state;
    struct buf file = fixture("files/webp_animated_small_frame.webp");
    memset(file.ptr + 24, 0xff, 3); /* the canvas: 2^24 wide; 4 bits keep the area in 32 */
    memset(file.ptr + 27, 0, 3);
    file.ptr[27] = 15;
    refuse(file.ptr, file.len, "too large: 16777216×16");
    memset(file.ptr + 24, 0, 6); /* 1×1: the frames lie outside */
    refuse(file.ptr, file.len, "the WebP is damaged");
    buf_deinit(&file);
}

static void test_webp_damaged(void **state)
{
    (void)state;
    struct buf file = fixture("files/webp_lossless.webp");
    file.ptr[20] = 0; /* VP8L's signature */
    refuse(file.ptr, file.len, "the WebP is damaged");
    file.ptr[20] = 0x2f;
    memset(file.ptr + 26, 0xaa, 40);
    refuse(file.ptr, file.len, "the WebP is damaged");
    buf_deinit(&file);
}

static void test_hostile_exif(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        unsigned orientation;
    } cases[] = {
        {"", 0, 1},
        {"Exif\0\0", 6, 1},
        {"II*\0\x08\0\0\0", 8, 1},
        {"II*\0\xff\xff\xff\xff", 8, 1},
        {"II*\0\x08\0\0\0\xff\xff", 10, 1},
        {"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 6},
        {"II*\0\x08\0\0\0\1\0\x12\1\4\0\1\0\0\0\6\0\0\0", 22, 6},
        {"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6", 19, 1},
        {"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0", 22, 1},
        {"II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\6\0\0\0", 22, 1},
        {"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x08\0\0", 22, 8},
        {"MM*\0\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x08\0\0", 22, 1},
        {"IM*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *copy = malloc(cases[i].len ? cases[i].len : 1);
        assert_non_null(copy);
        memcpy(copy, cases[i].bytes, cases[i].len);
        if (image_exif_orientation(copy, cases[i].len) != cases[i].orientation)
            fail_msg("case %zu", i);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated_png),
        cmocka_unit_test(test_truncated_jpeg),
        cmocka_unit_test(test_truncated_webp),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_png_bombs),
        cmocka_unit_test(test_png_pixel_data),
        cmocka_unit_test(test_png_text_bombs),
        cmocka_unit_test(test_png_odd_texts),
        cmocka_unit_test(test_jpeg_bomb),
        cmocka_unit_test(test_jpeg_of_many_scans),
        cmocka_unit_test(test_jpeg_kinds_that_are_not_read),
        cmocka_unit_test(test_jpeg_harmless_extras),
        cmocka_unit_test(test_webp_bomb),
        cmocka_unit_test(test_webp_damaged),
        cmocka_unit_test(test_hostile_exif),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

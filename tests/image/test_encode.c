/* SPDX-License-Identifier: MIT */
/* Pictures written and read back. */
#include "image_test.h"

/* decode(encode(in)), which must have in's size. */
static struct image there_and_back(const struct image *in, enum image_format f, int quality,
                                   size_t *n_bytes)
{
    struct errmsg em;
    struct buf file = {0};
    struct image out;
    enum image_format seen;
    size_t w, h;
    assert_ok(image_encode(in, f, quality, NULL, &file, &em));
    assert_ok(image_probe(file.ptr, file.len, &seen, &w, &h, &em));
    assert_int_equal(seen, f);
    assert_int_equal(w, in->width_px);
    assert_int_equal(h, in->height_px);
    assert_ok(image_decode(file.ptr, file.len, &out, &em));
    assert_int_equal(out.width_px, w);
    assert_int_equal(out.height_px, h);
    *n_bytes = file.len;
    buf_deinit(&file);
    return out;
}

static void check_loss(const struct image *in, enum image_format f, int quality, int most)
{
    size_t n_bytes;
    struct image out = there_and_back(in, f, quality, &n_bytes);
    int d = pixels_differ(in->rgb, out.rgb, in->width_px * in->height_px * 3);
    if (d > most)
        fail_msg("%s at quality %d: differs by %d, at most %d is allowed", image_format_name(f),
                 quality, d, most);
    image_deinit(&out);
}

static void test_lossless_formats_lose_nothing(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {1, 40}, {40, 1}, {7, 3}, {64, 48}, {333, 201}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct image in = picture_noise(sizes[i][0], sizes[i][1]);
        check_loss(&in, IMAGE_PNG, 0, 0);
        check_loss(&in, IMAGE_WEBP, 100, 0);
        image_deinit(&in);
    }
}

static void test_lossy_formats_lose_little(void **state)
{
    (void)state;
    struct image in = picture_smooth(120, 90);
    check_loss(&in, IMAGE_JPEG, 0, 8);
    check_loss(&in, IMAGE_JPEG, 100, 4);
    check_loss(&in, IMAGE_JPEG, 1, 255);
    check_loss(&in, IMAGE_WEBP, 0, 16);
    check_loss(&in, IMAGE_WEBP, 1, 255);
    image_deinit(&in);
}

static void test_quality_changes_the_size(void **state)
{
    (void)state;
    struct image in = picture_noise(64, 64);
    for (int f = IMAGE_JPEG; f <= IMAGE_WEBP; f++) {
        size_t low, high;
        struct image a = there_and_back(&in, (enum image_format)f, 20, &low);
        struct image b = there_and_back(&in, (enum image_format)f, 95, &high);
        assert_true(low < high);
        image_deinit(&a);
        image_deinit(&b);
    }
    image_deinit(&in);
}

/* Coloured columns one pixel wide: half-size chroma would smear them together. */
static void test_jpeg_has_full_chroma_from_90_on(void **state)
{
    (void)state;
    struct image in = picture_new(64, 64);
    for (size_t i = 0; i < 64 * 64; i++)
        memcpy(in.rgb + i * 3, i % 2 ? "\xe0\x40\x40" : "\x40\x40\xe0", 3);
    check_loss(&in, IMAGE_JPEG, 90, 24);
    size_t n;
    struct image out = there_and_back(&in, IMAGE_JPEG, 89, &n);
    assert_true(pixels_differ(in.rgb, out.rgb, 64 * 64 * 3) > 60);
    image_deinit(&out);
    image_deinit(&in);
}

static void test_same_input_gives_same_bytes(void **state)
{
    (void)state;
    struct errmsg em;
    struct image in = picture_noise(100, 80);
    struct image_texts texts = {0};
    assert_ok(image_texts_add(&texts, "prompt", "twice", &em));
    for (size_t f = 0; f < 3; f++) {
        struct buf a = {0}, b = {0};
        assert_ok(image_encode(&in, all_formats[f], 90, &texts, &a, &em));
        assert_ok(image_encode(&in, all_formats[f], 90, &texts, &b, &em));
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.ptr, b.ptr, a.len);
        buf_deinit(&a);
        buf_deinit(&b);
    }
    image_texts_deinit(&texts);
    image_deinit(&in);
}

static void test_output_is_appended(void **state)
{
    (void)state;
    struct errmsg em;
    struct image in = picture_smooth(9, 9), out;
    for (size_t f = 0; f < 3; f++) {
        struct buf b = {0};
        assert_ok(buf_append(&b, "before", 6, &em));
        assert_ok(image_encode(&in, all_formats[f], 90, NULL, &b, &em));
        assert_memory_equal(b.ptr, "before", 6);
        assert_ok(image_decode(b.ptr + 6, b.len - 6, &out, &em));
        image_deinit(&out);
        buf_deinit(&b);
    }
    image_deinit(&in);
}

static void test_what_a_format_cannot_hold(void **state)
{
    (void)state;
    struct errmsg em;
    struct image wide = picture_new(65501, 1), high = picture_new(1, 16384), out;
    memset(wide.rgb, 9, 65501 * 3);
    memset(high.rgb, 9, 16384 * 3);
    struct buf b = {0};
    assert_ok(buf_append(&b, "kept", 4, &em));
    assert_fails(image_encode(&wide, IMAGE_JPEG, 90, NULL, &b, &em), ERR_UNSUPPORTED,
                 "at most 65500 a side");
    assert_fails(image_encode(&high, IMAGE_WEBP, 90, NULL, &b, &em), ERR_UNSUPPORTED,
                 "at most 16383 a side");
    assert_fails(image_encode(&high, IMAGE_JPEG, 101, NULL, &b, &em), ERR_USAGE, "quality 101");
    assert_fails(image_encode(&high, IMAGE_JPEG, -1, NULL, &b, &em), ERR_USAGE, "quality -1");
    assert_int_equal(b.len, 4);
    b.len = 0;
    assert_ok(image_encode(&wide, IMAGE_PNG, 0, NULL, &b, &em));
    assert_ok(image_decode(b.ptr, b.len, &out, &em));
    assert_int_equal(out.width_px, 65501);
    image_deinit(&out);
    buf_deinit(&b);
    image_deinit(&wide);
    image_deinit(&high);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(image_format_name(IMAGE_PNG), "png");
    assert_string_equal(image_format_name(IMAGE_JPEG), "jpeg");
    assert_string_equal(image_format_name(IMAGE_WEBP), "webp");
    assert_string_equal(image_format_extension(IMAGE_PNG), ".png");
    assert_string_equal(image_format_extension(IMAGE_JPEG), ".jpg");
    assert_string_equal(image_format_extension(IMAGE_WEBP), ".webp");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lossless_formats_lose_nothing),
        cmocka_unit_test(test_lossy_formats_lose_little),
        cmocka_unit_test(test_quality_changes_the_size),
        cmocka_unit_test(test_jpeg_has_full_chroma_from_90_on),
        cmocka_unit_test(test_same_input_gives_same_bytes),
        cmocka_unit_test(test_output_is_appended),
        cmocka_unit_test(test_what_a_format_cannot_hold),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

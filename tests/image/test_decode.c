/* SPDX-License-Identifier: MIT */
/* Every kind of file against what Pillow reads from it. */
#include "image_test.h"

static void check_file(const char *name, size_t w, size_t h, int tolerance)
{
    struct errmsg em;
    char path[128];
    snprintf(path, sizeof path, "files/%s", name);
    struct buf file = fixture(path);
    snprintf(strrchr(path, '.'), 8, ".rgb");
    struct buf rgb = fixture(path);
    assert_int_equal(rgb.len, w * h * 3);

    enum image_format format;
    size_t probed_w, probed_h;
    struct image img;
    assert_ok(image_probe(file.ptr, file.len, &format, &probed_w, &probed_h, &em));
    assert_ok(image_decode(file.ptr, file.len, &img, &em));
    assert_string_equal(image_format_extension(format), strrchr(name, '.'));
    if (img.width_px != w || img.height_px != h || probed_w != w || probed_h != h)
        fail_msg("%s: decoded %zu×%zu, probed %zu×%zu, expected %zu×%zu", name, img.width_px,
                 img.height_px, probed_w, probed_h, w, h);
    int most = pixels_differ(img.rgb, rgb.ptr, rgb.len);
    if (most > tolerance)
        fail_msg("%s: differs by %d, at most %d is allowed", name, most, tolerance);
    image_deinit(&img);
    buf_deinit(&rgb);
    buf_deinit(&file);
}

/* The lines of decode.txt whose name starts with prefix. */
static void check_files(const char *prefix, int at_least)
{
    struct buf table = fixture("decode.txt");
    int n = 0;
    char *save, *line = strtok_r((char *)table.ptr, "\n", &save);
    for (; line; line = strtok_r(NULL, "\n", &save)) {
        char name[64];
        size_t w, h;
        int tolerance;
        assert_int_equal(sscanf(line, "%63s %zu %zu %d", name, &w, &h, &tolerance), 4);
        if (strncmp(name, prefix, strlen(prefix)) != 0)
            continue;
        check_file(name, w, h, tolerance);
        n++;
    }
    assert_true(n >= at_least);
    buf_deinit(&table);
}

static void test_png_kinds(void **state)
{
    (void)state;
    check_files("png_grey", 11);
    check_files("png_rgb", 8);
    check_files("png_palette", 12);
}

static void test_png_alpha_every_value(void **state)
{
    (void)state;
    check_files("png_alpha", 1);
}

static void test_png_profiles(void **state)
{
    (void)state;
    check_files("png_icc", 5);
}

static void test_png_orientations(void **state)
{
    (void)state;
    check_files("png_exif", 8);
}

static void test_jpeg_kinds(void **state)
{
    (void)state;
    check_files("jpg_baseline", 3);
    check_files("jpg_progressive", 3);
    check_files("jpg_restart", 1);
    check_files("jpg_grey", 1);
    check_files("jpg_rgb", 1);
}

static void test_jpeg_four_inks(void **state)
{
    (void)state;
    check_files("jpg_cmyk", 2);
    check_files("jpg_ycck", 1);
}

static void test_jpeg_profiles(void **state)
{
    (void)state;
    check_files("jpg_icc", 3);
}

static void test_jpeg_orientations(void **state)
{
    (void)state;
    check_files("jpg_exif", 8);
}

static void test_webp_kinds(void **state)
{
    (void)state;
    check_files("webp_loss", 4);
    check_files("webp_animated", 2);
}

static void test_webp_profiles(void **state)
{
    (void)state;
    check_files("webp_icc", 2);
}

static void test_webp_orientations(void **state)
{
    (void)state;
    check_files("webp_exif", 9);
}

/* A profile must change colours, or the tests above would prove nothing. */
static void test_profile_changes_colours(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf with = fixture("files/png_icc_rgb.png"), without = fixture("files/png_rgb8.png");
    struct image a, b;
    assert_ok(image_decode(with.ptr, with.len, &a, &em));
    assert_ok(image_decode(without.ptr, without.len, &b, &em));
    assert_true(pixels_differ(a.rgb, b.rgb, a.width_px * a.height_px * 3) > 20);
    image_deinit(&a);
    image_deinit(&b);
    buf_deinit(&with);
    buf_deinit(&without);
}

/* A damaged profile is passed over: the same picture as without one. */
static void test_damaged_profile_is_passed_over(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf file = fixture("files/jpg_icc_rgb.jpg"),
               plain = fixture("files/jpg_baseline_444.jpg");
    uint8_t *icc = memmem(file.ptr, file.len, "acsp", 4);
    assert_non_null(icc);
    memcpy(icc, "none", 4);
    struct image a, b;
    assert_ok(image_decode(file.ptr, file.len, &a, &em));
    assert_int_equal(a.width_px, 45);
    assert_ok(image_decode(plain.ptr, plain.len, &b, &em));
    image_deinit(&a);
    image_deinit(&b);
    buf_deinit(&file);
    buf_deinit(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_kinds),
        cmocka_unit_test(test_png_alpha_every_value),
        cmocka_unit_test(test_png_profiles),
        cmocka_unit_test(test_png_orientations),
        cmocka_unit_test(test_jpeg_kinds),
        cmocka_unit_test(test_jpeg_four_inks),
        cmocka_unit_test(test_jpeg_profiles),
        cmocka_unit_test(test_jpeg_orientations),
        cmocka_unit_test(test_webp_kinds),
        cmocka_unit_test(test_webp_profiles),
        cmocka_unit_test(test_webp_orientations),
        cmocka_unit_test(test_profile_changes_colours),
        cmocka_unit_test(test_damaged_profile_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

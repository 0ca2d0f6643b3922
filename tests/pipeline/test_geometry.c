/* SPDX-License-Identifier: MIT */
/* Every size that may be asked for comes out exact. */
#include "test.h"

#include "base/limits.h"
#include "pipeline/geometry.h"

static void test_grids_cover_the_size(void **state)
{
    (void)state;
    for (size_t w = LIMIT_SIDE_MIN_PX; w <= LIMIT_SIDE_MAX_PX; w += 7)
        for (size_t h = LIMIT_SIDE_MIN_PX; h <= LIMIT_SIDE_MAX_PX; h += 13) {
            struct grid g = grid_for_size(w, h, 16, 0);
            assert_true(g.drawn_w_px >= w && g.drawn_w_px < w + 16);
            assert_true(g.drawn_h_px >= h && g.drawn_h_px < h + 16);
            assert_int_equal(g.w_tok * 16, g.drawn_w_px);
        }
}

static void test_native_grids_keep_area_and_aspect(void **state)
{
    (void)state;
    for (size_t w = LIMIT_OFFERED_SIDE_MIN_PX; w <= LIMIT_SIDE_MAX_PX; w += 7)
        for (size_t h = LIMIT_OFFERED_SIDE_MIN_PX; h <= LIMIT_SIDE_MAX_PX; h += 13) {
            struct grid g = grid_for_size(w, h, 32, 65536);
            double area = (double)(g.drawn_w_px * g.drawn_h_px);
            double aspect = (double)g.w_tok / (double)g.h_tok;
            double asked = (double)w / (double)h;
            assert_true(area > 0.7 * 65536 && area < 1.35 * 65536);
            /* half a token's rounding on the shorter side */
            assert_true(aspect / asked < 1.2 && asked / aspect < 1.2);
        }
    struct grid g = grid_for_size(1024, 768, 32, 65536);
    assert_int_equal(g.w_tok, 9);
    assert_int_equal(g.h_tok, 7);
}

static void test_pictures_fit_exactly(void **state)
{
    (void)state;
    struct errmsg em;
    static const size_t sizes[][4] = {
        {288, 224, 1024, 768}, {288, 224, 257, 1439}, {352, 192, 1440, 768}, {256, 256, 256, 256},
        {272, 256, 257, 255},  {256, 256, 1440, 256}, {256, 256, 64, 100},   {512, 128, 64, 64},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct image drawn = {0}, out = {0};
        assert_ok(image_init(&drawn, sizes[i][0], sizes[i][1], &em));
        memset(drawn.rgb, 77, sizes[i][0] * sizes[i][1] * 3);
        assert_ok(grid_fit_picture(&drawn, 16, sizes[i][2], sizes[i][3], &out, &em));
        assert_int_equal(out.width_px, sizes[i][2]);
        assert_int_equal(out.height_px, sizes[i][3]);
        for (size_t j = 0; j < out.width_px * out.height_px * 3; j++)
            assert_int_equal(out.rgb[j], 77);
        image_deinit(&out);
        image_deinit(&drawn);
    }
}

static void test_crop_is_about_the_centre(void **state)
{
    (void)state;
    struct errmsg em;
    struct image drawn = {0}, out = {0};
    assert_ok(image_init(&drawn, 272, 256, &em));
    for (size_t i = 0; i < 272 * 256; i++)
        for (size_t c = 0; c < 3; c++)
            drawn.rgb[3 * i + c] = (uint8_t)(i % 272 % 251);
    assert_ok(grid_fit_picture(&drawn, 16, 262, 256, &out, &em));
    assert_int_equal(out.rgb[0], 5);
    image_deinit(&out);
    image_deinit(&drawn);
}

/* A model that draws larger than what is asked for shows all of its picture. */
static void test_a_much_larger_picture_is_reduced(void **state)
{
    (void)state;
    struct errmsg em;
    struct image drawn = {0}, out = {0};
    assert_ok(image_init(&drawn, 256, 256, &em));
    for (size_t i = 0; i < 256 * 256; i++)
        memset(drawn.rgb + 3 * i, i % 256 < 128 ? 0 : 200, 3);
    assert_ok(grid_fit_picture(&drawn, 32, 64, 64, &out, &em));
    assert_int_equal(out.rgb[0], 0);
    assert_in_range(out.rgb[(size_t)3 * 24], 0, 2);
    assert_in_range(out.rgb[(size_t)3 * 40], 198, 202);
    image_deinit(&out);
    assert_ok(grid_fit_picture(&drawn, 32, 225, 256, &out, &em)); /* within a token: cropped */
    assert_int_equal(out.rgb[(size_t)3 * (128 - 15 - 1)], 0);
    assert_int_equal(out.rgb[(size_t)3 * (128 - 15)], 200);
    image_deinit(&out);
    image_deinit(&drawn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grids_cover_the_size),
        cmocka_unit_test(test_native_grids_keep_area_and_aspect),
        cmocka_unit_test(test_pictures_fit_exactly),
        cmocka_unit_test(test_crop_is_about_the_centre),
        cmocka_unit_test(test_a_much_larger_picture_is_reduced),
    };
    return cmocka_run_group_tests_name("geometry", tests, NULL, NULL);
}

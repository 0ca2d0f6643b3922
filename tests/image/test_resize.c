/* SPDX-License-Identifier: MIT */
/* LANCZOS and the preparation of references against Pillow's and diffusers' own results,
 * to the bit; cropping. */
#include "image_test.h"

static void test_lanczos_equals_pillow(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf table = fixture("lanczos.txt");
    int n = 0;
    char *save, *line = strtok_r((char *)table.ptr, "\n", &save);
    for (; line; line = strtok_r(NULL, "\n", &save), n++) {
        size_t w, h, to_w, to_h;
        unsigned crc;
        assert_int_equal(sscanf(line, "%zu %zu %zu %zu %x", &w, &h, &to_w, &to_h, &crc), 5);
        struct image in = picture_noise(w, h), out;
        assert_ok(image_resize_lanczos(&in, to_w, to_h, &out, &em));
        assert_int_equal(out.width_px, to_w);
        assert_int_equal(out.height_px, to_h);
        if (picture_crc(&out) != crc)
            fail_msg("%zu×%zu to %zu×%zu differs from Pillow's", w, h, to_w, to_h);
        image_deinit(&in);
        image_deinit(&out);
    }
    assert_true(n >= 80);
    buf_deinit(&table);
}

static void test_reference_equals_diffusers(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf table = fixture("reference.txt");
    int n = 0, n_refused = 0;
    char *save, *line = strtok_r((char *)table.ptr, "\n", &save);
    for (; line; line = strtok_r(NULL, "\n", &save), n++) {
        size_t w, h, multiple, to_w, to_h;
        unsigned crc;
        assert_int_equal(
            sscanf(line, "%zu %zu %zu %zu %zu %x", &w, &h, &multiple, &to_w, &to_h, &crc), 6);
        struct image in = picture_noise(w, h), out;
        if (to_w == 0) {
            assert_fails(image_prepare_reference(&in, multiple, &out, &em), ERR_USAGE,
                         "reference picture is too");
            n_refused++;
            image_deinit(&in);
            continue;
        }
        assert_ok(image_prepare_reference(&in, multiple, &out, &em));
        assert_int_equal(out.width_px, to_w);
        assert_int_equal(out.height_px, to_h);
        if (picture_crc(&out) != crc)
            fail_msg("reference %zu×%zu (multiple of %zu) differs from diffusers'", w, h, multiple);
        image_deinit(&in);
        image_deinit(&out);
    }
    assert_true(n >= 30 && n_refused >= 4);
    buf_deinit(&table);
}

static void test_reference_refusals_say_why(void **state)
{
    (void)state;
    struct errmsg em;
    struct image small = picture_noise(63, 300), narrow = picture_noise(64, 513), out;
    assert_fails(image_prepare_reference(&small, 16, &out, &em), ERR_USAGE,
                 "63×300, each side must be at least 64");
    assert_fails(image_prepare_reference(&narrow, 16, &out, &em), ERR_USAGE, "64×513, at most 8:1");
    assert_fails(image_prepare_reference(&narrow, 0, &out, &em), ERR_USAGE, "multiples of 0");
    assert_fails(image_prepare_reference(&narrow, 128, &out, &em), ERR_USAGE, "multiples of 128");
    image_deinit(&small);
    image_deinit(&narrow);
}

static void test_resize_refuses_nothing(void **state)
{
    (void)state;
    struct errmsg em;
    struct image in = picture_noise(4, 4), out;
    assert_fails(image_resize_lanczos(&in, 0, 4, &out, &em), ERR_USAGE, "0×4");
    assert_fails(image_resize_lanczos(&in, 4, (size_t)1 << 40, &out, &em), ERR_USAGE, "resized");
    assert_fails(image_resize_lanczos(&in, SIZE_MAX, 4, &out, &em), ERR_USAGE, "resized");
    image_deinit(&in);
}

static void test_crop(void **state)
{
    (void)state;
    struct errmsg em;
    struct image in = picture_noise(7, 5), out;
    assert_ok(image_crop(&in, 2, 1, 4, 3, &out, &em));
    for (size_t y = 0; y < 3; y++)
        assert_memory_equal(out.rgb + y * 12, in.rgb + ((y + 1) * 7 + 2) * 3, 12);
    image_deinit(&out);
    assert_ok(image_crop(&in, 0, 0, 7, 5, &out, &em));
    assert_memory_equal(out.rgb, in.rgb, 7 * 5 * 3);
    image_deinit(&out);
    assert_fails(image_crop(&in, 4, 0, 4, 5, &out, &em), ERR_USAGE, "does not lie inside");
    assert_fails(image_crop(&in, 0, 0, 0, 5, &out, &em), ERR_USAGE, "does not lie inside");
    assert_fails(image_crop(&in, SIZE_MAX, 0, 2, 5, &out, &em), ERR_USAGE, "does not lie inside");
    assert_fails(image_crop(&in, 1, 0, SIZE_MAX, 5, &out, &em), ERR_USAGE, "does not lie inside");
    image_deinit(&in);
}

static void test_init_refuses_what_cannot_be(void **state)
{
    (void)state;
    struct errmsg em;
    struct image img;
    assert_fails(image_init(&img, 0, 5, &em), ERR_USAGE, "0×5");
    assert_fails(image_init(&img, SIZE_MAX, SIZE_MAX, &em), ERR_NOMEM, "memory");
    image_deinit(NULL);
    image_deinit(&(struct image){0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanczos_equals_pillow),
        cmocka_unit_test(test_reference_equals_diffusers),
        cmocka_unit_test(test_reference_refusals_say_why),
        cmocka_unit_test(test_resize_refuses_nothing),
        cmocka_unit_test(test_crop),
        cmocka_unit_test(test_init_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Pictures without memory: each of our own allocations fails once; an error, no crash, no
 * leak. */
#include "image_test.h"

#include "formats/fault.h"
#include "image/terminal.h"

int __real_posix_memalign(void **p, size_t alignment, size_t size);
int __wrap_posix_memalign(void **p, size_t alignment, size_t size);
char *__real_strndup(const char *s, size_t len);
char *__wrap_strndup(const char *s, size_t len);

int __wrap_posix_memalign(void **p, size_t alignment, size_t size)
{
    return fault_due() ? 12 : __real_posix_memalign(p, alignment, size);
}

char *__wrap_strndup(const char *s, size_t len)
{
    return fault_due() ? NULL : __real_strndup(s, len);
}

static enum err run_decode(void *ctx, struct errmsg *em)
{
    const struct buf *file = ctx;
    struct image img = {0};
    enum err rc = image_decode(file->ptr, file->len, &img, em);
    image_deinit(&img);
    return rc;
}

static enum err run_texts(void *ctx, struct errmsg *em)
{
    const struct buf *file = ctx;
    struct image_texts texts = {0};
    enum err rc = image_texts_read(file->ptr, file->len, &texts, em);
    image_texts_deinit(&texts);
    return rc;
}

static void check_file(const char *name, enum err (*run)(void *ctx, struct errmsg *em))
{
    struct buf file = fixture(name);
    assert_true(fault_each(run, &file) >= 2);
    buf_deinit(&file);
}

static void test_decode(void **state)
{
    (void)state;
    check_file("files/png_rgb8_interlaced.png", run_decode);
    check_file("files/png_exif6.png", run_decode);
    check_file("files/jpg_exif6.jpg", run_decode);
    check_file("files/webp_lossy_alpha.webp", run_decode);
    check_file("files/webp_animated_small_frame.webp", run_decode);
}

static void test_texts(void **state)
{
    (void)state;
    check_file("texts/pillow.png", run_texts);
    check_file("texts/foreign.jpg", run_texts);
    check_file("texts/foreign.webp", run_texts);
}

struct writing {
    struct image img;
    enum image_format format;
    struct image_texts texts;
};

static enum err run_encode(void *ctx, struct errmsg *em)
{
    const struct writing *w = ctx;
    struct buf out = {0};
    enum err rc = image_encode(&w->img, w->format, 90, &w->texts, &out, em);
    buf_deinit(&out);
    return rc;
}

static enum err run_add(void *ctx, struct errmsg *em)
{
    struct image_texts t = {0};
    (void)ctx;
    enum err rc = image_texts_add(&t, "key", "first", em);
    if (!rc)
        rc = image_texts_add(&t, "key", "second", em);
    image_texts_deinit(&t);
    return rc;
}

static void test_encode(void **state)
{
    (void)state;
    struct errmsg em;
    struct writing w = {.img = picture_smooth(20, 14)};
    char *longer = malloc(90001);
    assert_non_null(longer);
    memset(longer, 'x', 90000);
    longer[90000] = 0;
    assert_ok(image_texts_add(&w.texts, "seed", "1\x01", &em));
    assert_ok(image_texts_add(&w.texts, "prompt", longer, &em));
    for (size_t f = 0; f < 3; f++) {
        w.format = all_formats[f];
        assert_true(fault_each(run_encode, &w) >= 1);
    }
    assert_int_equal(fault_each(run_add, NULL), 4);
    image_texts_deinit(&w.texts);
    image_deinit(&w.img);
    free(longer);
}

static enum err run_resize(void *ctx, struct errmsg *em)
{
    struct image out = {0};
    enum err rc = image_resize_lanczos(ctx, 9, 7, &out, em);
    image_deinit(&out);
    return rc;
}

static enum err run_reference(void *ctx, struct errmsg *em)
{
    struct image out = {0};
    enum err rc = image_prepare_reference(ctx, 16, &out, em);
    image_deinit(&out);
    return rc;
}

static enum err run_terminal(void *ctx, struct errmsg *em)
{
    struct terminal_placement at = {.id = 1};
    enum err rc = ERR_OK;
    for (int g = TERMINAL_GRAPHICS_KITTY; g <= TERMINAL_GRAPHICS_SIXEL && !rc; g++) {
        unsigned rows_used;
        struct buf out = {0};
        rc = terminal_image_append(ctx, (enum terminal_graphics)g, &at, &rows_used, &out, em);
        buf_deinit(&out);
    }
    return rc;
}

static void test_the_rest(void **state)
{
    (void)state;
    struct image img = picture_smooth(70, 66);
    assert_true(fault_each(run_resize, &img) >= 10);
    assert_int_equal(fault_each(run_reference, &img), 1);
    assert_true(fault_each(run_terminal, &img) >= 6);
    image_deinit(&img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

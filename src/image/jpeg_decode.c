/* SPDX-License-Identifier: MIT */
/* JPEG → RGB through libjpeg-turbo: accurate DCT and smooth chroma, its defaults and
 * Pillow's. Grey, YCbCr, RGB, CMYK and YCCK; the last two are taken as inverted (Adobe's
 * way) whether or not an Adobe marker says so, like Pillow and the browsers.
 * Errors come by longjmp: everything to release lives in struct reader. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "image/jpeg_impl.h"

struct reader {
    struct jpeg_decompress_struct c;
    struct jpeg_failure failure;
    struct jpeg_progress_mgr progress;
    struct colour colour;
    uint8_t *icc, *row;
    struct image out;
};

/* A small file can hold hundreds of scans, each a pass over the whole picture. */
static void on_progress(j_common_ptr c)
{
    struct reader *r = (struct reader *)c;
    if (r->c.input_scan_number <= (int)IMAGE_JPEG_SCANS_MAX)
        return;
    r->failure.rc = err_set(r->failure.em, ERR_FORMAT,
                            "the JPEG has more than %u scans; no encoder writes that many",
                            IMAGE_JPEG_SCANS_MAX);
    longjmp(r->failure.jump, 1);
}

/* Read up to the first scan. May longjmp. */
static void header_read(struct reader *r, const uint8_t *bytes, size_t len)
{
    jpeg_create_decompress(&r->c);
    r->progress.progress_monitor = on_progress;
    r->c.progress = &r->progress;
    jpeg_save_markers(&r->c, JPEG_APP0 + 1, 0xffff);
    jpeg_save_markers(&r->c, JPEG_APP0 + 2, 0xffff);
    jpeg_mem_src(&r->c, bytes, len);
    jpeg_read_header(&r->c, TRUE);
    if (!r->failure.rc)
        r->failure.rc = image_check_size(r->c.image_width, r->c.image_height, r->failure.em);
}

static void reader_release(struct reader *r)
{
    jpeg_destroy_decompress(&r->c);
    colour_close(&r->colour);
    free(r->icc);
    mem_free(r->row);
}

static unsigned orientation_of(const struct jpeg_marker_struct *markers)
{
    for (const struct jpeg_marker_struct *m = markers; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length >= 6 &&
            memcmp(m->data, "Exif\0\0", 6) == 0)
            return image_exif_orientation(m->data, m->data_length);
    return 1;
}

static bool layout_choose(struct reader *r, enum colour_layout *layout)
{
    switch (r->c.jpeg_color_space) {
    case JCS_GRAYSCALE:
        r->c.out_color_space = JCS_GRAYSCALE;
        *layout = COLOUR_GREY;
        return true;
    case JCS_RGB:
    case JCS_YCbCr:
        r->c.out_color_space = JCS_RGB;
        *layout = COLOUR_RGB;
        return true;
    case JCS_CMYK:
    case JCS_YCCK:
        r->c.out_color_space = JCS_CMYK;
        *layout = COLOUR_CMYK_INVERTED;
        return true;
    default:
        r->failure.rc = err_set(r->failure.em, ERR_UNSUPPORTED,
                                "this kind of JPEG is not supported: %d colour components",
                                r->c.num_components);
        return false;
    }
}

/* May longjmp. */
static void pixels_read(struct reader *r)
{
    enum colour_layout layout;
    unsigned icc_len = 0;
    size_t w = r->c.image_width, h = r->c.image_height;
    if (!layout_choose(r, &layout))
        return;
    if (!jpeg_read_icc_profile(&r->c, &r->icc, &icc_len))
        icc_len = 0;
    colour_open(&r->colour, layout, r->icc, icc_len);
    r->failure.rc = image_init(&r->out, w, h, r->failure.em);
    if (r->failure.rc)
        return;
    r->row = mem_alloc(w * colour_channels(layout));
    if (!r->row) {
        r->failure.rc = err_nomem(r->failure.em, w * colour_channels(layout));
        return;
    }
    jpeg_start_decompress(&r->c);
    while (r->c.output_scanline < h) {
        size_t y = r->c.output_scanline;
        jpeg_read_scanlines(&r->c, &r->row, 1);
        colour_row(&r->colour, r->row, r->out.rgb + y * w * 3, w);
    }
    jpeg_finish_decompress(&r->c);
}

/* The header, then the pixels if they are asked for; r->failure.rc says how it went. */
static void reader_run(struct reader *r, const uint8_t *bytes, size_t len, bool pixels,
                       struct errmsg *em)
{
    memset(r, 0, sizeof *r);
    r->c.err = jpeg_failure_init(&r->failure, em);
    if (setjmp(r->failure.jump))
        return;
    header_read(r, bytes, len);
    if (pixels && !r->failure.rc)
        pixels_read(r);
}

enum err image_jpeg_info(const uint8_t *bytes, size_t len, struct image_info *out,
                         struct errmsg *em)
{
    struct reader r;
    reader_run(&r, bytes, len, false, em);
    if (!r.failure.rc)
        *out =
            (struct image_info){r.c.image_width, r.c.image_height, orientation_of(r.c.marker_list)};
    reader_release(&r);
    return r.failure.rc;
}

enum err image_jpeg_texts(const uint8_t *bytes, size_t len, struct image_texts *out,
                          struct errmsg *em)
{
    struct reader r;
    reader_run(&r, bytes, len, false, em);
    if (!r.failure.rc)
        r.failure.rc = jpeg_xmp_read(r.c.marker_list, out, em);
    reader_release(&r);
    return r.failure.rc;
}

enum err image_jpeg_decode(const uint8_t *bytes, size_t len, struct image *out, struct errmsg *em)
{
    struct reader r;
    reader_run(&r, bytes, len, true, em);
    reader_release(&r);
    if (r.failure.rc)
        image_deinit(&r.out);
    else
        *out = r.out;
    return r.failure.rc;
}

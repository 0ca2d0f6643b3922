/* SPDX-License-Identifier: MIT */
/* PNG → RGB through libpng. Text and EXIF chunks are not shown to libpng at all:
 * png_chunks.c reads those. libpng reports errors by longjmp; everything it could
 * leave behind lives in struct reader, which its caller releases. */
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "image/image_impl.h"

struct reader {
    const uint8_t *bytes;
    size_t len, at;
    png_structp png;
    png_infop info;
    struct colour colour;
    uint8_t *rows; /* one row as libpng gives it; the whole picture when interlaced */
    struct image out;
    enum err rc;
    struct errmsg *em;
};

static void on_error(png_structp png, png_const_charp message)
{
    struct reader *r = png_get_error_ptr(png);
    if (strcmp(message, "Out of memory") == 0)
        r->rc = err_set(r->em, ERR_NOMEM, "out of memory while reading a PNG");
    else
        r->rc = err_set(r->em, ERR_FORMAT, "the PNG is damaged: %s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    struct reader *r = png_get_io_ptr(png);
    if (n > r->len - r->at)
        png_error(png, "the file ends early (truncated)");
    memcpy(to, r->bytes + r->at, n);
    r->at += n;
}

static void limits_set(png_structp png)
{
    static const png_byte passed_over[] = "tEXt\0zTXt\0iTXt\0eXIf\0sPLT\0hIST\0tIME\0pCAL\0sCAL\0";
    png_set_user_limits(png, LIMIT_PICTURE_PIXELS_MAX, LIMIT_PICTURE_PIXELS_MAX);
    png_set_chunk_malloc_max(png, IMAGE_ICC_BYTES_MAX);
    png_set_chunk_cache_max(png, 16);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, passed_over,
                                (int)(sizeof passed_over / 5));
}

/* Ask libpng for grey, grey+alpha, RGB or RGBA of 8 bits, and see which it is.
 * 16 bits lose their lower byte, as in Pillow. */
static enum colour_layout layout_choose(struct reader *r)
{
    png_set_expand(r->png);
    png_set_strip_16(r->png);
    png_read_update_info(r->png, r->info);
    switch (png_get_channels(r->png, r->info)) {
    case 1:
        return COLOUR_GREY;
    case 2:
        return COLOUR_GREY_ALPHA;
    case 3:
        return COLOUR_RGB;
    default:
        return COLOUR_RGBA;
    }
}

static void colour_choose(struct reader *r, enum colour_layout layout)
{
    png_charp name;
    png_bytep icc = NULL;
    png_uint_32 icc_len = 0;
    int compression;
    if (!png_get_iCCP(r->png, r->info, &name, &compression, &icc, &icc_len))
        icc = NULL;
    colour_open(&r->colour, layout, icc, icc_len);
}

/* May longjmp. */
static void pixels_read(struct reader *r)
{
    png_read_info(r->png, r->info);
    size_t w = png_get_image_width(r->png, r->info);
    size_t h = png_get_image_height(r->png, r->info);
    int n_passes = png_set_interlace_handling(r->png);
    enum colour_layout layout = layout_choose(r);
    size_t stride = w * colour_channels(layout);
    if (png_get_rowbytes(r->png, r->info) != stride)
        png_error(r->png, "rows of an unexpected length");
    colour_choose(r, layout);
    r->rc = image_init(&r->out, w, h, r->em);
    if (r->rc)
        return;
    size_t n_bytes = n_passes > 1 ? stride * h : stride;
    r->rows = mem_alloc(n_bytes);
    if (!r->rows) {
        r->rc = err_nomem(r->em, n_bytes);
        return;
    }
    for (int pass = 0; pass < n_passes; pass++) {
        for (size_t y = 0; y < h; y++) {
            uint8_t *row = r->rows + (n_passes > 1 ? y * stride : 0);
            png_read_row(r->png, row, NULL);
            if (pass == n_passes - 1)
                colour_row(&r->colour, row, r->out.rgb + y * w * 3, w);
        }
    }
    png_read_end(r->png, NULL);
}

static void reader_run(struct reader *r)
{
    r->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, r, on_error, on_warning);
    if (r->png)
        r->info = png_create_info_struct(r->png);
    if (!r->info) {
        r->rc = err_set(r->em, ERR_NOMEM, "out of memory while reading a PNG");
        return;
    }
    if (setjmp(png_jmpbuf(r->png)))
        return;
    limits_set(r->png);
    png_set_read_fn(r->png, r, on_read);
    pixels_read(r);
}

enum err image_png_decode(const uint8_t *bytes, size_t len, struct image *out, struct errmsg *em)
{
    struct reader r = {.bytes = bytes, .len = len, .em = em};
    reader_run(&r);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    colour_close(&r.colour);
    mem_free(r.rows);
    if (r.rc)
        image_deinit(&r.out);
    else
        *out = r.out;
    return r.rc;
}

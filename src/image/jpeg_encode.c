/* SPDX-License-Identifier: MIT */
/* RGB → baseline JPEG through libjpeg-turbo: Huffman tables fitted to the picture;
 * chroma at full size (4:4:4) from quality 90 on, at half size (4:2:0) below. */
#include <stdlib.h>
#include <string.h>

#include "image/jpeg_impl.h"

#define FULL_CHROMA_QUALITY 90
#define BLOCK_BYTES (16u << 10)

struct writer {
    struct jpeg_compress_struct c;
    struct jpeg_failure failure;
    struct jpeg_destination_mgr destination;
    struct jpeg_xmp xmp;
    struct buf *out;
    uint8_t block[BLOCK_BYTES];
};

static void block_reset(struct writer *w)
{
    w->destination.next_output_byte = w->block;
    w->destination.free_in_buffer = sizeof w->block;
}

static void block_flush(struct writer *w, size_t n)
{
    w->failure.rc = buf_append(w->out, w->block, n, w->failure.em);
    if (w->failure.rc)
        longjmp(w->failure.jump, 1);
    block_reset(w);
}

static void on_start(j_compress_ptr c)
{
    block_reset((struct writer *)c);
}

static boolean on_full(j_compress_ptr c)
{
    block_flush((struct writer *)c, BLOCK_BYTES);
    return TRUE;
}

static void on_end(j_compress_ptr c)
{
    struct writer *w = (struct writer *)c;
    block_flush(w, BLOCK_BYTES - w->destination.free_in_buffer);
}

/* May longjmp. */
static void picture_write(struct writer *w, const struct image *img, int quality)
{
    w->destination.init_destination = on_start;
    w->destination.empty_output_buffer = on_full;
    w->destination.term_destination = on_end;
    w->c.dest = &w->destination;
    w->c.image_width = (JDIMENSION)img->width_px;
    w->c.image_height = (JDIMENSION)img->height_px;
    w->c.input_components = 3;
    w->c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&w->c);
    jpeg_set_quality(&w->c, quality, TRUE);
    w->c.optimize_coding = TRUE;
    if (quality >= FULL_CHROMA_QUALITY)
        w->c.comp_info[0].h_samp_factor = w->c.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&w->c, TRUE);
    jpeg_xmp_write(&w->c, &w->xmp);
    while (w->c.next_scanline < w->c.image_height) {
        JSAMPROW row = img->rgb + (size_t)w->c.next_scanline * img->width_px * 3;
        jpeg_write_scanlines(&w->c, &row, 1);
    }
    jpeg_finish_compress(&w->c);
}

enum err image_jpeg_encode(const struct image *img, int quality, const struct image_texts *texts,
                           struct buf *out, struct errmsg *em)
{
    if (img->width_px > JPEG_MAX_DIMENSION || img->height_px > JPEG_MAX_DIMENSION)
        return err_set(em, ERR_UNSUPPORTED, "a JPEG cannot hold %zu×%zu pixels: at most %ld a side",
                       img->width_px, img->height_px, JPEG_MAX_DIMENSION);
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_nomem(em, sizeof *w);
    w->out = out;
    w->c.err = jpeg_failure_init(&w->failure, em);
    w->failure.rc = jpeg_xmp_prepare(&w->xmp, texts, em);
    if (!w->failure.rc && setjmp(w->failure.jump) == 0) {
        jpeg_create_compress(&w->c);
        picture_write(w, img, quality);
    }
    jpeg_destroy_compress(&w->c);
    jpeg_xmp_deinit(&w->xmp);
    enum err rc = w->failure.rc;
    free(w);
    return rc;
}

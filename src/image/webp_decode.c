/* SPDX-License-Identifier: MIT */
/* WebP → RGB through libwebp and its demuxer: lossy, lossless, with alpha; of an
 * animation the first frame, on its canvas. */
#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

#include "base/mem.h"
#include "image/image_impl.h"

static enum err truncated(struct errmsg *em)
{
    return err_set(em, ERR_FORMAT, "the WebP ends early (truncated)");
}

static enum err status_check(VP8StatusCode status, struct errmsg *em)
{
    switch (status) {
    case VP8_STATUS_OK:
        return ERR_OK;
    case VP8_STATUS_OUT_OF_MEMORY:
        return err_set(em, ERR_NOMEM, "out of memory while reading a WebP");
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return truncated(em);
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return err_set(em, ERR_UNSUPPORTED, "this kind of WebP is not supported");
    default:
        return err_set(em, ERR_FORMAT, "the WebP is damaged");
    }
}

/* A chunk by its name, from as much of the file as there is; false: none. */
static bool chunk_find(const WebPDemuxer *demuxer, const char *name, WebPChunkIterator *it)
{
    memset(it, 0, sizeof *it);
    return demuxer && WebPDemuxGetChunk(demuxer, name, 1, it);
}

enum err image_webp_info(const uint8_t *bytes, size_t len, struct image_info *out,
                         struct errmsg *em)
{
    WebPBitstreamFeatures features;
    enum err rc = status_check(WebPGetFeatures(bytes, len, &features), em);
    if (rc)
        return rc;
    rc = image_check_size((uint64_t)features.width, (uint64_t)features.height, em);
    if (rc)
        return rc;
    *out = (struct image_info){(size_t)features.width, (size_t)features.height, 1};
    WebPData data = {bytes, len};
    WebPDemuxState state;
    WebPDemuxer *demuxer = WebPDemuxPartial(&data, &state);
    WebPChunkIterator chunk;
    if (chunk_find(demuxer, "EXIF", &chunk))
        out->orientation = image_exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
    WebPDemuxReleaseChunkIterator(&chunk);
    WebPDemuxDelete(demuxer);
    return ERR_OK;
}

enum err image_webp_texts(const uint8_t *bytes, size_t len, struct image_texts *out,
                          struct errmsg *em)
{
    WebPData data = {bytes, len};
    WebPDemuxState state;
    WebPDemuxer *demuxer = WebPDemuxPartial(&data, &state);
    WebPChunkIterator chunk;
    enum err rc = ERR_OK;
    if (!demuxer)
        return err_set(em, ERR_FORMAT, "the WebP is damaged or ends within its header");
    if (chunk_find(demuxer, "XMP ", &chunk))
        rc = image_xmp_read(chunk.chunk.bytes, chunk.chunk.size, out, NULL, em);
    WebPDemuxReleaseChunkIterator(&chunk);
    WebPDemuxDelete(demuxer);
    return rc;
}

/* One frame's bitstream → RGB or RGBA in *out (mem_free it). */
static enum err frame_decode(const WebPIterator *frame, bool alpha, uint8_t **out,
                             struct errmsg *em)
{
    WebPDecoderConfig config;
    size_t stride = (size_t)frame->width * (alpha ? 4 : 3);
    size_t n = stride * (size_t)frame->height;
    if (!WebPInitDecoderConfig(&config))
        return err_set(em, ERR_UNSUPPORTED, "the libwebp in use is not the one built against");
    uint8_t *pixels = mem_alloc(n);
    if (!pixels)
        return err_nomem(em, n);
    config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = (WebPRGBABuffer){pixels, (int)stride, n};
    enum err rc =
        status_check(WebPDecode(frame->fragment.bytes, frame->fragment.size, &config), em);
    if (rc)
        mem_free(pixels);
    else
        *out = pixels;
    return rc;
}

/* The frame at its place; what it leaves free is transparent, that is: white. */
static void frame_place(const WebPIterator *frame, const struct colour *colour,
                        const uint8_t *pixels, struct image *img)
{
    size_t w = (size_t)frame->width, h = (size_t)frame->height;
    size_t x0 = (size_t)frame->x_offset, y0 = (size_t)frame->y_offset;
    if (w != img->width_px || h != img->height_px)
        memset(img->rgb, 255, img->width_px * img->height_px * 3);
    for (size_t y = 0; y < h; y++)
        colour_row(colour, pixels + y * w * colour_channels(colour->layout),
                   img->rgb + ((y0 + y) * img->width_px + x0) * 3, w);
}

static enum err canvas_decode(const WebPDemuxer *demuxer, struct image *out, struct errmsg *em)
{
    WebPIterator frame = {0};
    WebPChunkIterator icc = {0};
    struct colour colour = {0};
    struct image img = {0};
    uint8_t *pixels = NULL;
    size_t w = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH);
    size_t h = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
    enum err rc = image_check_size(w, h, em);
    if (!rc && (!WebPDemuxGetFrame(demuxer, 1, &frame) || !frame.complete))
        rc = truncated(em);
    if (!rc && ((size_t)frame.x_offset + (size_t)frame.width > w ||
                (size_t)frame.y_offset + (size_t)frame.height > h))
        rc = err_set(em, ERR_FORMAT, "the WebP is damaged: its frame lies outside its canvas");
    if (rc)
        goto out;
    rc = frame_decode(&frame, frame.has_alpha, &pixels, em);
    if (!rc)
        rc = image_init(&img, w, h, em);
    if (rc)
        goto out;
    if (!(WebPDemuxGetI(demuxer, WEBP_FF_FORMAT_FLAGS) & ICCP_FLAG) ||
        !chunk_find(demuxer, "ICCP", &icc))
        icc.chunk.bytes = NULL;
    colour_open(&colour, frame.has_alpha ? COLOUR_RGBA : COLOUR_RGB, icc.chunk.bytes,
                icc.chunk.size);
    frame_place(&frame, &colour, pixels, &img);
    *out = img;
out:
    colour_close(&colour);
    mem_free(pixels);
    WebPDemuxReleaseChunkIterator(&icc);
    WebPDemuxReleaseIterator(&frame);
    return rc;
}

enum err image_webp_decode(const uint8_t *bytes, size_t len, struct image *out, struct errmsg *em)
{
    WebPData data = {bytes, len};
    WebPDemuxState state;
    WebPDemuxer *demuxer = WebPDemuxPartial(&data, &state);
    enum err rc;
    if (demuxer && state == WEBP_DEMUX_DONE)
        rc = canvas_decode(demuxer, out, em);
    else if (demuxer || state == WEBP_DEMUX_PARSING_HEADER)
        rc = truncated(em);
    else
        rc = err_set(em, ERR_FORMAT, "the WebP is damaged: its chunks make no sense");
    WebPDemuxDelete(demuxer);
    return rc;
}

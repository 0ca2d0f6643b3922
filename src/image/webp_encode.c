/* SPDX-License-Identifier: MIT */
/* RGB → WebP. Quality 100 is lossless; below that lossy, with the chroma of coloured
 * edges computed carefully ("sharp YUV") from 90 on. Texts go into an XMP chunk. */
#include <stdlib.h>
#include <string.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include "image/image_impl.h"

#define SHARP_QUALITY 90
#define LOSSLESS_EFFORT 4 /* of 9 */

static enum err config_make(WebPConfig *config, int quality, struct errmsg *em)
{
    bool ok = WebPConfigInit(config) != 0;
    if (ok && quality == 100) {
        ok = WebPConfigLosslessPreset(config, LOSSLESS_EFFORT) != 0;
    } else if (ok) {
        config->quality = (float)quality;
        config->use_sharp_yuv = quality >= SHARP_QUALITY;
    }
    if (!ok)
        return err_set(em, ERR_UNSUPPORTED, "the libwebp in use is not the one built against");
    return ERR_OK;
}

static enum err bitstream_make(const struct image *img, int quality, WebPMemoryWriter *writer,
                               struct errmsg *em)
{
    WebPConfig config;
    WebPPicture picture;
    enum err rc = config_make(&config, quality, em);
    if (rc)
        return rc;
    if (!WebPPictureInit(&picture))
        return err_set(em, ERR_UNSUPPORTED, "the libwebp in use is not the one built against");
    picture.width = (int)img->width_px;
    picture.height = (int)img->height_px;
    picture.use_argb = config.lossless || config.use_sharp_yuv;
    picture.writer = WebPMemoryWrite;
    picture.custom_ptr = writer;
    if (!WebPPictureImportRGB(&picture, img->rgb, picture.width * 3) ||
        !WebPEncode(&config, &picture))
        rc = err_set(em, ERR_NOMEM, "a WebP could not be written (libwebp's error %d)",
                     (int)picture.error_code);
    WebPPictureFree(&picture);
    return rc;
}

static enum err mux_append(const WebPMemoryWriter *writer, const struct buf *xmp, struct buf *out,
                           struct errmsg *em)
{
    WebPData picture = {writer->mem, writer->size}, chunk = {xmp->ptr, xmp->len};
    WebPData whole = {0};
    WebPMux *mux = WebPMuxNew();
    enum err rc = ERR_OK;
    if (!mux || WebPMuxSetImage(mux, &picture, 0) != WEBP_MUX_OK ||
        WebPMuxSetChunk(mux, "XMP ", &chunk, 0) != WEBP_MUX_OK ||
        WebPMuxAssemble(mux, &whole) != WEBP_MUX_OK)
        rc = err_set(em, ERR_NOMEM, "out of memory while adding texts to a WebP");
    if (!rc)
        rc = buf_append(out, whole.bytes, whole.size, em);
    WebPDataClear(&whole);
    WebPMuxDelete(mux);
    return rc;
}

enum err image_webp_encode(const struct image *img, int quality, const struct image_texts *texts,
                           struct buf *out, struct errmsg *em)
{
    if (img->width_px > WEBP_MAX_DIMENSION || img->height_px > WEBP_MAX_DIMENSION)
        return err_set(em, ERR_UNSUPPORTED, "a WebP cannot hold %zu×%zu pixels: at most %d a side",
                       img->width_px, img->height_px, WEBP_MAX_DIMENSION);
    WebPMemoryWriter writer;
    struct buf xmp = {0};
    WebPMemoryWriterInit(&writer);
    enum err rc = bitstream_make(img, quality, &writer, em);
    bool has_texts = texts && texts->n > 0;
    if (!rc && has_texts)
        rc = image_xmp_write(texts, 0, texts->n, NULL, true, &xmp, em);
    if (!rc)
        rc = has_texts ? mux_append(&writer, &xmp, out, em)
                       : buf_append(out, writer.mem, writer.size, em);
    buf_deinit(&xmp);
    WebPMemoryWriterClear(&writer);
    return rc;
}

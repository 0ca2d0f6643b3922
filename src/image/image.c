/* SPDX-License-Identifier: MIT */
/* Pictures in memory, and which codec a file goes to. */
#include "image/image.h"

#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "image/image_impl.h"

enum err image_init(struct image *img, size_t width_px, size_t height_px, struct errmsg *em)
{
    size_t n;
    if (width_px == 0 || height_px == 0)
        return err_set(em, ERR_USAGE, "a picture of %zu×%zu pixels is empty", width_px, height_px);
    if (!mul_size(width_px, height_px, &n) || !mul_size(n, 3, &n))
        return err_nomem(em, UINT64_MAX);
    uint8_t *rgb = mem_alloc(n);
    if (!rgb)
        return err_nomem(em, n);
    *img = (struct image){width_px, height_px, rgb};
    return ERR_OK;
}

void image_deinit(struct image *img)
{
    if (!img)
        return;
    mem_free(img->rgb);
    *img = (struct image){0};
}

enum err image_check_size(uint64_t width_px, uint64_t height_px, struct errmsg *em)
{
    if (width_px == 0 || height_px == 0)
        return err_set(em, ERR_FORMAT, "the picture's header says %llu×%llu pixels",
                       (unsigned long long)width_px, (unsigned long long)height_px);
    if (width_px > LIMIT_PICTURE_PIXELS_MAX || height_px > LIMIT_PICTURE_PIXELS_MAX ||
        width_px * height_px > LIMIT_PICTURE_PIXELS_MAX)
        return err_set(em, ERR_FORMAT,
                       "the picture is too large: %llu×%llu, at most %u million pixels are read",
                       (unsigned long long)width_px, (unsigned long long)height_px,
                       LIMIT_PICTURE_PIXELS_MAX / 1000000u);
    return ERR_OK;
}

enum err image_sniff(const void *bytes, size_t len, enum image_format *out, struct errmsg *em)
{
    const uint8_t *p = bytes;
    if (len >= 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0)
        *out = IMAGE_PNG;
    else if (len >= 3 && memcmp(p, "\xff\xd8\xff", 3) == 0)
        *out = IMAGE_JPEG;
    else if (len >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0)
        *out = IMAGE_WEBP;
    else if (len == 0)
        return err_set(em, ERR_FORMAT, "the picture file is empty");
    else
        return err_set(em, ERR_FORMAT, "not a PNG, JPEG or WebP picture");
    return ERR_OK;
}

static enum err info_read(const void *bytes, size_t len, enum image_format *format,
                          struct image_info *info, struct errmsg *em)
{
    enum err rc = image_sniff(bytes, len, format, em);
    if (rc)
        return rc;
    switch (*format) {
    case IMAGE_PNG:
        return image_png_info(bytes, len, info, em);
    case IMAGE_JPEG:
        return image_jpeg_info(bytes, len, info, em);
    case IMAGE_WEBP:
        break;
    }
    return image_webp_info(bytes, len, info, em);
}

enum err image_probe(const void *bytes, size_t len, enum image_format *format, size_t *width_px,
                     size_t *height_px, struct errmsg *em)
{
    enum image_format f = IMAGE_PNG;
    struct image_info info;
    enum err rc = info_read(bytes, len, &f, &info, em);
    if (rc)
        return rc;
    bool turned = info.orientation >= 5;
    *format = f;
    *width_px = turned ? info.height_px : info.width_px;
    *height_px = turned ? info.width_px : info.height_px;
    return ERR_OK;
}

enum err image_decode(const void *bytes, size_t len, struct image *out, struct errmsg *em)
{
    enum image_format f = IMAGE_PNG;
    struct image_info info;
    struct image img = {0};
    enum err rc = info_read(bytes, len, &f, &info, em);
    if (rc)
        return rc;
    switch (f) {
    case IMAGE_PNG:
        rc = image_png_decode(bytes, len, &img, em);
        break;
    case IMAGE_JPEG:
        rc = image_jpeg_decode(bytes, len, &img, em);
        break;
    case IMAGE_WEBP:
        rc = image_webp_decode(bytes, len, &img, em);
        break;
    }
    if (!rc)
        rc = image_orient(&img, info.orientation, em);
    if (rc) {
        image_deinit(&img);
        return rc;
    }
    *out = img;
    return ERR_OK;
}

enum err image_texts_read(const void *bytes, size_t len, struct image_texts *out, struct errmsg *em)
{
    enum image_format f = IMAGE_PNG;
    struct image_texts texts = {0};
    enum err rc = image_sniff(bytes, len, &f, em);
    if (rc)
        return rc;
    switch (f) {
    case IMAGE_PNG:
        rc = image_png_texts(bytes, len, &texts, em);
        break;
    case IMAGE_JPEG:
        rc = image_jpeg_texts(bytes, len, &texts, em);
        break;
    case IMAGE_WEBP:
        rc = image_webp_texts(bytes, len, &texts, em);
        break;
    }
    if (rc)
        image_texts_deinit(&texts);
    else
        *out = texts;
    return rc;
}

enum err image_encode(const struct image *img, enum image_format format, int quality,
                      const struct image_texts *texts, struct buf *out, struct errmsg *em)
{
    if (quality < 0 || quality > 100)
        return err_set(em, ERR_USAGE, "quality %d is not between 1 and 100", quality);
    if (quality == 0)
        quality = 95;
    size_t len_before = out->len;
    enum err rc = ERR_OK;
    switch (format) {
    case IMAGE_PNG:
        rc = image_png_encode(img, texts, out, em);
        break;
    case IMAGE_JPEG:
        rc = image_jpeg_encode(img, quality, texts, out, em);
        break;
    case IMAGE_WEBP:
        rc = image_webp_encode(img, quality, texts, out, em);
        break;
    }
    if (rc)
        out->len = len_before;
    return rc;
}

const char *image_format_name(enum image_format f)
{
    switch (f) {
    case IMAGE_PNG:
        return "png";
    case IMAGE_JPEG:
        return "jpeg";
    case IMAGE_WEBP:
        break;
    }
    return "webp";
}

const char *image_format_extension(enum image_format f)
{
    switch (f) {
    case IMAGE_PNG:
        return ".png";
    case IMAGE_JPEG:
        return ".jpg";
    case IMAGE_WEBP:
        break;
    }
    return ".webp";
}

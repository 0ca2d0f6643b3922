/* SPDX-License-Identifier: MIT */
/* The public interface: pictures as files, their metadata, terminals. */
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "easel.h"
#include "image/image.h"
#include "lib/lib_impl.h"

static enum err parse_format(const char *name, enum image_format *out, struct errmsg *em)
{
    for (int f = IMAGE_PNG; f <= IMAGE_WEBP; f++)
        if (!strcasecmp(name, image_format_name((enum image_format)f))) {
            *out = (enum image_format)f;
            return ERR_OK;
        }
    if (!strcasecmp(name, "jpg")) {
        *out = IMAGE_JPEG;
        return ERR_OK;
    }
    return err_set(em, ERR_USAGE, "unknown format \"%s\"; use png, jpeg or webp", name);
}

const char *easel_format_of_path(const char *path)
{
    const char *dot = strrchr(path, '.');
    enum image_format f;
    if (!dot || strchr(dot, '/') || parse_format(dot + 1, &f, NULL))
        return NULL;
    return image_format_name(f);
}

const char *easel_format_of_bytes(const void *bytes, size_t len)
{
    enum image_format f;
    return image_sniff(bytes, len, &f, NULL) ? NULL : image_format_name(f);
}

/* The shortest decimal that reads back as v, with a point whatever the program's locale. */
static void write_double(char *buf, size_t size, double v)
{
    for (int digits = 6; digits <= DBL_DECIMAL_DIG; digits++) {
        snprintf(buf, size, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    size_t whole = strspn(buf, "-0123456789");
    size_t point = strcspn(buf + whole, "0123456789e");
    if (point) {
        buf[whole] = '.';
        memmove(buf + whole + 1, buf + whole + point, strlen(buf + whole + point) + 1);
    }
}

static enum err describe(const struct easel_picture *p, struct image_texts *t, struct errmsg *em)
{
    char size[32], seed[24], steps[16], guidance[32], references[16];
    snprintf(size, sizeof size, "%ux%u", p->width, p->height);
    snprintf(seed, sizeof seed, "%lld", (long long)p->seed);
    snprintf(steps, sizeof steps, "%u", p->steps);
    write_double(guidance, sizeof guidance, p->guidance);
    snprintf(references, sizeof references, "%u", p->n_references);
    const struct {
        const char *key, *value;
    } all[] = {
        {"Software", "Easel " EASEL_VERSION},
        {"prompt", p->prompt},
        {"enhanced_prompt", p->enhanced_prompt},
        {"model", p->model},
        {"transformer_file", p->transformer_file},
        {"autoencoder_file", p->autoencoder_file},
        {"size", size},
        {"seed", seed},
        {"steps", steps},
        {"guidance", guidance},
        {"references", p->n_references ? references : NULL},
    };
    enum err rc = ERR_OK;
    for (size_t i = 0; !rc && i < sizeof all / sizeof *all; i++)
        if (all[i].value)
            rc = image_texts_add(t, all[i].key, all[i].value, em);
    return rc;
}

static enum err encode_pixels(const struct image *img, const char *format, int quality,
                              const struct image_texts *texts, struct buf *out,
                              struct errmsg *em)
{
    enum image_format f;
    enum err rc = parse_format(format, &f, em);
    if (!rc && (quality < 0 || quality > 100))
        rc = err_set(em, ERR_USAGE, "the quality is %d; it must be from 1 to 100", quality);
    return rc ? rc : image_encode(img, f, quality, texts, out, em);
}

static enum err encode(const struct easel_picture *p, const char *format, int quality,
                       struct buf *out, struct errmsg *em)
{
    struct image img = {.width_px = p->width, .height_px = p->height, .rgb = p->rgb};
    struct image_texts texts = {0};
    enum err rc = describe(p, &texts, em);
    if (!rc)
        rc = encode_pixels(&img, format, quality, &texts, out, em);
    image_texts_deinit(&texts);
    return rc;
}

/* What was encoded goes to the caller, unless it failed. */
static enum easel_status give_encoded(enum err rc, const struct errmsg *em, struct buf *encoded,
                                      void **bytes, size_t *len, struct easel_error *error)
{
    if (!rc)
        lib_give_buf(encoded, bytes, len);
    buf_deinit(encoded);
    return lib_status(rc, em, error);
}

enum easel_status easel_picture_encode_quality(const struct easel_picture *p, const char *format,
                                               int quality, void **bytes, size_t *len,
                                               struct easel_error *error)
{
    struct errmsg em = {""};
    struct buf out = {0};
    enum err rc = encode(p, format, quality, &out, &em);
    return give_encoded(rc, &em, &out, bytes, len, error);
}

enum easel_status easel_picture_encode(const struct easel_picture *p, const char *format,
                                       void **bytes, size_t *len, struct easel_error *error)
{
    return easel_picture_encode_quality(p, format, 0, bytes, len, error);
}

enum easel_status easel_rgb_encode(const uint8_t *rgb, unsigned width, unsigned height,
                                   const char *format, int quality, void **bytes, size_t *len,
                                   struct easel_error *error)
{
    struct errmsg em = {""};
    struct buf out = {0};
    struct image img = {.width_px = width, .height_px = height, .rgb = (uint8_t *)(uintptr_t)rgb};
    enum err rc = encode_pixels(&img, format, quality, NULL, &out, &em);
    return give_encoded(rc, &em, &out, bytes, len, error);
}

enum easel_status easel_picture_save(const struct easel_picture *p, const char *path,
                                     const char *format, struct easel_error *error)
{
    struct errmsg em = {""};
    struct buf out = {0};
    enum err rc = ERR_OK;
    if (!format)
        format = easel_format_of_path(path);
    if (!format)
        rc = err_set(&em, ERR_USAGE, "%s: the ending names no format; use .png, .jpg or .webp",
                     path);
    if (!rc)
        rc = encode(p, format, 0, &out, &em);
    if (!rc)
        rc = file_write_atomic(path, out.ptr, out.len, &em);
    buf_deinit(&out);
    return lib_status(rc, &em, error);
}

enum easel_status easel_metadata_read(const void *bytes, size_t len,
                                      void (*fn)(void *, const char *, const char *), void *user,
                                      unsigned *width, unsigned *height,
                                      struct easel_error *error)
{
    struct errmsg em = {""};
    struct image_texts texts = {0};
    enum image_format f;
    size_t w = 0, h = 0;
    enum err rc = image_probe(bytes, len, &f, &w, &h, &em);
    if (!rc)
        rc = image_texts_read(bytes, len, &texts, &em);
    for (size_t i = 0; !rc && i < texts.n; i++)
        fn(user, texts.items[i].key, texts.items[i].value);
    if (width)
        *width = (unsigned)w;
    if (height)
        *height = (unsigned)h;
    image_texts_deinit(&texts);
    return lib_status(rc, &em, error);
}

enum easel_status easel_file_read(const char *path, size_t max_bytes, void **bytes, size_t *len,
                                  struct easel_error *error)
{
    struct errmsg em = {""};
    struct buf out = {0};
    enum err rc = file_read(path, max_bytes, &out, &em);
    if (!rc)
        lib_give_buf(&out, bytes, len);
    buf_deinit(&out);
    return lib_status(rc, &em, error);
}

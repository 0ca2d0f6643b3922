/* SPDX-License-Identifier: MIT */
/* Pictures: 8-bit sRGB, three channels, [height, width, 3], and the three formats
 * that they travel in. */
#ifndef EASEL_IMAGE_IMAGE_H
#define EASEL_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct image {
    size_t width_px, height_px;
    uint8_t *rgb; /* owned; width_px * height_px * 3 bytes, no row padding */
};

enum image_format { IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP };

NODISCARD enum err image_init(struct image *img, size_t width_px, size_t height_px,
                              struct errmsg *em);
void image_deinit(struct image *img);

/* By the first bytes. ERR_FORMAT: none of the three. */
NODISCARD enum err image_sniff(const void *bytes, size_t len, enum image_format *out,
                               struct errmsg *em);
/* Width and height from the header alone (EXIF orientation applied). */
NODISCARD enum err image_probe(const void *bytes, size_t len, enum image_format *format,
                               size_t *width_px, size_t *height_px, struct errmsg *em);
/* Decode JPEG, PNG or WebP (animated: the first frame). EXIF orientation is
 * applied, an embedded ICC profile converted to sRGB (CMYK JPEG too), alpha laid on white,
 * 16-bit and palette pictures reduced. Truncated or damaged data is ERR_FORMAT, as is
 * more than LIMIT_PICTURE_PIXELS_MAX, told by the header before any pixel is decoded. */
NODISCARD enum err image_decode(const void *bytes, size_t len, struct image *out,
                                struct errmsg *em);

/* Key-value text that travels in the file: PNG text chunks (tEXt/iTXt); JPEG and WebP
 * in one XMP packet. Keys are ASCII words, values UTF-8. */
struct image_text {
    char *key, *value;
};
struct image_texts {
    struct image_text *items;
    size_t n;
};
NODISCARD enum err image_texts_add(struct image_texts *t, const char *key, const char *value,
                                   struct errmsg *em);
const char *image_texts_find(const struct image_texts *t, const char *key); /* or NULL */
void image_texts_deinit(struct image_texts *t);
/* What the file says; no texts is not an error. */
NODISCARD enum err image_texts_read(const void *bytes, size_t len, struct image_texts *out,
                                    struct errmsg *em);

/* Encode, appended to out. quality: 1…100 for JPEG and WebP (0: 95), ignored for PNG.
 * texts may be NULL. */
NODISCARD enum err image_encode(const struct image *img, enum image_format format, int quality,
                                const struct image_texts *texts, struct buf *out,
                                struct errmsg *em);

const char *image_format_name(enum image_format f);      /* "png", "jpeg", "webp" */
const char *image_format_extension(enum image_format f); /* ".png", ".jpg", ".webp" */

/* Pillow's Image.resize(size, LANCZOS) on 8-bit RGB, to the bit: two passes,
 * horizontal first, 8-bit between them, fixed-point coefficients.
 * Source: Pillow, src/libImaging/Resample.c. out: uninitialised. */
NODISCARD enum err image_resize_lanczos(const struct image *in, size_t width_px, size_t height_px,
                                        struct image *out, struct errmsg *em);
/* The rectangle; it must lie inside. */
NODISCARD enum err image_crop(const struct image *in, size_t x_px, size_t y_px, size_t width_px,
                              size_t height_px, struct image *out, struct errmsg *em);
/* A reference picture made fit for the autoencoder, as diffusers' Flux2ImageProcessor
 * and pipeline do: refused if a side is under 64 px or it is longer than 8:1; over
 * 1024×1024 pixels it is scaled to that area with LANCZOS (sides truncated to int);
 * then scaled/cropped about its centre to multiples of multiple_of_px, exactly as there. */
NODISCARD enum err image_prepare_reference(const struct image *in, size_t multiple_of_px,
                                           struct image *out, struct errmsg *em);

#endif

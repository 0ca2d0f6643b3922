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
 * applied, an embedded ICC profile converted to sRGB (CMYK JPEG too; a profile that does
 * not fit or is damaged is passed over), alpha laid on white, 16-bit and palette pictures
 * reduced, all as Pillow does it. Truncated or damaged data is ERR_FORMAT, as is
 * more than LIMIT_PICTURE_PIXELS_MAX, told by the header before any pixel is decoded;
 * a well-formed kind that the codec lacks (12-bit JPEG) is ERR_UNSUPPORTED.
 * out: untouched on failure. */
NODISCARD enum err image_decode(const void *bytes, size_t len, struct image *out,
                                struct errmsg *em);

/* Key-value text that travels in the file: PNG text chunks (tEXt/iTXt); JPEG and WebP
 * in XMP, one property of the namespace urn:x-easel:picture:1.0/ each. Keys are ASCII
 * words, values UTF-8 without NUL; any other value reads back as it was, whatever its
 * control characters (xmp_write.c says how) and length: what exceeds a JPEG segment
 * goes into ExtendedXMP segments. A zeroed struct is an empty list. */
struct image_text {
    char *key, *value;
};
struct image_texts {
    struct image_text *items;
    size_t n;
};
/* Copies both; replaces the value of a key that is there already. ERR_USAGE: the key is
 * not a word (a letter or '_', then letters, digits, "_-.", 79 at most), the value is not
 * UTF-8 or over 1 MiB, or there would be over 256 texts or 8 MiB in all. */
NODISCARD enum err image_texts_add(struct image_texts *t, const char *key, const char *value,
                                   struct errmsg *em);
const char *image_texts_find(const struct image_texts *t, const char *key); /* or NULL */
void image_texts_deinit(struct image_texts *t);
/* What the file says; no texts is not an error. Of a PNG every text chunk, of JPEG and
 * WebP our own properties; the first of two with one key. Bytes that are not UTF-8 become
 * U+FFFD; texts over the limits above are left out. The pixels are not looked at.
 * out: untouched on failure. */
NODISCARD enum err image_texts_read(const void *bytes, size_t len, struct image_texts *out,
                                    struct errmsg *em);

/* Encode, appended to out (unchanged on failure); same input, same bytes. quality: 1…100
 * for JPEG and WebP (0: 95), ignored for PNG. JPEG has full chroma from 90 on; WebP is
 * lossless at 100. texts may be NULL. ERR_UNSUPPORTED: a side is too long for the
 * format (JPEG 65,500, WebP 16,383 pixels). */
NODISCARD enum err image_encode(const struct image *img, enum image_format format, int quality,
                                const struct image_texts *texts, struct buf *out,
                                struct errmsg *em);

const char *image_format_name(enum image_format f);      /* "png", "jpeg", "webp" */
const char *image_format_extension(enum image_format f); /* ".png", ".jpg", ".webp" */

/* Pillow's Image.resize(size, LANCZOS) on 8-bit RGB, to the bit: two passes, 8-bit
 * between them, fixed-point coefficients; horizontal first, but vertical first where the
 * height shrinks by more than twice as many pixels as the width (Pillow 13; before it
 * always horizontal). Source: Pillow, src/libImaging/Resample.c. out: uninitialised. */
NODISCARD enum err image_resize_lanczos(const struct image *in, size_t width_px, size_t height_px,
                                        struct image *out, struct errmsg *em);
/* The rectangle; it must lie inside. */
NODISCARD enum err image_crop(const struct image *in, size_t x_px, size_t y_px, size_t width_px,
                              size_t height_px, struct image *out, struct errmsg *em);
/* Whether a picture can serve as a reference: ERR_USAGE if a side is under 64 px or it is longer
 * than 8:1. */
NODISCARD enum err image_check_reference(const struct image *in, struct errmsg *em);
/* A reference picture made fit for the autoencoder, as diffusers' Flux2ImageProcessor
 * and pipeline do: refused as above; over 1024×1024 pixels it is scaled to that area with
 * LANCZOS (sides truncated to int); then cropped about its centre, not scaled again, to
 * multiples of multiple_of_px (the pipeline's vae_scale_factor * 2; 1…64), exactly as there.
 * Refusals are ERR_USAGE. */
NODISCARD enum err image_prepare_reference(const struct image *in, size_t multiple_of_px,
                                           struct image *out, struct errmsg *em);

#endif

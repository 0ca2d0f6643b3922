/* SPDX-License-Identifier: MIT */
/* What the files of image/ share; nobody else includes this. */
#ifndef EASEL_IMAGE_IMAGE_IMPL_H
#define EASEL_IMAGE_IMAGE_IMPL_H

#include <stdbool.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "image/image.h"

/* Bounds on what a picture file may make us hold or do, besides its pixels. */
#define IMAGE_ICC_BYTES_MAX (8u << 20)   /* a larger profile is passed over */
#define IMAGE_JPEG_SCANS_MAX 100u        /* encoders write about ten; each costs a whole pass */
#define IMAGE_TEXTS_MAX 256u             /* texts in one file; more are passed over */
#define IMAGE_TEXT_BYTES_MAX (1u << 20)  /* one value; a longer one is passed over */
#define IMAGE_TEXTS_BYTES_MAX (8u << 20) /* all values of one file */
#define IMAGE_XMP_BYTES_MAX (64u << 20)  /* a packet: all values, each byte escaped to 7 */
#define IMAGE_KEY_BYTES_MAX 79u          /* PNG's limit on a keyword */

/* ---- codecs: one trio of files each ---------------------------------------- */

struct image_info {
    size_t width_px, height_px; /* as stored, before orientation */
    unsigned orientation;       /* EXIF, 1…8; 1 where nothing is said */
};

/* The header alone. Sizes are checked: 0 and more than the limit are ERR_FORMAT. */
NODISCARD enum err image_png_info(const uint8_t *bytes, size_t len, struct image_info *out,
                                  struct errmsg *em);
NODISCARD enum err image_jpeg_info(const uint8_t *bytes, size_t len, struct image_info *out,
                                   struct errmsg *em);
NODISCARD enum err image_webp_info(const uint8_t *bytes, size_t len, struct image_info *out,
                                   struct errmsg *em);

/* Pixels, not yet turned. out: untouched on failure. */
NODISCARD enum err image_png_decode(const uint8_t *bytes, size_t len, struct image *out,
                                    struct errmsg *em);
NODISCARD enum err image_jpeg_decode(const uint8_t *bytes, size_t len, struct image *out,
                                     struct errmsg *em);
NODISCARD enum err image_webp_decode(const uint8_t *bytes, size_t len, struct image *out,
                                     struct errmsg *em);

/* texts: empty at first; on failure the caller releases it all the same. */
NODISCARD enum err image_png_texts(const uint8_t *bytes, size_t len, struct image_texts *out,
                                   struct errmsg *em);
NODISCARD enum err image_jpeg_texts(const uint8_t *bytes, size_t len, struct image_texts *out,
                                    struct errmsg *em);
NODISCARD enum err image_webp_texts(const uint8_t *bytes, size_t len, struct image_texts *out,
                                    struct errmsg *em);

/* Appended to out, which may hold a part on failure. texts may be NULL. */
NODISCARD enum err image_png_encode(const struct image *img, const struct image_texts *texts,
                                    struct buf *out, struct errmsg *em);
NODISCARD enum err image_jpeg_encode(const struct image *img, int quality,
                                     const struct image_texts *texts, struct buf *out,
                                     struct errmsg *em);
NODISCARD enum err image_webp_encode(const struct image *img, int quality,
                                     const struct image_texts *texts, struct buf *out,
                                     struct errmsg *em);

/* ERR_FORMAT when a side is 0 or there are more than LIMIT_PICTURE_PIXELS_MAX. */
NODISCARD enum err image_check_size(uint64_t width_px, uint64_t height_px, struct errmsg *em);

/* ---- orientation ------------------------------------------------------------ */

/* The orientation tag of an EXIF block (TIFF header on, with or without
 * "Exif\0\0" in front); 1 where there is none or the block is damaged. */
unsigned image_exif_orientation(const uint8_t *exif, size_t len);
/* Turn the picture as EXIF orientation 1…8 says. */
NODISCARD enum err image_orient(struct image *img, unsigned orientation, struct errmsg *em);

/* ---- colour ----------------------------------------------------------------- */

/* How a decoder hands over its pixels, 8 bits a channel. */
enum colour_layout {
    COLOUR_GREY,
    COLOUR_GREY_ALPHA,
    COLOUR_RGB,
    COLOUR_RGBA,
    COLOUR_CMYK_INVERTED, /* 255: no ink, as every JPEG with four channels stores it */
};

/* Rows of any layout → sRGB on white. A zeroed struct may be closed. */
struct colour {
    enum colour_layout layout;
    void *context, *transform; /* lcms; NULL without a profile */
    bool expand_first;         /* grey pixels under an RGB profile */
};

/* icc: the embedded profile or NULL. A profile that is damaged, too large or for
 * another colour space is passed over, as browsers do: the pixels are still good. */
void colour_open(struct colour *c, enum colour_layout layout, const void *icc, size_t icc_len);
void colour_close(struct colour *c);
size_t colour_channels(enum colour_layout layout);
void colour_row(const struct colour *c, const uint8_t *in, uint8_t *rgb, size_t n_px);

/* ---- texts ------------------------------------------------------------------ */

/* Add without judging the key as strictly as image_texts_add; value is made valid
 * UTF-8 (U+FFFD for what is not). A key that is there already, and what exceeds a
 * limit, is passed over. */
NODISCARD enum err image_texts_add_foreign(struct image_texts *t, const char *key, size_t key_len,
                                           const char *value, size_t value_len, struct errmsg *em);

/* ---- XMP -------------------------------------------------------------------- */

/* Texts first … end-1 as one XMP packet, appended: one element each, in our namespace.
 * extension_guid: 32 hex digits to name in xmpNote:HasExtendedXMP, or NULL.
 * wrap: with the <?xpacket?> lines around it. */
NODISCARD enum err image_xmp_write(const struct image_texts *t, size_t first, size_t end,
                                   const char *extension_guid, bool wrap, struct buf *out,
                                   struct errmsg *em);
/* The texts of a packet, added to out. What is not well-formed is passed over.
 * extension_guid (33 bytes, may be NULL): set to the GUID named there, or to "". */
NODISCARD enum err image_xmp_read(const uint8_t *xmp, size_t len, struct image_texts *out,
                                  char *extension_guid, struct errmsg *em);

/* 32 hex digits and a NUL. */
void image_md5_hex(const uint8_t *bytes, size_t len, char out[33]);

#endif

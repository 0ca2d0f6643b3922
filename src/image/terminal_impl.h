/* SPDX-License-Identifier: MIT */
/* What terminal.c, sixel.c and quantise.c share. */
#ifndef EASEL_IMAGE_TERMINAL_IMPL_H
#define EASEL_IMAGE_TERMINAL_IMPL_H

#include "image/image.h"

#define PALETTE_COLOURS_MAX 256u
#define SIXEL_BAND_ROWS 6u

struct palette {
    size_t n;
    uint8_t rgb[PALETTE_COLOURS_MAX][3];
    uint8_t index_of[1u << 15]; /* by colour_bin */
};

/* Where a colour is looked up: the upper 5 bits of each channel. */
static inline unsigned colour_bin(const uint8_t *rgb)
{
    return (unsigned)(rgb[0] >> 3) << 10 | (unsigned)(rgb[1] >> 3) << 5 | rgb[2] >> 3;
}

/* At most 256 colours for this picture; same picture, same palette. */
NODISCARD enum err palette_make(const struct image *img, struct palette *out, struct errmsg *em);

NODISCARD enum err sixel_append(const struct image *img, struct buf *out, struct errmsg *em);

#endif

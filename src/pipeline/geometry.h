/* SPDX-License-Identifier: MIT */
/* From the asked size to the token grid that is drawn, and back to exact pixels. */
#ifndef EASEL_PIPELINE_GEOMETRY_H
#define EASEL_PIPELINE_GEOMETRY_H

#include <stddef.h>

#include "base/err.h"
#include "image/image.h"

struct grid {
    size_t w_tok, h_tok;           /* tokens */
    size_t drawn_w_px, drawn_h_px; /* tokens times pixels per token */
};

/* The grid for a picture of w_px × h_px, px_per_tok pixels a token and side.
 * native_pixels 0: the asked size, each side rounded up to whole tokens.
 * Otherwise about that area in the asked aspect ratio. */
struct grid grid_for_size(size_t w_px, size_t h_px, size_t px_per_tok, size_t native_pixels);

/* A drawn picture to the asked size: one that is at least as large is cropped about its
 * centre, after one that is larger by a token (of px_per_tok) or more in both sides was reduced;
 * a smaller one is first enlarged until it covers the size (LANCZOS).
 * out: uninitialised, image_deinit it. */
NODISCARD enum err grid_fit_picture(const struct image *drawn, size_t px_per_tok, size_t w_px,
                                    size_t h_px, struct image *out, struct errmsg *em);

#endif

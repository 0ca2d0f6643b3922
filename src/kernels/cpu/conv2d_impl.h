/* SPDX-License-Identifier: MIT */
/* What the ways to compute a convolution share; only for conv2d*.c. */
#ifndef EASEL_KERNELS_CPU_CONV2D_IMPL_H
#define EASEL_KERNELS_CPU_CONV2D_IMPL_H

#include <stddef.h>

#include "kernels/backend.h"
#include "kernels/cpu/cpu.h"

/* A tile of the output, and the strip: the inputs under it, padded and upsampled. */
struct conv_tile {
    size_t x0, y0, w, h;     /* output pixels */
    size_t strip_w, strip_h; /* input pixels */
};

/* strip = [strip_h, strip_w, n_channels] of channels from c0 on, zero outside of the
 * picture */
void conv2d_fill_strip(const struct conv2d_args *a, const struct conv_tile *t, size_t c0,
                       size_t n_channels, float *strip);

/* Bias, residual and activation from c to y for columns [col0, col0 + cols).
 * c: [rows, row_pixels, ldc], rows >= t->h, row_pixels >= t->w. */
void conv2d_finish_tile(const struct cpu_kernels *k, const struct conv2d_args *a,
                        const struct conv_tile *t, size_t col0, size_t cols, const float *c,
                        size_t row_pixels, size_t ldc);

/* A 3x3 convolution of stride 1 by Winograd's method, if it pays for this shape;
 * false: nothing was done. */
bool conv2d_winograd(struct cpu_backend *cb, const struct conv2d_args *a);

#endif

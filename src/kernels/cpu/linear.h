/* SPDX-License-Identifier: MIT */
/* Linear layers and convolutions on the CPU.
 *
 * Both are a product C[rows, cols] = A[rows, k] · W[cols, k]ᵀ. A task owns a tile
 * of C in its scratch memory and goes through k in blocks: for each group of
 * columns it widens and transposes a block of the weights into a panel [kc, width]
 * of floats that fits into the first-level cache, and multiplies all rows of its
 * tile by it. So every weight is read once for hundreds of rows and never stored
 * whole as floats. A's rows are read where they lie, at any stride. (After Goto and
 * van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008, with the
 * parts of A and B exchanged.)
 *
 * The blocks of k depend on the layer alone, and inside of a block an element is
 * summed in the order of k: how rows and columns are cut into tasks changes no bit. */
#ifndef EASEL_KERNELS_CPU_LINEAR_H
#define EASEL_KERNELS_CPU_LINEAR_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/backend.h"

/* What happens to a finished tile of C on its way to y; as in linear_args and
 * conv2d_args. Vectors start at the tile's first column. */
struct tile_finish {
    const float *c;
    const float *c_up; /* or NULL: SwiGLU's other product */
    size_t ldc;
    size_t rows, cols;
    float *y;
    size_t ldy;
    const float *bias, *gate;
    const float *residual; /* stride ldy */
    enum activation act;
    bool accumulate;
};

#define GEMV_ROWS_MAX 8 /* up to so many rows of x, weights are streamed, not tiled */

/* This processor's functions; the reference's table has only the last three. */
struct cpu_kernels {
    size_t lanes;     /* floats in a vector */
    size_t width_max; /* of a panel; a multiple of lanes */
    size_t kc_max;    /* rows of a panel */

    /* panel[k * width + i] = element k of row i of w, i < width; rows from n_rows on
     * hold anything. w: elements of type dtype, ld elements from row to row. */
    void (*unpack)(float *panel, size_t width, const void *w, enum dtype dtype, size_t ld,
                   size_t n_rows, size_t kc);
    /* c [rows, width] = (add: +=) a [rows, kc] · panel [kc, width] */
    void (*multiply)(size_t rows, size_t width, size_t kc, const float *a, size_t lda,
                     const float *panel, float *c, size_t ldc, bool add);
    void (*finish)(const struct tile_finish *f);
    /* c [m, n_rows] = x [m, k] · w [n_rows, k]ᵀ for m <= GEMV_ROWS_MAX */
    void (*gemv)(float *c, size_t ldc, const float *x, size_t ldx, size_t m, const void *w,
                 enum dtype dtype, size_t ld, size_t n_rows, size_t k);

    /* F(4x4, 3x3); the two transforms for one patch, n a multiple of lanes.
     *   v[pos * pos_stride + i], i < n: from 6 x 6 pixels of the strip
     *   c: 4 x 4 pixels from m[pos * pos_stride + i], i < n
     *   u [36, n] from g [9, n] */
    void (*winograd_input)(float *v, size_t pos_stride, const float *strip, size_t pixel_stride,
                           size_t row_stride, size_t n);
    void (*winograd_output)(float *c, size_t pixel_stride, size_t row_stride, const float *m,
                            size_t pos_stride, size_t n);
    void (*winograd_weights)(float *u, const float *g, size_t n);

    /* What the processor can do at most, for the benchmark: so many rounds of FMAs
     * between registers; so many bytes read. The values returned are meaningless. */
    float (*fma_rounds)(size_t n_rounds);
    size_t fma_flops_per_round;
    float (*read_bytes)(const void *p, size_t size_bytes);
};

void cpu_kernels_init(struct cpu_kernels *k, enum cpu_level level);
/* Its parts: each overrides what it does better. */
void cpu_kernels_init_avx2(struct cpu_kernels *k);
void cpu_kernels_init_avx512(struct cpu_kernels *k);

void cpu_linear(struct backend *be, const struct linear_args *a);
void cpu_conv2d(struct backend *be, const struct conv2d_args *a);

/* k cut into blocks of nearly equal size, multiples of 16 but the last. */
static inline size_t k_block(size_t k, size_t kc_max)
{
    size_t n = (k + kc_max - 1) / kc_max;
    size_t kc = (k + n - 1) / n;
    return (kc + 15) / 16 * 16;
}

#endif

/* SPDX-License-Identifier: MIT */
/* Tiles of 6 x 64, 8 x 48, 12 x 32 and 14 x 16: measured on Ice Lake, the wide and
 * low ones run at 97 % of the FMA peak, 12 x 32 at 86 %, because each broadcast of
 * an input then serves fewer products. */
#include "kernels/cpu/simd_avx512.h"

#define PANEL_VECS_MAX 4

#include "kernels/cpu/simd_math.h"
#include "kernels/cpu/linear_simd.h"
#include "kernels/cpu/winograd_simd.h"

/* clang-format off */
TILE_FN(1, 4) TILE_FN(2, 4) TILE_FN(3, 4) TILE_FN(4, 4) TILE_FN(5, 4) TILE_FN(6, 4)
TILE_FN(1, 3) TILE_FN(2, 3) TILE_FN(3, 3) TILE_FN(4, 3) TILE_FN(5, 3) TILE_FN(6, 3)
TILE_FN(7, 3) TILE_FN(8, 3)
TILE_FN(1, 2) TILE_FN(2, 2) TILE_FN(3, 2) TILE_FN(4, 2) TILE_FN(5, 2) TILE_FN(6, 2)
TILE_FN(7, 2) TILE_FN(8, 2) TILE_FN(9, 2) TILE_FN(10, 2) TILE_FN(11, 2) TILE_FN(12, 2)
TILE_FN(1, 1) TILE_FN(2, 1) TILE_FN(3, 1) TILE_FN(4, 1) TILE_FN(5, 1) TILE_FN(6, 1)
TILE_FN(7, 1) TILE_FN(8, 1) TILE_FN(9, 1) TILE_FN(10, 1) TILE_FN(11, 1) TILE_FN(12, 1)
TILE_FN(13, 1) TILE_FN(14, 1)
/* clang-format on */

static tile_fn *const tiles_x4[] = {tile_1x4, tile_2x4, tile_3x4, tile_4x4, tile_5x4, tile_6x4};
static tile_fn *const tiles_x3[] = {tile_1x3, tile_2x3, tile_3x3, tile_4x3,
                                    tile_5x3, tile_6x3, tile_7x3, tile_8x3};
static tile_fn *const tiles_x2[] = {tile_1x2, tile_2x2, tile_3x2, tile_4x2,  tile_5x2,  tile_6x2,
                                    tile_7x2, tile_8x2, tile_9x2, tile_10x2, tile_11x2, tile_12x2};
static tile_fn *const tiles_x1[] = {tile_1x1,  tile_2x1,  tile_3x1,  tile_4x1, tile_5x1,
                                    tile_6x1,  tile_7x1,  tile_8x1,  tile_9x1, tile_10x1,
                                    tile_11x1, tile_12x1, tile_13x1, tile_14x1};

static void multiply(size_t rows, size_t width, size_t kc, const float *a, size_t lda,
                     const float *panel, float *c, size_t ldc, bool add)
{
    switch (width / VEC_LANES) {
    case 4:
        multiply_rows(tiles_x4, 6, rows, kc, a, lda, panel, c, ldc, add);
        break;
    case 3:
        multiply_rows(tiles_x3, 8, rows, kc, a, lda, panel, c, ldc, add);
        break;
    case 2:
        multiply_rows(tiles_x2, 12, rows, kc, a, lda, panel, c, ldc, add);
        break;
    default:
        multiply_rows(tiles_x1, 14, rows, kc, a, lda, panel, c, ldc, add);
    }
}

void cpu_kernels_init_avx512(struct cpu_kernels *k)
{
    k->lanes = VEC_LANES;
    k->width_max = PANEL_VECS_MAX * VEC_LANES;
    k->kc_max = 192; /* a panel of 48 KiB: the first-level cache of Ice Lake and later */
    k->unpack = unpack;
    k->multiply = multiply;
    k->finish = finish;
    k->gemv = gemv;
    k->winograd_input = winograd_input;
    k->winograd_output = winograd_output;
    k->winograd_weights = winograd_weights;
    k->fma_rounds = fma_rounds;
    k->fma_flops_per_round = FMA_FLOPS_PER_ROUND;
    k->read_bytes = read_bytes;
}

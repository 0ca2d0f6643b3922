/* SPDX-License-Identifier: MIT */
/* Tiles of 6 x 16 (12 sums, 2 weights and 1 input in 16 registers) and 12 x 8. */
#include "kernels/cpu/simd_avx2.h"

#define PANEL_VECS_MAX 2

#include "kernels/cpu/simd_math.h"
#include "kernels/cpu/linear_simd.h"
#include "kernels/cpu/winograd_simd.h"

/* clang-format off */
TILE_FN(1, 2) TILE_FN(2, 2) TILE_FN(3, 2) TILE_FN(4, 2) TILE_FN(5, 2) TILE_FN(6, 2)
TILE_FN(1, 1) TILE_FN(2, 1) TILE_FN(3, 1) TILE_FN(4, 1) TILE_FN(5, 1) TILE_FN(6, 1)
TILE_FN(7, 1) TILE_FN(8, 1) TILE_FN(9, 1) TILE_FN(10, 1) TILE_FN(11, 1) TILE_FN(12, 1)
/* clang-format on */

static tile_fn *const tiles_x2[] = {tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2};
static tile_fn *const tiles_x1[] = {tile_1x1, tile_2x1, tile_3x1, tile_4x1,  tile_5x1,  tile_6x1,
                                    tile_7x1, tile_8x1, tile_9x1, tile_10x1, tile_11x1, tile_12x1};

static void multiply(size_t rows, size_t width, size_t kc, const float *a, size_t lda,
                     const float *panel, float *c, size_t ldc, bool add)
{
    if (width == 2 * VEC_LANES)
        multiply_rows(tiles_x2, 6, rows, kc, a, lda, panel, c, ldc, add);
    else
        multiply_rows(tiles_x1, 12, rows, kc, a, lda, panel, c, ldc, add);
}

void cpu_kernels_init_avx2(struct cpu_kernels *k)
{
    k->lanes = VEC_LANES;
    k->width_max = PANEL_VECS_MAX * VEC_LANES;
    k->kc_max = 192; /* a panel of 12 KiB: rows of a and c need the first-level cache too */
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

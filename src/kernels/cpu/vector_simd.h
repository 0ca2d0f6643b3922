/* SPDX-License-Identifier: MIT */
/* Element-wise operations, compiled once with simd_avx2.h and once with
 * simd_avx512.h. tanh_scaled stays the reference's: it runs once over a latent. */
#include <string.h>

#include "kernels/cpu/cpu.h"

static void to_f32_simd(float *y, const void *src, enum dtype dtype, size_t n)
{
    const char *p = src;
    size_t i = 0;
    if (dtype == DTYPE_F32) {
        memcpy(y, src, n * sizeof *y);
        return;
    }
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(y + i, dtype == DTYPE_BF16 ? vec_load_bf16(p + 2 * i) : vec_load_f16(p + 2 * i));
    for (; i < n; i++)
        y[i] = f32_load(src, dtype, i);
}

static void silu_simd(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(y + i, vec_silu(vec_load(x + i)));
    if (i < n)
        vec_store_n(y + i, vec_silu(vec_load_n(x + i, n - i)), n - i);
}

static void axpy_simd(float *y, float a, const float *x, size_t n)
{
    vec av = vec_set1(a);
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(y + i, vec_fma(av, vec_load(x + i), vec_load(y + i)));
    if (i < n)
        vec_store_n(y + i, vec_fma(av, vec_load_n(x + i, n - i), vec_load_n(y + i, n - i)), n - i);
}

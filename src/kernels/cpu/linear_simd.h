/* SPDX-License-Identifier: MIT */
/* The inner loops of linear layers and convolutions, written once over `vec` (one
 * of simd_avx2.h, simd_avx512.h, included with simd_math.h before this file) and
 * compiled once for each instruction set. The includer defines
 *   PANEL_VECS_MAX  vectors in a panel's row
 *   TILE_ROWS(nv)   rows of the register tile for panels of nv vectors */
#ifndef EASEL_KERNELS_CPU_LINEAR_SIMD_H
#define EASEL_KERNELS_CPU_LINEAR_SIMD_H

#include <stdint.h>
#include <string.h>

#include "kernels/cpu/linear.h"

#define CACHE_LINE_BYTES 64

ALWAYS_INLINE vec activate(vec v, enum activation act)
{
    if (act == ACT_SILU)
        return vec_silu_normal(v);
    if (act == ACT_RELU)
        return vec_max(vec_zero(), v);
    return v;
}

/* ---- weights to panels ---- */

/* n elements at p (n at most a vector's bytes of them), then zeros: the end of a
 * row, behind which the mapped file may end. */
ALWAYS_INLINE vec load_tail(const char *p, enum dtype dtype, size_t n)
{
    char buf[VEC_LANES * sizeof(float)] = {0};
    memcpy(buf, p, n * dtype_size(dtype));
    return dtype == DTYPE_F16 ? vec_load_f16(buf) : vec_load(buf);
}

/* Lanes columns of the panel from as many rows of w. A 32-bit lane of a loaded row
 * holds a pair of bfloat16, so one transposition serves twice as many k. */
ALWAYS_INLINE void unpack_lanes_as(float *dst, size_t width, const char *const rows[VEC_LANES],
                                   enum dtype dtype, size_t kc)
{
    const size_t step = dtype == DTYPE_BF16 ? 2 * VEC_LANES : VEC_LANES;
    for (size_t k = 0; k < kc; k += step) {
        size_t n = kc - k < step ? kc - k : step;
        size_t at = k * dtype_size(dtype);
        vec v[VEC_LANES];
        if (n == step) {
#pragma GCC unroll 16
            for (int i = 0; i < VEC_LANES; i++) {
                v[i] = dtype == DTYPE_F16 ? vec_load_f16(rows[i] + at) : vec_load(rows[i] + at);
                /* this row's next block, from memory while this one is used */
                _mm_prefetch(rows[i] + at + kc * dtype_size(dtype), _MM_HINT_T1);
            }
        } else {
#pragma GCC unroll 16
            for (int i = 0; i < VEC_LANES; i++)
                v[i] = load_tail(rows[i] + at, dtype, n);
        }
        vec_transpose(v);
        float *d = dst + k * width;
#pragma GCC unroll 16
        for (size_t i = 0; i < VEC_LANES; i++) {
            if (dtype != DTYPE_BF16) {
                if (i < n)
                    vec_store(d + i * width, v[i]);
                continue;
            }
            if (2 * i < n)
                vec_store(d + 2 * i * width, vec_bf16_lower(v[i]));
            if (2 * i + 1 < n)
                vec_store(d + (2 * i + 1) * width, vec_bf16_upper(v[i]));
        }
    }
}

static void unpack(float *panel, size_t width, const void *w, enum dtype dtype, size_t ld,
                   size_t n_rows, size_t kc)
{
    for (size_t i0 = 0; i0 < width; i0 += VEC_LANES) {
        const char *rows[VEC_LANES];
        for (size_t i = 0; i < VEC_LANES; i++) {
            size_t row = i0 + i < n_rows ? i0 + i : n_rows - 1;
            rows[i] = (const char *)w + row * ld * dtype_size(dtype);
        }
        if (dtype == DTYPE_BF16)
            unpack_lanes_as(panel + i0, width, rows, DTYPE_BF16, kc);
        else if (dtype == DTYPE_F16)
            unpack_lanes_as(panel + i0, width, rows, DTYPE_F16, kc);
        else
            unpack_lanes_as(panel + i0, width, rows, DTYPE_F32, kc);
    }
}

/* ---- the register tile ---- */

/* n_rows x nv vectors of C in registers through all of kc; n_rows and nv are
 * constants where this is called. */
ALWAYS_INLINE void multiply_tile(const size_t n_rows, const size_t nv, size_t kc, const float *a,
                                 size_t lda, const float *panel, float *c, size_t ldc, bool add)
{
    vec sum[16][PANEL_VECS_MAX];
#pragma GCC unroll 16
    for (size_t i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (size_t j = 0; j < nv; j++)
            sum[i][j] = vec_zero();
#pragma GCC unroll 16
    for (size_t i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (size_t j = 0; j < nv * VEC_LANES; j += CACHE_LINE_BYTES / sizeof *c)
            _mm_prefetch((const char *)(c + i * ldc + j), _MM_HINT_T0);
    /* The next rows of a come from the second or third cache: ask for them now. */
    const float *next = a + n_rows * lda;
    for (size_t k = 0; k < kc; k++) {
        vec w[PANEL_VECS_MAX];
        _mm_prefetch((const char *)(next + n_rows * k), _MM_HINT_T0);
#pragma GCC unroll 4
        for (size_t j = 0; j < nv; j++)
            w[j] = vec_load(panel + (k * nv + j) * VEC_LANES);
#pragma GCC unroll 16
        for (size_t i = 0; i < n_rows; i++) {
            vec x = vec_set1(a[i * lda + k]);
#pragma GCC unroll 4
            for (size_t j = 0; j < nv; j++)
                sum[i][j] = vec_fma(x, w[j], sum[i][j]);
        }
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
        for (size_t j = 0; j < nv; j++) {
            float *p = c + i * ldc + j * VEC_LANES;
            vec_store(p, add ? vec_add(vec_load(p), sum[i][j]) : sum[i][j]);
        }
    }
}

typedef void tile_fn(size_t kc, const float *a, size_t lda, const float *panel, float *c,
                     size_t ldc, bool add);

#define TILE_FN(rows, nv)                                                                         \
    static void tile_##rows##x##nv(size_t kc, const float *a, size_t lda, const float *panel,     \
                                   float *c, size_t ldc, bool add)                                \
    {                                                                                             \
        multiply_tile(rows, nv, kc, a, lda, panel, c, ldc, add);                                  \
    }

/* All rows in groups of nearly equal size, so that no small rest runs badly. */
ALWAYS_INLINE void multiply_rows(tile_fn *const tiles[], size_t tile_rows, size_t rows, size_t kc,
                                 const float *a, size_t lda, const float *panel, float *c,
                                 size_t ldc, bool add)
{
    size_t n_groups = (rows + tile_rows - 1) / tile_rows;
    size_t few = rows / n_groups;
    size_t n_more = rows % n_groups; /* groups with one row more */
    for (size_t g = 0; g < n_groups; g++) {
        size_t n = few + (g < n_more);
        tiles[n - 1](kc, a, lda, panel, c, ldc, add);
        a += n * lda;
        c += n * ldc;
    }
}

/* ---- from C to y ---- */

ALWAYS_INLINE vec load_cols(const float *p, size_t n)
{
    return n == VEC_LANES ? vec_load(p) : vec_load_n(p, n);
}

ALWAYS_INLINE void finish_cols(const struct tile_finish *f, size_t row, size_t col, size_t n)
{
    size_t at = row * f->ldc + col;
    float *y = f->y + row * f->ldy + col;
    vec v = vec_load(f->c + at);
    if (f->bias)
        v = vec_add(v, load_cols(f->bias + col, n));
    if (f->residual)
        v = vec_add(v, load_cols(f->residual + row * f->ldy + col, n));
    if (f->c_up)
        v = vec_mul(vec_silu_normal(v), vec_load(f->c_up + at));
    else
        v = activate(v, f->act);
    if (f->gate)
        v = vec_fma(load_cols(f->gate + col, n), v, load_cols(y, n));
    else if (f->accumulate)
        v = vec_add(v, load_cols(y, n));
    if (n == VEC_LANES)
        vec_store(y, v);
    else
        vec_store_n(y, v, n);
}

static void finish(const struct tile_finish *f)
{
    for (size_t row = 0; row < f->rows; row++) {
        size_t col = 0;
        for (; col + VEC_LANES <= f->cols; col += VEC_LANES)
            finish_cols(f, row, col, VEC_LANES);
        if (col < f->cols)
            finish_cols(f, row, col, f->cols - col);
    }
}

/* ---- few rows: one pass over the weights ---- */

ALWAYS_INLINE vec load_weights(const char *p, enum dtype dtype)
{
    if (dtype == DTYPE_BF16)
        return vec_load_bf16(p);
    return dtype == DTYPE_F16 ? vec_load_f16(p) : vec_load(p);
}

/* n_rows weight rows times m rows of x, both constants: each vector loaded serves
 * several products. n_sums partial sums for each, so that enough are under way. */
ALWAYS_INLINE void dot_block(float *c, size_t ldc, const float *x, size_t ldx, const size_t m,
                             const char *w, enum dtype dtype, size_t ld, const size_t n_rows,
                             size_t k)
{
    const size_t n_sums = m == 1 ? 2 : 1;
    const size_t row_bytes = ld * dtype_size(dtype);
    vec sum[4][4][2];
#pragma GCC unroll 4
    for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (size_t i = 0; i < m; i++)
            sum[r][i][0] = sum[r][i][1] = vec_zero();
    size_t at = 0;
    for (; at + n_sums * VEC_LANES <= k; at += n_sums * VEC_LANES) {
#pragma GCC unroll 2
        for (size_t s = 0; s < n_sums; s++) {
            size_t e = at + s * VEC_LANES;
            vec xs[4];
#pragma GCC unroll 4
            for (size_t i = 0; i < m; i++)
                xs[i] = vec_load(x + i * ldx + e);
#pragma GCC unroll 4
            for (size_t r = 0; r < n_rows; r++) {
                vec v = load_weights(w + r * row_bytes + e * dtype_size(dtype), dtype);
#pragma GCC unroll 4
                for (size_t i = 0; i < m; i++)
                    sum[r][i][s] = vec_fma(v, xs[i], sum[r][i][s]);
            }
        }
    }
    for (; at < k; at += VEC_LANES) {
        size_t n = k - at < VEC_LANES ? k - at : VEC_LANES;
        for (size_t r = 0; r < n_rows; r++) {
            char tail[VEC_LANES * sizeof(float)] = {0};
            memcpy(tail, w + r * row_bytes + at * dtype_size(dtype), n * dtype_size(dtype));
            vec v = load_weights(tail, dtype);
#pragma GCC unroll 4
            for (size_t i = 0; i < m; i++)
                sum[r][i][0] = vec_fma(v, load_cols(x + i * ldx + at, n), sum[r][i][0]);
        }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < n_rows; r++)
#pragma GCC unroll 4
        for (size_t i = 0; i < m; i++)
            c[i * ldc + r] = vec_sum(n_sums == 2 ? vec_add(sum[r][i][0], sum[r][i][1])
                                                 : sum[r][i][0]);
}

#define GEMV_WEIGHT_ROWS 4

/* All weight rows for m rows of x, a constant. */
ALWAYS_INLINE void gemv_rows(float *c, size_t ldc, const float *x, size_t ldx, const size_t m,
                             const char *w, enum dtype dtype, size_t ld, size_t n_rows, size_t k)
{
    size_t n = 0;
    for (; n + GEMV_WEIGHT_ROWS <= n_rows; n += GEMV_WEIGHT_ROWS)
        dot_block(c + n, ldc, x, ldx, m, w + n * ld * dtype_size(dtype), dtype, ld,
                  GEMV_WEIGHT_ROWS, k);
    for (; n < n_rows; n++)
        dot_block(c + n, ldc, x, ldx, m, w + n * ld * dtype_size(dtype), dtype, ld, 1, k);
}

ALWAYS_INLINE void gemv_as(float *c, size_t ldc, const float *x, size_t ldx, size_t m,
                           const char *w, enum dtype dtype, size_t ld, size_t n_rows, size_t k)
{
    /* A few weight rows at a time, while they are in the first-level cache. */
    for (size_t n = 0; n < n_rows; n += GEMV_WEIGHT_ROWS) {
        size_t rows = n_rows - n < GEMV_WEIGHT_ROWS ? n_rows - n : GEMV_WEIGHT_ROWS;
        const char *block = w + n * ld * dtype_size(dtype);
        size_t i = 0;
#if VEC_LANES == 16 /* 32 registers */
        for (; i + 4 <= m; i += 4)
            gemv_rows(c + i * ldc + n, ldc, x + i * ldx, ldx, 4, block, dtype, ld, rows, k);
#endif
        for (; i + 2 <= m; i += 2)
            gemv_rows(c + i * ldc + n, ldc, x + i * ldx, ldx, 2, block, dtype, ld, rows, k);
        if (i < m)
            gemv_rows(c + i * ldc + n, ldc, x + i * ldx, ldx, 1, block, dtype, ld, rows, k);
    }
}

static void gemv(float *c, size_t ldc, const float *x, size_t ldx, size_t m, const void *w,
                 enum dtype dtype, size_t ld, size_t n_rows, size_t k)
{
    if (dtype == DTYPE_BF16)
        gemv_as(c, ldc, x, ldx, m, w, DTYPE_BF16, ld, n_rows, k);
    else if (dtype == DTYPE_F16)
        gemv_as(c, ldc, x, ldx, m, w, DTYPE_F16, ld, n_rows, k);
    else
        gemv_as(c, ldc, x, ldx, m, w, DTYPE_F32, ld, n_rows, k);
}

/* ---- the processor's own limits ---- */

#define FMA_CHAINS 12 /* more than latency x units of any x86 so far, fewer than registers */
#define FMA_FLOPS_PER_ROUND ((size_t)2 * FMA_CHAINS * VEC_LANES)

static float fma_rounds(size_t n_rounds)
{
    vec v[FMA_CHAINS], factor = vec_set1(0.999f), term = vec_set1(0.001f);
#pragma GCC unroll 12
    for (int i = 0; i < FMA_CHAINS; i++)
        v[i] = vec_set1((float)i);
    for (size_t n = 0; n < n_rounds; n++)
#pragma GCC unroll 12
        for (int i = 0; i < FMA_CHAINS; i++)
            v[i] = vec_fma(v[i], factor, term);
    vec sum = vec_zero();
#pragma GCC unroll 12
    for (int i = 0; i < FMA_CHAINS; i++)
        sum = vec_add(sum, v[i]);
    return vec_sum(sum);
}

static float read_bytes(const void *p, size_t size_bytes)
{
    const char *c = p;
    vec sum[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    for (size_t at = 0; at + 4 * sizeof(vec) <= size_bytes; at += 4 * sizeof(vec))
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++)
            sum[i] = vec_add(sum[i], vec_load(c + at + i * sizeof(vec)));
    return vec_sum(vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3])));
}

#endif

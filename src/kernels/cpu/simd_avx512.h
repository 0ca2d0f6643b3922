/* SPDX-License-Identifier: MIT */
/* A vector of floats under AVX-512; simd_avx2.h offers the same names. */
#ifndef EASEL_KERNELS_CPU_SIMD_AVX512_H
#define EASEL_KERNELS_CPU_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>

#define VEC_LANES 16

typedef __m512 vec;

static inline vec vec_zero(void)
{
    return _mm512_setzero_ps();
}

static inline vec vec_set1(float v)
{
    return _mm512_set1_ps(v);
}

static inline vec vec_load(const void *p)
{
    return _mm512_loadu_ps(p);
}

static inline void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

/* The first n lanes; the others are zero, and their memory is not touched. */
static inline vec vec_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

static inline void vec_store_n(float *p, vec v, size_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
}

static inline vec vec_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

static inline vec vec_load_bf16(const void *p)
{
    __m512i v = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
}

/* Each lane holds two bfloat16: the lower and the upper half as a float. */
static inline vec vec_bf16_lower(vec v)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16));
}

static inline vec vec_bf16_upper(vec v)
{
    return _mm512_castsi512_ps(
        _mm512_and_epi32(_mm512_castps_si512(v), _mm512_set1_epi32((int)0xffff0000u)));
}

static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* The second operand where either is NaN. */
static inline vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

static inline vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

/* a * b + c, rounded once */
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline float vec_sum(vec v)
{
    return _mm512_reduce_add_ps(v);
}

static inline vec vec_round(vec v)
{
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* v * 2^n, n integral */
static inline vec vec_scale2(vec v, vec n)
{
    return _mm512_scalef_ps(v, n);
}

/* Lane j of out[i] is lane i of in[j]. */
static inline __attribute__((always_inline)) void vec_transpose(vec v[VEC_LANES])
{
    vec a[16], b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        __m512d a0 = _mm512_castps_pd(a[i]), a1 = _mm512_castps_pd(a[i + 1]);
        __m512d a2 = _mm512_castps_pd(a[i + 2]), a3 = _mm512_castps_pd(a[i + 3]);
        b[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a0, a2));
        b[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a0, a2));
        b[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(a1, a3));
        b[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(a1, a3));
    }
    /* 128-bit part p of b[4i + j] now holds lane 4p + j of rows 4i … 4i + 3. */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vec x02 = _mm512_shuffle_f32x4(b[j], b[4 + j], 0x88);
        vec x13 = _mm512_shuffle_f32x4(b[j], b[4 + j], 0xdd);
        vec y02 = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0x88);
        vec y13 = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0xdd);
        v[j] = _mm512_shuffle_f32x4(x02, y02, 0x88);
        v[4 + j] = _mm512_shuffle_f32x4(x13, y13, 0x88);
        v[8 + j] = _mm512_shuffle_f32x4(x02, y02, 0xdd);
        v[12 + j] = _mm512_shuffle_f32x4(x13, y13, 0xdd);
    }
}

#endif

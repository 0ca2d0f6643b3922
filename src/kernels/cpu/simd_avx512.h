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

static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
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

/* c - a * b, rounded once */
static inline vec vec_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
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

static inline vec vec_keep_n(vec v, size_t n)
{
    return _mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), v);
}

static inline vec vec_zero_below(vec v, vec x, vec limit)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), v);
}

static inline vec vec_add_exponent(vec v, vec bits)
{
    __m512i e = _mm512_slli_epi32(_mm512_castps_si512(bits), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), e));
}

static inline vec vec_scale_down(vec v, vec n)
{
    return _mm512_scalef_ps(v, n);
}

static inline vec vec_scale_any(vec v, vec n)
{
    return _mm512_scalef_ps(v, n);
}

static inline vec vec_rotate_pairs(vec v, const float *cos, const float *sin)
{
    __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    vec c = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(cos)));
    vec s = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(sin)));
    return _mm512_fmaddsub_ps(v, c, _mm512_mul_ps(_mm512_permute_ps(v, 0xb1), s));
}

struct dsum {
    __m512d lo, hi;
};

static inline struct dsum dsum_zero(void)
{
    return (struct dsum){_mm512_setzero_pd(), _mm512_setzero_pd()};
}

static inline struct dsum dsum_add(struct dsum s, vec v)
{
    s.lo = _mm512_add_pd(s.lo, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
    s.hi = _mm512_add_pd(s.hi, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
    return s;
}

static inline struct dsum dsum_add_square(struct dsum s, vec v)
{
    __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    __m512d hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    s.lo = _mm512_fmadd_pd(lo, lo, s.lo);
    s.hi = _mm512_fmadd_pd(hi, hi, s.hi);
    return s;
}

static inline void dsum_store(double *p, struct dsum s)
{
    _mm512_storeu_pd(p, s.lo);
    _mm512_storeu_pd(p + 8, s.hi);
}

static inline double dsum_total(struct dsum s)
{
    __m512d t = _mm512_add_pd(s.lo, s.hi);
    __m256d q = _mm256_add_pd(_mm512_castpd512_pd256(t), _mm512_extractf64x4_pd(t, 1));
    __m128d u = _mm_add_pd(_mm256_castpd256_pd128(q), _mm256_extractf128_pd(q, 1));
    return _mm_cvtsd_f64(_mm_add_sd(u, _mm_unpackhi_pd(u, u)));
}

#endif

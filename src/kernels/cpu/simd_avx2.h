/* SPDX-License-Identifier: MIT */
/* A vector of floats under AVX2, FMA and F16C; simd_avx512.h offers the same names. */
#ifndef EASEL_KERNELS_CPU_SIMD_AVX2_H
#define EASEL_KERNELS_CPU_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>

#define VEC_LANES 8

typedef __m256 vec;

static inline vec vec_zero(void)
{
    return _mm256_setzero_ps();
}

static inline vec vec_set1(float v)
{
    return _mm256_set1_ps(v);
}

static inline vec vec_load(const void *p)
{
    return _mm256_loadu_ps(p);
}

static inline void vec_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}

static inline __m256i vec_mask_n(size_t n)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

/* The first n lanes; the others are zero, and their memory is not touched. */
static inline vec vec_load_n(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, vec_mask_n(n));
}

static inline void vec_store_n(float *p, vec v, size_t n)
{
    _mm256_maskstore_ps(p, vec_mask_n(n), v);
}

static inline vec vec_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

static inline vec vec_load_bf16(const void *p)
{
    __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

/* Each lane holds two bfloat16: the lower and the upper half as a float. */
static inline vec vec_bf16_lower(vec v)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16));
}

static inline vec vec_bf16_upper(vec v)
{
    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32((int)0xffff0000u)));
}

static inline vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

/* The second operand where either is NaN. */
static inline vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

static inline vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

/* a * b + c, rounded once */
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b, rounded once */
static inline vec vec_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

static inline float vec_sum(vec v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

static inline vec vec_round(vec v)
{
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* v * 2^n, n integral and the result within the normal numbers */
static inline vec vec_scale2(vec v, vec n)
{
    __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), e));
}

/* Lane j of out[i] is lane i of in[j]. */
static inline __attribute__((always_inline)) void vec_transpose(vec v[VEC_LANES])
{
    vec a[8], b[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        __m256d a0 = _mm256_castps_pd(a[i]), a1 = _mm256_castps_pd(a[i + 1]);
        __m256d a2 = _mm256_castps_pd(a[i + 2]), a3 = _mm256_castps_pd(a[i + 3]);
        b[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a0, a2));
        b[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a0, a2));
        b[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(a1, a3));
        b[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(a1, a3));
    }
    /* 128-bit half p of b[4i + j] now holds lane 4p + j of rows 4i … 4i + 3. */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        v[j] = _mm256_permute2f128_ps(b[j], b[4 + j], 0x20);
        v[4 + j] = _mm256_permute2f128_ps(b[j], b[4 + j], 0x31);
    }
}

/* The first n lanes of v; 0 in the others. */
static inline vec vec_keep_n(vec v, size_t n)
{
    return _mm256_and_ps(v, _mm256_castsi256_ps(vec_mask_n(n)));
}

/* v where x >= limit, else 0 */
static inline vec vec_zero_below(vec v, vec x, vec limit)
{
    return _mm256_and_ps(v, _mm256_cmp_ps(x, limit, _CMP_NLT_UQ));
}

/* v * 2^n, n in the lowest 9 bits of each lane of bits, the result a normal number */
static inline vec vec_add_exponent(vec v, vec bits)
{
    __m256i e = _mm256_slli_epi32(_mm256_castps_si256(bits), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), e));
}

/* v * 2^n for integral n in [-127, 127]; 0 at n = -127 */
static inline vec vec_scale_down(vec v, vec n)
{
    __m256i e = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)),
                                  23);
    return _mm256_mul_ps(v, _mm256_castsi256_ps(e));
}

/* v * 2^n for integral n in [-250, 250]: in two steps, so that it overflows and
 * underflows as it should. */
static inline vec vec_scale_any(vec v, vec n)
{
    vec half = vec_round(_mm256_mul_ps(n, _mm256_set1_ps(0.5f)));
    return vec_scale_down(vec_scale_down(v, half), _mm256_sub_ps(n, half));
}

/* Lanes 2i and 2i + 1 are turned by the angle whose cosine and sine are cos[i], sin[i]. */
static inline vec vec_rotate_pairs(vec v, const float *cos, const float *sin)
{
    __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    vec c = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cos)), twice);
    vec s = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sin)), twice);
    return _mm256_fmaddsub_ps(v, c, _mm256_mul_ps(_mm256_permute_ps(v, 0xb1), s));
}

/* Sums in double, of floats that are widened before they are added. */
struct dsum {
    __m256d lo, hi;
};

static inline struct dsum dsum_zero(void)
{
    return (struct dsum){_mm256_setzero_pd(), _mm256_setzero_pd()};
}

static inline struct dsum dsum_add(struct dsum s, vec v)
{
    s.lo = _mm256_add_pd(s.lo, _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
    s.hi = _mm256_add_pd(s.hi, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
    return s;
}

static inline struct dsum dsum_add_square(struct dsum s, vec v)
{
    __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    __m256d hi = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    s.lo = _mm256_fmadd_pd(lo, lo, s.lo);
    s.hi = _mm256_fmadd_pd(hi, hi, s.hi);
    return s;
}

/* p [VEC_LANES] */
static inline void dsum_store(double *p, struct dsum s)
{
    _mm256_storeu_pd(p, s.lo);
    _mm256_storeu_pd(p + 4, s.hi);
}

static inline double dsum_total(struct dsum s)
{
    __m256d t = _mm256_add_pd(s.lo, s.hi);
    __m128d u = _mm_add_pd(_mm256_castpd256_pd128(t), _mm256_extractf128_pd(t, 1));
    return _mm_cvtsd_f64(_mm_add_sd(u, _mm_unpackhi_pd(u, u)));
}

#endif

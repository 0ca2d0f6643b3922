/* SPDX-License-Identifier: MIT */
/* simd_avx2.h and what norms, softmax and element-wise operations need beyond it;
 * simd_more_avx512.h offers the same names. */
#ifndef EASEL_KERNELS_CPU_SIMD_MORE_AVX2_H
#define EASEL_KERNELS_CPU_SIMD_MORE_AVX2_H

#include "kernels/cpu/simd_avx2.h"

static inline vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

/* c - a * b, rounded once */
static inline vec vec_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
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

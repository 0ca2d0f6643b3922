/* SPDX-License-Identifier: MIT */
/* simd_avx512.h and more; see simd_more_avx2.h, which offers the same names. */
#ifndef EASEL_KERNELS_CPU_SIMD_MORE_AVX512_H
#define EASEL_KERNELS_CPU_SIMD_MORE_AVX512_H

#include "kernels/cpu/simd_avx512.h"

static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec vec_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
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

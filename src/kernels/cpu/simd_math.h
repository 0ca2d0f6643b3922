/* SPDX-License-Identifier: MIT */
/* Exponentials over simd_avx2.h or simd_avx512.h, included after one of them. Within one
 * unit in the last place (measured), vec_silu within 2.5, where nothing else is said. */
#ifndef EASEL_KERNELS_CPU_SIMD_MATH_H
#define EASEL_KERNELS_CPU_SIMD_MATH_H

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* 2^x for x <= 0, as a softmax needs it: 2^-126 below that, so for -inf; NaN stays. */
static inline vec vec_exp2_neg(vec x)
{
    x = vec_max(vec_set1(-126.0f), x);
    /* Adding 1.5 * 2^23 rounds to a whole number and leaves it in the lowest bits. */
    vec shifted = vec_add(x, vec_set1(0x1.8p23f));
    vec f = vec_sub(x, vec_sub(shifted, vec_set1(0x1.8p23f))); /* exact; in [-0.5, 0.5] */
    /* minimax, relative error 1.9e-9 */
    vec p = vec_set1(1.53458121587e-4f);
    p = vec_fma(p, f, vec_set1(1.33999312095e-3f));
    p = vec_fma(p, f, vec_set1(9.61848895652e-3f));
    p = vec_fma(p, f, vec_set1(5.550328777e-2f));
    p = vec_fma(p, f, vec_set1(2.40226468906e-1f));
    p = vec_fma(p, f, vec_set1(6.93147205737e-1f));
    p = vec_fma(p, f, vec_set1(1.0f));
    return vec_add_exponent(p, shifted);
}

/* e^x for every x: inf, 0 and subnormals where they belong; NaN stays. */
static inline vec vec_exp(vec x)
{
    x = vec_max(vec_set1(-110.0f), vec_min(vec_set1(100.0f), x));
    vec n = vec_round(vec_mul(x, vec_set1(1.44269504089f)));
    /* ln 2 in two parts, the first short enough that n times it is exact */
    vec f = vec_fnma(n, vec_set1(0x1.62e400p-1f), x);
    f = vec_fnma(n, vec_set1(0x1.7f7d1cp-20f), f);
    vec p = vec_set1(1.38368461346e-3f);
    p = vec_fma(p, f, vec_set1(8.3748157983e-3f));
    p = vec_fma(p, f, vec_set1(4.16682255669e-2f));
    p = vec_fma(p, f, vec_set1(1.66664201699e-1f));
    p = vec_fma(p, f, vec_set1(4.99999920798e-1f));
    p = vec_fma(p, f, vec_set1(1.0f));
    p = vec_fma(p, f, vec_set1(1.0f));
    return vec_scale_any(p, n);
}

static inline vec vec_silu(vec x)
{
    return vec_div(x, vec_add(vec_set1(1.0f), vec_exp(vec_sub(vec_set1(0.0f), x))));
}

/* e^x between e^-86 and e^88, beyond which it stays there; relative error below 2e-7:
 * x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial for exp(r) (the coefficients of
 * Cephes' expf). For linear layers, whose results would change with another one. */
ALWAYS_INLINE vec vec_exp_normal(vec x)
{
    x = vec_min(vec_set1(88.0f), vec_max(vec_set1(-86.0f), x)); /* NaN goes through */
    vec n = vec_round(vec_mul(x, vec_set1(1.44269504088896341f)));
    vec r = vec_fma(n, vec_set1(-0.693359375f), x);
    r = vec_fma(n, vec_set1(2.12194440e-4f), r);
    vec p = vec_set1(1.9875691500e-4f);
    p = vec_fma(p, r, vec_set1(1.3981999507e-3f));
    p = vec_fma(p, r, vec_set1(8.3334519073e-3f));
    p = vec_fma(p, r, vec_set1(4.1665795894e-2f));
    p = vec_fma(p, r, vec_set1(1.6666665459e-1f));
    p = vec_fma(p, r, vec_set1(5.0000001201e-1f));
    p = vec_fma(vec_mul(p, r), r, vec_add(r, vec_set1(1.0f)));
    return vec_scale2(p, n);
}

ALWAYS_INLINE vec vec_silu_normal(vec v)
{
    vec e = vec_exp_normal(vec_mul(v, vec_set1(-1.0f)));
    return vec_div(v, vec_add(vec_set1(1.0f), e));
}

#endif

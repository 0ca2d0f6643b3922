/* SPDX-License-Identifier: MIT */
/* The three transforms of Winograd's F(4x4, 3x3) with the points 0, ±1, ±2 and
 * infinity (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015,
 * section 4.3), each for a vector of channels at a time. Included after
 * linear_simd.h. */
#ifndef EASEL_KERNELS_CPU_WINOGRAD_SIMD_H
#define EASEL_KERNELS_CPU_WINOGRAD_SIMD_H

/* out[i * stride] = (Bᵀ d)[i] */
ALWAYS_INLINE void input_1d(vec *out, size_t stride, const vec d[6])
{
    vec four = vec_set1(4.0f), minus4 = vec_set1(-4.0f), minus5 = vec_set1(-5.0f);
    vec minus1 = vec_set1(-1.0f), two = vec_set1(2.0f);
    vec even = vec_fma(minus4, d[2], d[4]), odd = vec_fma(minus4, d[1], d[3]);
    vec even2 = vec_fma(minus1, d[2], d[4]), odd2 = vec_mul(two, vec_fma(minus1, d[1], d[3]));
    out[0] = vec_fma(four, d[0], vec_fma(minus5, d[2], d[4]));
    out[stride] = vec_add(even, odd);
    out[2 * stride] = vec_fma(minus1, odd, even);
    out[3 * stride] = vec_add(even2, odd2);
    out[4 * stride] = vec_fma(minus1, odd2, even2);
    out[5 * stride] = vec_fma(four, d[1], vec_fma(minus5, d[3], d[5]));
}

/* v[pos * pos_stride + c] = (Bᵀ d B)[pos] of a patch of 6 x 6 pixels */
static void winograd_input(float *v, size_t pos_stride, const float *strip, size_t pixel_stride,
                           size_t row_stride, size_t n_channels)
{
    for (size_t c = 0; c < n_channels; c += VEC_LANES) {
        vec t[36];
#pragma GCC unroll 6
        for (size_t x = 0; x < 6; x++) {
            vec d[6];
#pragma GCC unroll 6
            for (size_t y = 0; y < 6; y++)
                d[y] = vec_load(strip + y * row_stride + x * pixel_stride + c);
            input_1d(t + x, 6, d);
        }
#pragma GCC unroll 6
        for (size_t y = 0; y < 6; y++) {
            vec out[6];
            input_1d(out, 1, t + 6 * y);
#pragma GCC unroll 6
            for (size_t x = 0; x < 6; x++)
                vec_store(v + (6 * y + x) * pos_stride + c, out[x]);
        }
    }
}

/* out[i * stride] = (Aᵀ m)[i] */
ALWAYS_INLINE void output_1d(vec *out, size_t stride, const vec m[6])
{
    vec minus1 = vec_set1(-1.0f);
    vec s12 = vec_add(m[1], m[2]), d12 = vec_fma(minus1, m[2], m[1]);
    vec s34 = vec_add(m[3], m[4]), d34 = vec_fma(minus1, m[4], m[3]);
    out[0] = vec_add(vec_add(m[0], s12), s34);
    out[stride] = vec_fma(vec_set1(2.0f), d34, d12);
    out[2 * stride] = vec_fma(vec_set1(4.0f), s34, s12);
    out[3 * stride] = vec_add(vec_fma(vec_set1(8.0f), d34, d12), m[5]);
}

/* The 4 x 4 pixels (Aᵀ m A) of a tile */
static void winograd_output(float *c, size_t pixel_stride, size_t row_stride, const float *m,
                            size_t pos_stride, size_t n_cols)
{
    for (size_t i = 0; i < n_cols; i += VEC_LANES) {
        vec t[24]; /* [4][6] */
#pragma GCC unroll 6
        for (size_t x = 0; x < 6; x++) {
            vec in[6];
#pragma GCC unroll 6
            for (size_t y = 0; y < 6; y++)
                in[y] = vec_load(m + (6 * y + x) * pos_stride + i);
            output_1d(t + x, 6, in);
        }
#pragma GCC unroll 4
        for (size_t y = 0; y < 4; y++) {
            vec out[4];
            output_1d(out, 1, t + 6 * y);
#pragma GCC unroll 4
            for (size_t x = 0; x < 4; x++)
                vec_store(c + y * row_stride + x * pixel_stride + i, out[x]);
        }
    }
}

/* out[i * stride] = (G g)[i] */
ALWAYS_INLINE void weights_1d(vec *out, size_t stride, vec g0, vec g1, vec g2)
{
    vec sixth = vec_set1(1.0f / 6.0f);
    vec outer = vec_mul(vec_add(g0, g2), vec_set1(-1.0f / 6.0f));
    vec outer2 = vec_fma(g0, vec_set1(1.0f / 24.0f), vec_mul(g2, sixth));
    out[0] = vec_mul(g0, vec_set1(0.25f));
    out[stride] = vec_fma(g1, vec_set1(-1.0f / 6.0f), outer);
    out[2 * stride] = vec_fma(g1, sixth, outer);
    out[3 * stride] = vec_fma(g1, vec_set1(1.0f / 12.0f), outer2);
    out[4 * stride] = vec_fma(g1, vec_set1(-1.0f / 12.0f), outer2);
    out[5 * stride] = g2;
}

/* u [36, n] = G g Gᵀ for n kernels at once, g [9, n] */
static void winograd_weights(float *u, const float *g, size_t n)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vec t[18]; /* [6][3] */
#pragma GCC unroll 3
        for (size_t x = 0; x < 3; x++)
            weights_1d(t + x, 3, vec_load(g + x * n + i), vec_load(g + (3 + x) * n + i),
                       vec_load(g + (6 + x) * n + i));
#pragma GCC unroll 6
        for (size_t y = 0; y < 6; y++) {
            vec out[6];
            weights_1d(out, 1, t[3 * y], t[3 * y + 1], t[3 * y + 2]);
#pragma GCC unroll 6
            for (size_t x = 0; x < 6; x++)
                vec_store(u + (6 * y + x) * n + i, out[x]);
        }
    }
}

#endif

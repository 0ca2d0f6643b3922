/* SPDX-License-Identifier: MIT */
/* Norms and rotary embedding, compiled once with simd_avx2.h and once with
 * simd_avx512.h. Sums: a few floats are added as floats, those sums as doubles;
 * the order depends on the row's length alone. */
#include <math.h>

#include "base/size.h"
#include "kernels/cpu/cpu.h"

#define STEP (4 * VEC_LANES)

static inline vec squares_4(const float *x, vec mean)
{
    vec a = vec_sub(vec_load(x), mean);
    vec b = vec_sub(vec_load(x + VEC_LANES), mean);
    vec c = vec_sub(vec_load(x + 2 * VEC_LANES), mean);
    vec d = vec_sub(vec_load(x + 3 * VEC_LANES), mean);
    return vec_add(vec_fma(a, a, vec_mul(b, b)), vec_fma(c, c, vec_mul(d, d)));
}

/* The sum of (x - mean)². */
static double sum_squares(const float *x, size_t n, float mean)
{
    struct dsum s = dsum_zero();
    vec m = vec_set1(mean);
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        s = dsum_add(s, squares_4(x + i, m));
    for (; i < n; i += VEC_LANES) {
        size_t some = min_size(VEC_LANES, n - i);
        vec v = vec_keep_n(vec_sub(vec_load_n(x + i, some), m), some);
        s = dsum_add(s, vec_mul(v, v));
    }
    return dsum_total(s);
}

static double sum_floats(const float *x, size_t n)
{
    struct dsum s = dsum_zero();
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        s = dsum_add(s, vec_add(vec_add(vec_load(x + i), vec_load(x + i + VEC_LANES)),
                                vec_add(vec_load(x + i + 2 * VEC_LANES),
                                        vec_load(x + i + 3 * VEC_LANES))));
    for (; i < n; i += VEC_LANES)
        s = dsum_add(s, vec_load_n(x + i, min_size(VEC_LANES, n - i)));
    return dsum_total(s);
}

static void rms_norm_simd(float *y, const float *x, size_t n, const float *w, float eps)
{
    vec r = vec_set1((float)(1.0 / sqrt(sum_squares(x, n, 0) / (double)n + eps)));
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(y + i, vec_mul(vec_mul(vec_load(x + i), r), vec_load(w + i)));
    if (i < n)
        vec_store_n(y + i, vec_mul(vec_mul(vec_load_n(x + i, n - i), r), vec_load_n(w + i, n - i)),
                    n - i);
}

static void layer_norm_mod_simd(float *y, const float *x, size_t n, const float *shift,
                                const float *scale, float eps)
{
    float mean = (float)(sum_floats(x, n) / (double)n);
    vec m = vec_set1(mean), one = vec_set1(1);
    vec r = vec_set1((float)(1.0 / sqrt(sum_squares(x, n, mean) / (double)n + eps)));
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES) {
        vec v = vec_mul(vec_sub(vec_load(x + i), m), r);
        vec_store(y + i, vec_fma(v, vec_add(one, vec_load(scale + i)), vec_load(shift + i)));
    }
    if (i < n) {
        vec v = vec_mul(vec_sub(vec_load_n(x + i, n - i), m), r);
        v = vec_fma(v, vec_add(one, vec_load_n(scale + i, n - i)), vec_load_n(shift + i, n - i));
        vec_store_n(y + i, v, n - i);
    }
}

/* r: the norm's factor; w: its weights or NULL (then r is 1). */
static inline vec normed(const float *x, const float *w, size_t i, vec r)
{
    vec v = vec_load(x + i);
    return w ? vec_mul(vec_mul(v, r), vec_load(w + i)) : v;
}

static void head_norm_rope_simd(float *x, size_t head_dim, const float *w, float eps,
                                enum rope_style style, const float *cos, const float *sin)
{
    size_t half = head_dim / 2;
    vec r = vec_set1(1);
    if (head_dim % (2 * VEC_LANES)) {
        cpu_head_norm_rope_ref(x, head_dim, w, eps, style, cos, sin);
        return;
    }
    if (w)
        r = vec_set1((float)(1.0 / sqrt(sum_squares(x, head_dim, 0) / (double)head_dim + eps)));
    if (style == ROPE_INTERLEAVED) {
        for (size_t i = 0; i < head_dim; i += VEC_LANES)
            vec_store(x + i, vec_rotate_pairs(normed(x, w, i, r), cos + i / 2, sin + i / 2));
    } else if (style == ROPE_HALVES) {
        for (size_t i = 0; i < half; i += VEC_LANES) {
            vec a = normed(x, w, i, r), b = normed(x, w, i + half, r);
            vec c = vec_load(cos + i), s = vec_load(sin + i);
            vec_store(x + i, vec_fnma(b, s, vec_mul(a, c)));
            vec_store(x + i + half, vec_fma(a, s, vec_mul(b, c)));
        }
    } else if (w) {
        for (size_t i = 0; i < head_dim; i += VEC_LANES)
            vec_store(x + i, normed(x, w, i, r));
    }
}

/* The sums of up to 2 * VEC_LANES neighbouring channels over n_rows rows. */
static inline __attribute__((always_inline)) void
column_sums(const float *x, size_t n_rows, size_t ld, size_t width, double *sum, double *sum_sq)
{
    struct dsum s0 = dsum_zero(), s1 = dsum_zero(), q0 = dsum_zero(), q1 = dsum_zero();
    size_t low = min_size(width, VEC_LANES), high = width - low;
    for (size_t r = 0; r < n_rows; r++, x += ld) {
        vec a = low == VEC_LANES ? vec_load(x) : vec_load_n(x, low);
        s0 = dsum_add(s0, a);
        q0 = dsum_add_square(q0, a);
        if (high) {
            vec b = high == VEC_LANES ? vec_load(x + VEC_LANES) : vec_load_n(x + VEC_LANES, high);
            s1 = dsum_add(s1, b);
            q1 = dsum_add_square(q1, b);
        }
    }
    dsum_store(sum, s0);
    dsum_store(sum + VEC_LANES, s1);
    dsum_store(sum_sq, q0);
    dsum_store(sum_sq + VEC_LANES, q1);
}

#define COLUMNS (2 * VEC_LANES)
#define NEAR_FLOATS 8192 /* that a first-level cache keeps while columns of it are read */

static void group_sums_simd(const float *x, size_t n_rows, size_t channels, size_t n_groups,
                            double *sum, double *sum_sq)
{
    size_t group_channels = channels / n_groups;
    size_t near_rows = max_size(1, NEAR_FLOATS / channels);
    for (size_t r = 0; r < n_rows; r += near_rows) {
        const float *rows = x + r * channels;
        size_t n = min_size(near_rows, n_rows - r);
        for (size_t c = 0; c < channels; c += COLUMNS) {
            double s[COLUMNS], q[COLUMNS];
            size_t width = min_size(COLUMNS, channels - c);
            if (width == COLUMNS)
                column_sums(rows + c, n, channels, COLUMNS, s, q);
            else
                column_sums(rows + c, n, channels, width, s, q);
            for (size_t i = 0; i < width; i++) {
                sum[(c + i) / group_channels] += s[i];
                sum_sq[(c + i) / group_channels] += q[i];
            }
        }
    }
}

static inline __attribute__((always_inline)) vec activated(vec v, enum activation act)
{
    if (act == ACT_SILU)
        return vec_silu(v);
    if (act == ACT_RELU)
        return vec_max(vec_zero(), v); /* NaN stays */
    return v;
}

static inline __attribute__((always_inline)) void affine_rows(float *y, const float *x,
                                                              size_t n_rows, size_t channels,
                                                              const float *a, const float *b,
                                                              enum activation act)
{
    for (size_t r = 0; r < n_rows; r++, x += channels, y += channels) {
        size_t c = 0;
        for (; c + VEC_LANES <= channels; c += VEC_LANES)
            vec_store(y + c,
                      activated(vec_fma(vec_load(x + c), vec_load(a + c), vec_load(b + c)), act));
        if (c < channels) {
            size_t n = channels - c;
            vec v = vec_fma(vec_load_n(x + c, n), vec_load_n(a + c, n), vec_load_n(b + c, n));
            vec_store_n(y + c, activated(v, act), n);
        }
    }
}

static void affine_act_simd(float *y, const float *x, size_t n_rows, size_t channels,
                            const float *a, const float *b, enum activation act)
{
    if (act == ACT_SILU)
        affine_rows(y, x, n_rows, channels, a, b, ACT_SILU);
    else if (act == ACT_RELU)
        affine_rows(y, x, n_rows, channels, a, b, ACT_RELU);
    else
        affine_rows(y, x, n_rows, channels, a, b, ACT_NONE);
}

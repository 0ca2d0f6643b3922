/* SPDX-License-Identifier: MIT */
/* Norms and rotary embedding, the reference: sums in double. */
#include <math.h>

#include "kernels/cpu/cpu.h"

static float rms_scale(const float *x, size_t n, float eps)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return (float)(1.0 / sqrt(sum / (double)n + eps));
}

static void rms_norm_ref(float *y, const float *x, size_t n, const float *w, float eps)
{
    float r = rms_scale(x, n, eps);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * r * w[i];
}

static void layer_norm_mod_ref(float *y, const float *x, size_t n, const float *shift,
                               const float *scale, float eps)
{
    double sum = 0, sum_sq = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        sum_sq += (x[i] - mean) * (x[i] - mean);
    double r = 1.0 / sqrt(sum_sq / (double)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)((x[i] - mean) * r) * (1 + scale[i]) + shift[i];
}

static void rotate(float *a, float *b, float cos, float sin)
{
    float x = *a, y = *b;
    *a = x * cos - y * sin;
    *b = x * sin + y * cos;
}

void cpu_head_norm_rope_ref(float *x, size_t head_dim, const float *w, float eps,
                            enum rope_style style, const float *cos, const float *sin)
{
    size_t half = head_dim / 2;
    if (w)
        rms_norm_ref(x, x, head_dim, w, eps);
    if (style == ROPE_INTERLEAVED)
        for (size_t i = 0; i < half; i++)
            rotate(&x[2 * i], &x[2 * i + 1], cos[i], sin[i]);
    else if (style == ROPE_HALVES)
        for (size_t i = 0; i < half; i++)
            rotate(&x[i], &x[i + half], cos[i], sin[i]);
}

static void group_sums_ref(const float *x, size_t n_rows, size_t channels, size_t n_groups,
                           double *sum, double *sum_sq)
{
    size_t group_channels = channels / n_groups;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < channels; c++) {
            double v = x[r * channels + c];
            sum[c / group_channels] += v;
            sum_sq[c / group_channels] += v * v;
        }
}

static float activate(float x, enum activation act)
{
    if (act == ACT_SILU)
        return x / (1 + expf(-x));
    if (act == ACT_RELU)
        return x < 0 ? 0 : x; /* NaN stays NaN */
    return x;
}

static void affine_act_ref(float *y, const float *x, size_t n_rows, size_t channels,
                           const float *a, const float *b, enum activation act)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < channels; c++) {
            size_t i = r * channels + c;
            y[i] = activate(x[i] * a[c] + b[c], act);
        }
}

void cpu_norm_init_ref(struct cpu_op_kernels *k)
{
    k->head_norm_rope = cpu_head_norm_rope_ref;
    k->rms_norm = rms_norm_ref;
    k->layer_norm_mod = layer_norm_mod_ref;
    k->group_sums = group_sums_ref;
    k->affine_act = affine_act_ref;
}

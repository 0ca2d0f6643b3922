/* SPDX-License-Identifier: MIT */
#include "kernels/cpu/linear_ref.h"

#include <math.h>
#include <stdint.h>

#include "kernels/cpu/cpu.h"

static float activate(enum activation act, float v)
{
    switch (act) {
    case ACT_SILU:
        return v / (1.0f + expf(-v));
    case ACT_RELU:
        return v < 0.0f ? 0.0f : v; /* NaN stays NaN */
    case ACT_NONE:
        break;
    }
    return v;
}

static void widen_row(float *dst, const struct weight *w, size_t r)
{
    for (size_t i = 0; i < w->n_cols; i++)
        dst[i] = weight_at(w, r, i);
}

static float dot(const float *a, const float *b, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return (float)sum;
}

void linear_ref(const struct linear_args *a, size_t n0, size_t n1, float *row)
{
    size_t k = a->w->n_cols;
    float *row_up = row + k;
    for (size_t n = n0; n < n1; n++) {
        widen_row(row, a->w, n);
        if (a->w_up)
            widen_row(row_up, a->w_up, n);
        for (size_t i = 0; i < a->m; i++) {
            const float *x = a->x + i * a->ldx;
            float *y = a->y + i * a->ldy + n;
            float v = dot(x, row, k) + (a->bias ? a->bias->f32[n] : 0.0f);
            if (a->w_up)
                v = activate(ACT_SILU, v) * dot(x, row_up, k);
            else
                v = activate(a->act, v);
            if (a->gate)
                *y += a->gate[n] * v;
            else if (a->accumulate)
                *y += v;
            else
                *y = v;
        }
    }
}

/* One output element; the picture is zero outside of [0, h) x [0, w), h and w
 * after upsampling. */
static float conv_at(const struct conv2d_args *a, const float *row, size_t oy, size_t ox)
{
    const struct weight *w = a->w;
    size_t h = a->h_in * a->upsample, width = a->w_in * a->upsample;
    double sum = 0.0;
    for (size_t ky = 0; ky < w->kh; ky++) {
        size_t y = oy * a->stride + ky - a->pad_before; /* wraps when negative: >= h */
        if (y >= h)
            continue;
        for (size_t kx = 0; kx < w->kw; kx++) {
            size_t x = ox * a->stride + kx - a->pad_before;
            if (x >= width)
                continue;
            const float *pixel =
                a->x + ((y / a->upsample) * a->w_in + x / a->upsample) * w->c_in;
            const float *tap = row + (ky * w->kw + kx) * w->c_in;
            for (size_t c = 0; c < w->c_in; c++)
                sum += (double)pixel[c] * (double)tap[c];
        }
    }
    return (float)sum;
}

void conv2d_ref(const struct conv2d_args *a, size_t y0, size_t y1, float *row)
{
    size_t c_out = a->w->n_rows;
    for (size_t o = 0; o < c_out; o++) {
        widen_row(row, a->w, o);
        for (size_t oy = y0; oy < y1; oy++) {
            for (size_t ox = 0; ox < a->w_out; ox++) {
                size_t at = (oy * a->w_out + ox) * c_out + o;
                float v = conv_at(a, row, oy, ox) + (a->bias ? a->bias->f32[o] : 0.0f);
                a->y[at] = activate(a->act, v + (a->residual ? a->residual[at] : 0.0f));
            }
        }
    }
}

float fma_rounds_ref(size_t n_rounds)
{
    float v[FMA_FLOPS_PER_ROUND_REF / 2] = {0}, sum = 0.0f;
    for (size_t n = 0; n < n_rounds; n++)
        for (size_t i = 0; i < sizeof v / sizeof *v; i++)
            v[i] = v[i] * 0.999f + 0.001f;
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        sum += v[i];
    return sum;
}

float read_bytes_ref(const void *p, size_t size_bytes)
{
    const uint32_t *words = p;
    uint32_t sum = 0;
    for (size_t i = 0; i < size_bytes / sizeof *words; i++)
        sum += words[i];
    return (float)sum;
}

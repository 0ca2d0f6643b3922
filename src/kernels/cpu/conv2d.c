/* SPDX-License-Identifier: MIT */
/* A task copies the part of the picture that its tile needs into its scratch
 * memory, padded and upsampled: the strip. There, the inputs of neighbouring output
 * pixels for one tap of the kernel are rows at a constant stride, so each tap is a
 * matrix product read straight from the strip and the nine-fold picture of im2col
 * is never written. */
#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cpu/conv2d_impl.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/linear_ref.h"

#define TILE_PIXELS_MAX 512
#define TILE_WIDTH_MAX 64
#define TILE_COLS_MAX 192
#define TASKS_PER_THREAD 6

struct conv_job {
    struct cpu_backend *cb;
    const struct conv2d_args *a;
    size_t tile_w, tile_h; /* output pixels of a task */
    size_t tile_cols;      /* its output channels */
    size_t n_across, n_down;
    size_t chunk; /* input channels in the strip at a time */
    size_t taps;  /* kernel columns that one product covers: kw when chunk is c_in */
};

static void conv2d_ref_task(void *ctx, size_t task, unsigned worker)
{
    const struct conv_job *j = ctx;
    conv2d_ref(j->a, task, task + 1, j->cb->scratch[worker]);
}

static struct conv_tile tile_at(const struct conv_job *j, size_t i)
{
    const struct conv2d_args *a = j->a;
    struct conv_tile t = {
        .x0 = i % j->n_across * j->tile_w,
        .y0 = i / j->n_across * j->tile_h,
    };
    t.w = min_size(j->tile_w, a->w_out - t.x0);
    t.h = min_size(j->tile_h, a->h_out - t.y0);
    t.strip_w = (t.w - 1) * a->stride + a->w->kw;
    t.strip_h = (t.h - 1) * a->stride + a->w->kh;
    return t;
}

void conv2d_fill_strip(const struct conv2d_args *a, const struct conv_tile *t, size_t c0,
                       size_t n_channels, float *strip)
{
    size_t h = a->h_in * a->upsample, w = a->w_in * a->upsample;
    size_t pixel_bytes = n_channels * sizeof(float);
    for (size_t sy = 0; sy < t->strip_h; sy++) {
        size_t y = t->y0 * a->stride + sy - a->pad_before; /* wraps when negative: >= h */
        for (size_t sx = 0; sx < t->strip_w; sx++, strip += n_channels) {
            size_t x = t->x0 * a->stride + sx - a->pad_before;
            if (y >= h || x >= w)
                memset(strip, 0, pixel_bytes);
            else
                memcpy(strip,
                       a->x + ((y / a->upsample) * a->w_in + x / a->upsample) * a->w->c_in + c0,
                       pixel_bytes);
        }
    }
}

void conv2d_finish_tile(const struct cpu_kernels *k, const struct conv2d_args *a,
                        const struct conv_tile *t, size_t col0, size_t cols, const float *c,
                        size_t row_pixels, size_t ldc)
{
    for (size_t row = 0; row < t->h; row++) {
        size_t at = ((t->y0 + row) * a->w_out + t->x0) * a->w->n_rows + col0;
        struct tile_finish f = {
            .c = c + row * row_pixels * ldc,
            .ldc = ldc,
            .rows = t->w,
            .cols = cols,
            .y = a->y + at,
            .ldy = a->w->n_rows,
            .bias = a->bias ? a->bias->f32 + col0 : NULL,
            .residual = a->residual ? a->residual + at : NULL,
            .act = a->act,
        };
        k->finish(&f);
    }
}

/* c (+)= the taps from (ky, kx) on of the chunk of channels at c0 */
static void multiply_taps(const struct conv_job *j, const struct conv_tile *t, size_t ky,
                          size_t kx, size_t c0, size_t n_channels, size_t col0, size_t cols,
                          const float *strip, float *panel, float *c, bool add)
{
    const struct cpu_kernels *k = &j->cb->k;
    const struct conv2d_args *a = j->a;
    const struct weight *w = a->w;
    size_t kc = j->taps * n_channels;
    size_t k0 = (ky * w->kw + kx) * w->c_in + c0;
    for (size_t i = 0; i < cols; i += k->width_max) {
        size_t n = min_size(k->width_max, cols - i);
        size_t width = div_up(n, k->lanes) * k->lanes;
        const char *rows =
            (const char *)w->data + ((col0 + i) * w->ld + k0) * dtype_size(w->dtype);
        k->unpack(panel, width, rows, w->dtype, w->ld, n, kc);
        for (size_t y = 0; y < t->h; y++)
            k->multiply(t->w, width, kc,
                        strip + ((y * a->stride + ky) * t->strip_w + kx) * n_channels,
                        a->stride * n_channels, panel, c + y * t->w * j->tile_cols + i,
                        j->tile_cols, add);
    }
}

/* Few output channels, as at the end of a decoder: a panel would be mostly empty, so
 * the vectors lie along the input channels instead. The strip's rows take the place
 * of the weights, and the kernel's rows, as floats, that of x. */
#define NARROW_MAX 4
#define NARROW_K_MAX 1536 /* kw * c_in; a strip row and the kernel's stay in the cache */

static bool is_narrow(const struct weight *w)
{
    return w->n_rows <= NARROW_MAX && w->kw * w->c_in <= NARROW_K_MAX;
}

static void conv2d_narrow_task(void *ctx, size_t task, unsigned worker)
{
    const struct conv_job *j = ctx;
    const struct conv2d_args *a = j->a;
    const struct weight *w = a->w;
    struct conv_tile t = tile_at(j, task);
    size_t kc = w->kw * w->c_in;
    float *kernel = j->cb->scratch[worker]; /* [c_out, kc] */
    float *part = kernel + NARROW_MAX * NARROW_K_MAX; /* [c_out, tile_w] */
    float *c = part + NARROW_MAX * TILE_WIDTH_MAX;
    float *strip = c + TILE_PIXELS_MAX * NARROW_MAX;
    conv2d_fill_strip(a, &t, 0, w->c_in, strip);
    memset(c, 0, t.w * t.h * NARROW_MAX * sizeof *c);
    for (size_t ky = 0; ky < w->kh; ky++) {
        for (size_t o = 0; o < w->n_rows; o++)
            for (size_t i = 0; i < kc; i++)
                kernel[o * kc + i] = weight_at(w, o, ky * kc + i);
        for (size_t y = 0; y < t.h; y++) {
            const float *row = strip + (y * a->stride + ky) * t.strip_w * w->c_in;
            j->cb->k.gemv(part, TILE_WIDTH_MAX, kernel, kc, w->n_rows, row, DTYPE_F32,
                          a->stride * w->c_in, t.w, kc);
            for (size_t o = 0; o < w->n_rows; o++)
                for (size_t x = 0; x < t.w; x++)
                    c[(y * t.w + x) * NARROW_MAX + o] += part[o * TILE_WIDTH_MAX + x];
        }
    }
    conv2d_finish_tile(&j->cb->k, a, &t, 0, w->n_rows, c, t.w, NARROW_MAX);
}

static void conv2d_task(void *ctx, size_t task, unsigned worker)
{
    const struct conv_job *j = ctx;
    const struct weight *w = j->a->w;
    const struct cpu_kernels *k = &j->cb->k;
    size_t n_tiles = j->n_across * j->n_down;
    struct conv_tile t = tile_at(j, task % n_tiles);
    size_t col0 = task / n_tiles * j->tile_cols;
    size_t cols = min_size(j->tile_cols, w->n_rows - col0);
    float *panel = j->cb->scratch[worker];
    float *c = panel + k->width_max * k->kc_max;
    float *strip = c + TILE_PIXELS_MAX * TILE_COLS_MAX;

    for (size_t c0 = 0; c0 < w->c_in; c0 += j->chunk) {
        size_t n_channels = min_size(j->chunk, w->c_in - c0);
        conv2d_fill_strip(j->a, &t, c0, n_channels, strip);
        for (size_t ky = 0; ky < w->kh; ky++)
            for (size_t kx = 0; kx < w->kw; kx += j->taps)
                multiply_taps(j, &t, ky, kx, c0, n_channels, col0, cols, strip, panel, c,
                              c0 || ky || kx);
    }
    conv2d_finish_tile(k, j->a, &t, col0, cols, c, t.w, j->tile_cols);
}

static void choose_tiles(struct conv_job *j)
{
    const struct conv2d_args *a = j->a;
    const struct cpu_kernels *k = &j->cb->k;
    size_t c_in = a->w->c_in;
    bool row_at_once = a->w->kw * c_in <= k->kc_max || is_narrow(a->w);
    j->taps = row_at_once ? a->w->kw : 1;
    j->chunk = row_at_once ? c_in : k_block(c_in, k->kc_max);
    size_t enough = TASKS_PER_THREAD * j->cb->n_threads;
    size_t strip_max = j->cb->scratch_bytes / sizeof(float) - k->width_max * k->kc_max -
                       TILE_PIXELS_MAX * TILE_COLS_MAX;
    j->tile_w = div_up(a->w_out, div_up(a->w_out, TILE_WIDTH_MAX));
    j->tile_h = min_size(max_size(TILE_PIXELS_MAX / j->tile_w, 1), a->h_out);
    j->tile_cols = TILE_COLS_MAX / k->width_max * k->width_max;
    for (;;) {
        j->n_across = div_up(a->w_out, j->tile_w);
        j->n_down = div_up(a->h_out, j->tile_h);
        size_t n_tiles = j->n_across * j->n_down;
        size_t strip_w = (j->tile_w - 1) * a->stride + a->w->kw;
        size_t strip_h = (j->tile_h - 1) * a->stride + a->w->kh;
        if (strip_w * strip_h * j->chunk > strip_max) {
            assert(j->tile_h > 1 || j->tile_w > 1);
            if (j->tile_h > 1)
                j->tile_h--;
            else
                j->tile_w = div_up(j->tile_w, 2);
        } else if (n_tiles * div_up(a->w->n_rows, j->tile_cols) < enough &&
                   j->tile_cols > k->width_max) {
            j->tile_cols -= k->width_max;
        } else if (n_tiles * div_up(a->w->n_rows, j->tile_cols) < 2 * j->cb->n_threads &&
                   j->tile_h > 2) {
            j->tile_h = div_up(j->tile_h, 2);
        } else {
            return;
        }
    }
}

void cpu_conv2d(struct backend *be, const struct conv2d_args *a)
{
    struct cpu_backend *cb = cpu_backend_of(be);
    struct conv_job j = {.cb = cb, .a = a};
    if (!cb->k.multiply) {
        assert(a->w->n_cols * sizeof(float) <= cb->scratch_bytes);
        pool_run(cb->pool, a->h_out, conv2d_ref_task, &j);
        return;
    }
    if (conv2d_winograd(cb, a))
        return;
    choose_tiles(&j);
    if (is_narrow(a->w)) {
        j.tile_cols = NARROW_MAX;
        pool_run(cb->pool, j.n_across * j.n_down, conv2d_narrow_task, &j);
        return;
    }
    pool_run(cb->pool, j.n_across * j.n_down * div_up(a->w->n_rows, j.tile_cols), conv2d_task, &j);
}

/* SPDX-License-Identifier: MIT */
/* 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): 36 products for 16 output
 * pixels instead of 144, at the price of sums before and after. The error in float32
 * stays near 1e-6 of the absolute sum, about ten times that of the direct way.
 *
 * A task turns the 6 x 6 patches under its tiles of 4 x 4 pixels into 36 matrices
 * V [tiles, c_in], multiplies each by its own U [c_in, c_out], and turns the 36
 * results back. U is made from the weights at each call: that costs a few percent of
 * the call at most, and keeping it would take 8 times the memory of the weights.
 * Tiles begin at multiples of 4 pixels, so the pixels do not depend on the tasks. */
#include <string.h>

#include "base/size.h"
#include "kernels/cpu/conv2d_impl.h"
#include "kernels/cpu/cpu.h"

#define N_POS 36
#define TILE_PX 4
#define CHUNK_MAX 128 /* input channels at a time */
#define COLS_MAX 128  /* output channels of a task */
#define PATCHES_MAX 64
#define PATCHES_ACROSS_MAX 16
/* Floats between the matrices of neighbouring positions: without them, all 36 would
 * fall into the same sets of the cache. */
#define POS_GAP 16
#define CHANNELS_MIN 32 /* below, the sums cost what the products save */
#define TASKS_PER_THREAD 4

struct winograd_job {
    struct cpu_backend *cb;
    const struct conv2d_args *a;
    size_t chunk;
    size_t col0, cols;            /* output channels of this round */
    size_t n_panels;              /* of U */
    size_t panel_floats;          /* one panel of U: [chunks][36][chunk, width] */
    size_t across, down;          /* patches of a task */
    size_t tasks_across, tasks_down;
    size_t tile_cols;
};

static size_t panel_width(const struct winograd_job *j, size_t panel)
{
    const struct cpu_kernels *k = &j->cb->k;
    size_t cols = min_size(k->width_max, j->cols - panel * k->width_max);
    return div_up(cols, k->lanes) * k->lanes;
}

/* A panel's part for the channels from c0 on. */
static float *panel_at(const struct winograd_job *j, size_t panel, size_t c0)
{
    return j->cb->shared + panel * j->panel_floats + N_POS * c0 * panel_width(j, panel);
}

static void weights_task(void *ctx, size_t task, unsigned worker)
{
    const struct winograd_job *j = ctx;
    const struct cpu_kernels *k = &j->cb->k;
    const struct weight *w = j->a->w;
    size_t panel = task % j->n_panels;
    size_t c0 = task / j->n_panels * j->chunk;
    size_t n = min_size(j->chunk, w->c_in - c0);
    size_t row = j->col0 + panel * k->width_max;
    size_t width = panel_width(j, panel);
    size_t n_rows = min_size(width, j->col0 + j->cols - row);
    float *g = j->cb->scratch[worker]; /* [9][n, width] */
    for (size_t tap = 0; tap < 9; tap++) {
        const char *rows = (const char *)w->data +
                           (row * w->ld + tap * w->c_in + c0) * dtype_size(w->dtype);
        k->unpack(g + tap * n * width, width, rows, w->dtype, w->ld, n_rows, n);
    }
    k->winograd_weights(panel_at(j, panel, c0), g, n * width);
}

/* A task's share of the picture. */
static struct conv_tile tile_of(const struct winograd_job *j, size_t i, size_t *across,
                                size_t *down)
{
    const struct conv2d_args *a = j->a;
    struct conv_tile t = {
        .x0 = i % j->tasks_across * j->across * TILE_PX,
        .y0 = i / j->tasks_across * j->down * TILE_PX,
    };
    t.w = min_size(j->across * TILE_PX, a->w_out - t.x0);
    t.h = min_size(j->down * TILE_PX, a->h_out - t.y0);
    *across = div_up(t.w, TILE_PX);
    *down = div_up(t.h, TILE_PX);
    t.strip_w = *across * TILE_PX + 2;
    t.strip_h = *down * TILE_PX + 2;
    return t;
}

static void transform_patches(const struct winograd_job *j, const struct conv_tile *t,
                              size_t across, size_t down, size_t n, const float *strip, float *v)
{
    size_t v_pitch = across * down * n + POS_GAP;
    for (size_t y = 0; y < down; y++)
        for (size_t x = 0; x < across; x++)
            j->cb->k.winograd_input(v + (y * across + x) * n, v_pitch,
                                    strip + (y * t->strip_w + x) * TILE_PX * n, n,
                                    t->strip_w * n, n);
}

static void tile_task(void *ctx, size_t task, unsigned worker)
{
    const struct winograd_job *j = ctx;
    const struct cpu_kernels *k = &j->cb->k;
    const struct conv2d_args *a = j->a;
    size_t across, down;
    size_t n_tiles = j->tasks_across * j->tasks_down;
    struct conv_tile t = tile_of(j, task % n_tiles, &across, &down);
    size_t panel0 = task / n_tiles * (j->tile_cols / k->width_max);
    size_t first = panel0 * k->width_max; /* column of this round */
    size_t cols = min_size(j->tile_cols, j->cols - first);
    size_t n_patches = across * down;
    size_t m_pitch = n_patches * j->tile_cols + POS_GAP;

    float *v = j->cb->scratch[worker];
    float *m = v + N_POS * (PATCHES_MAX * CHUNK_MAX + POS_GAP);
    float *strip = m + N_POS * (PATCHES_MAX * COLS_MAX + POS_GAP);
    float *c = v; /* when v has been used */

    for (size_t c0 = 0; c0 < a->w->c_in; c0 += j->chunk) {
        size_t n = min_size(j->chunk, a->w->c_in - c0);
        conv2d_fill_strip(a, &t, c0, n, strip);
        transform_patches(j, &t, across, down, n, strip, v);
        for (size_t pos = 0; pos < N_POS; pos++) {
            for (size_t i = 0; i < cols; i += k->width_max) {
                size_t panel = panel0 + i / k->width_max;
                size_t width = panel_width(j, panel);
                k->multiply(n_patches, width, n, v + pos * (n_patches * n + POS_GAP), n,
                            panel_at(j, panel, c0) + pos * n * width, m + pos * m_pitch + i,
                            j->tile_cols, c0 > 0);
            }
        }
    }
    for (size_t y = 0; y < down; y++)
        for (size_t x = 0; x < across; x++)
            k->winograd_output(c + (y * across * TILE_PX + x) * TILE_PX * j->tile_cols,
                               j->tile_cols, across * TILE_PX * j->tile_cols,
                               m + (y * across + x) * j->tile_cols, m_pitch,
                               div_up(cols, k->lanes) * k->lanes);
    conv2d_finish_tile(k, a, &t, j->col0 + first, cols, c, across * TILE_PX, j->tile_cols);
}

/* A strip is at most PATCHES_MAX patches in one row or column. */
_Static_assert((N_POS * (PATCHES_MAX * (CHUNK_MAX + COLS_MAX) + 2 * POS_GAP) +
                (PATCHES_MAX * TILE_PX + 2) * (TILE_PX + 2) * CHUNK_MAX) *
                       sizeof(float) <=
                   CPU_SCRATCH_BYTES,
               "v, m and the strip fit into a thread's scratch memory");

static size_t n_tasks(const struct winograd_job *j)
{
    return j->tasks_across * j->tasks_down * div_up(j->cols, j->tile_cols);
}

static void count_tasks(struct winograd_job *j)
{
    j->tasks_across = div_up(j->a->w_out, j->across * TILE_PX);
    j->tasks_down = div_up(j->a->h_out, j->down * TILE_PX);
}

static void choose_tiles(struct winograd_job *j)
{
    const struct cpu_kernels *k = &j->cb->k;
    size_t across = div_up(j->a->w_out, TILE_PX), down = div_up(j->a->h_out, TILE_PX);
    j->across = div_up(across, div_up(across, PATCHES_ACROSS_MAX));
    j->down = min_size(PATCHES_MAX / j->across, down);
    j->tile_cols = COLS_MAX / k->width_max * k->width_max;
    j->tile_cols = min_size(j->tile_cols, div_up(j->cols, k->width_max) * k->width_max);
    count_tasks(j);
    while (n_tasks(j) < TASKS_PER_THREAD * j->cb->n_threads && j->down > 1) {
        j->down = div_up(j->down, 2);
        count_tasks(j);
    }
}

bool conv2d_winograd(struct cpu_backend *cb, const struct conv2d_args *a)
{
    const struct weight *w = a->w;
    const struct cpu_kernels *k = &cb->k;
    struct winograd_job j = {.cb = cb, .a = a};
    j.panel_floats = N_POS * w->c_in * k->width_max;
    size_t panels_max = cb->shared_bytes / (j.panel_floats * sizeof(float));
    if (w->kh != 3 || w->kw != 3 || a->stride != 1 || w->c_in % 16 || w->c_in < CHANNELS_MIN ||
        w->n_rows < CHANNELS_MIN || a->w_out * a->h_out < 256 || !panels_max)
        return false;
    j.chunk = k_block(w->c_in, CHUNK_MAX);
    for (j.col0 = 0; j.col0 < w->n_rows; j.col0 += j.cols) {
        j.cols = min_size(panels_max * k->width_max, w->n_rows - j.col0);
        j.n_panels = div_up(j.cols, k->width_max);
        choose_tiles(&j);
        pool_run(cb->pool, j.n_panels * div_up(w->c_in, j.chunk), weights_task, &j);
        pool_run(cb->pool, n_tasks(&j), tile_task, &j);
    }
    return true;
}

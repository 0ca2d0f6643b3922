/* SPDX-License-Identifier: MIT */
#include "kernels/cpu/linear.h"

#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/linear_ref.h"

/* The largest tile of C that a task holds; two of them (SwiGLU) and two panels fit
 * into its scratch memory. Many rows, because each widened weight serves all of them;
 * few columns, so that the tile stays in the second-level cache. */
#define TILE_ROWS_MAX 768
#define TILE_COLS_MAX 64

/* Enough tasks that the last ones do not leave threads idle for long. */
#define TASKS_PER_THREAD 6

/* Floats between the packed rows of x beyond the block: rows a multiple of 4 KiB
 * apart would share one set of the first-level cache. */
#define PACK_GAP 16

void cpu_kernels_init(struct cpu_kernels *k, enum cpu_level level)
{
    *k = (struct cpu_kernels){
        .fma_rounds = fma_rounds_ref,
        .fma_flops_per_round = FMA_FLOPS_PER_ROUND_REF,
        .read_bytes = read_bytes_ref,
    };
#if defined(__x86_64__)
    if (level >= CPU_AVX2)
        cpu_kernels_init_avx2(k);
    if (level >= CPU_AVX512)
        cpu_kernels_init_avx512(k);
#else
    (void)level;
#endif
}

static const void *weight_block(const struct weight *w, size_t row, size_t k)
{
    return (const char *)w->data + (row * w->ld + k) * dtype_size(w->dtype);
}

/* What turns the products of rows from row0, columns from col0, into y. */
static struct tile_finish finish_for(const struct linear_args *a, size_t row0, size_t col0,
                                     size_t rows, size_t cols)
{
    return (struct tile_finish){
        .rows = rows,
        .cols = cols,
        .y = a->y + row0 * a->ldy + col0,
        .ldy = a->ldy,
        .bias = a->bias ? a->bias->f32 + col0 : NULL,
        .gate = a->gate ? a->gate + col0 : NULL,
        .act = a->act,
        .accumulate = a->accumulate,
    };
}

/* ---- the reference ---- */

#define REF_COLS 4 /* columns of y in one task */

struct ref_job {
    struct cpu_backend *cb;
    const struct linear_args *a;
};

static void linear_ref_task(void *ctx, size_t task, unsigned worker)
{
    const struct ref_job *j = ctx;
    size_t n0 = task * REF_COLS;
    size_t n1 = min_size(n0 + REF_COLS, j->a->w->n_rows);
    linear_ref(j->a, n0, n1, j->cb->scratch[worker]);
}

static void linear_by_ref(struct cpu_backend *cb, const struct linear_args *a)
{
    struct ref_job j = {cb, a};
    assert(2 * a->w->n_cols * sizeof(float) <= cb->scratch_bytes);
    pool_run(cb->pool, div_up(a->w->n_rows, REF_COLS), linear_ref_task, &j);
}

/* ---- few rows: weights streamed ---- */

#define GEMV_COLS 64 /* columns of y in one task: enough bytes to keep a stream going */

static void gemv_task(void *ctx, size_t task, unsigned worker)
{
    const struct ref_job *j = ctx;
    const struct linear_args *a = j->a;
    const struct weight *w = a->w;
    const struct cpu_kernels *k = &j->cb->k;
    float *c = j->cb->scratch[worker];
    float *c_up = c + GEMV_ROWS_MAX * GEMV_COLS;
    size_t n0 = task * GEMV_COLS;
    size_t cols = min_size(GEMV_COLS, w->n_rows - n0);
    struct tile_finish f = finish_for(a, 0, n0, a->m, cols);
    f.c = c;
    f.ldc = GEMV_COLS;
    k->gemv(c, GEMV_COLS, a->x, a->ldx, a->m, weight_block(w, n0, 0), w->dtype, w->ld, cols,
            w->n_cols);
    if (a->w_up) {
        f.c_up = c_up;
        k->gemv(c_up, GEMV_COLS, a->x, a->ldx, a->m, weight_block(a->w_up, n0, 0),
                a->w_up->dtype, a->w_up->ld, cols, w->n_cols);
    }
    k->finish(&f);
}

static void linear_by_gemv(struct cpu_backend *cb, const struct linear_args *a)
{
    struct ref_job j = {cb, a};
    pool_run(cb->pool, div_up(a->w->n_rows, GEMV_COLS), gemv_task, &j);
}

/* ---- many rows: tiles ---- */

struct gemm_job {
    struct cpu_backend *cb;
    const struct linear_args *a;
    size_t row0, rows; /* the slab of x that is packed now */
    size_t kc, n_blocks;
    size_t pitch;     /* floats between packed rows */
    size_t tile_rows; /* of a task */
    size_t tile_cols;
    size_t n_tile_rows; /* tasks that lie above each other */
};

#define PACK_ROWS 16 /* rows of x in one packing task */

/* cb->shared = [n_blocks][rows][pitch], each row one block of k of a row of x */
static void pack_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct gemm_job *j = ctx;
    const struct linear_args *a = j->a;
    size_t end = min_size((task + 1) * PACK_ROWS, j->rows);
    for (size_t row = task * PACK_ROWS; row < end; row++) {
        const float *x = a->x + (j->row0 + row) * a->ldx;
        for (size_t b = 0; b < j->n_blocks; b++) {
            size_t kc = min_size(j->kc, a->w->n_cols - b * j->kc);
            memcpy(j->cb->shared + (b * j->rows + row) * j->pitch, x + b * j->kc,
                   kc * sizeof(float));
        }
    }
}

/* One panel's columns of a tile: all of k block b. */
static void multiply_panel(const struct gemm_job *j, const struct weight *w, size_t col,
                           size_t cols, size_t b, size_t tile_row0, size_t rows, float *panel,
                           float *c)
{
    const struct cpu_kernels *k = &j->cb->k;
    size_t k0 = b * j->kc;
    size_t kc = min_size(j->kc, w->n_cols - k0);
    size_t width = div_up(cols, k->lanes) * k->lanes;
    k->unpack(panel, width, weight_block(w, col, k0), w->dtype, w->ld, cols, kc);
    k->multiply(rows, width, kc, j->cb->shared + (b * j->rows + tile_row0) * j->pitch, j->pitch,
                panel, c, j->tile_cols, b > 0);
}

static void gemm_task(void *ctx, size_t task, unsigned worker)
{
    const struct gemm_job *j = ctx;
    const struct linear_args *a = j->a;
    const struct cpu_kernels *k = &j->cb->k;
    size_t row0 = task % j->n_tile_rows * j->tile_rows;
    size_t col0 = task / j->n_tile_rows * j->tile_cols;
    size_t rows = min_size(j->tile_rows, j->rows - row0);
    size_t cols = min_size(j->tile_cols, a->w->n_rows - col0);
    float *panel = j->cb->scratch[worker];
    float *c = panel + k->width_max * k->kc_max;
    float *c_up = c + j->tile_rows * j->tile_cols;

    for (size_t b = 0; b < j->n_blocks; b++) {
        for (size_t i = 0; i < cols; i += k->width_max) {
            size_t width = min_size(k->width_max, cols - i);
            multiply_panel(j, a->w, col0 + i, width, b, row0, rows, panel, c + i);
            if (a->w_up)
                multiply_panel(j, a->w_up, col0 + i, width, b, row0, rows, panel, c_up + i);
            if (b + 1 < j->n_blocks)
                continue;
            struct tile_finish f = finish_for(a, j->row0 + row0, col0 + i, rows, width);
            f.c = c + i;
            f.c_up = a->w_up ? c_up + i : NULL;
            f.ldc = j->tile_cols;
            k->finish(&f);
        }
    }
}

/* Rows of a tile that are worth widening a weight for, if threads would be idle
 * otherwise, or badly balanced. */
#define TILE_ROWS_MIN 64
#define TILE_ROWS_GOOD 192

/* The largest tiles that still give every thread several; for a small layer or many
 * threads smaller ones, for which x and w are read more often. */
static void choose_tiles(struct gemm_job *j)
{
    const struct cpu_kernels *k = &j->cb->k;
    size_t n = j->a->w->n_rows, n_threads = j->cb->n_threads;
    size_t n_down = div_up(j->rows, TILE_ROWS_MAX);
    size_t tile_cols = TILE_COLS_MAX / k->width_max * k->width_max;
    while (tile_cols > k->width_max &&
           n_down * div_up(n, tile_cols) < TASKS_PER_THREAD * n_threads)
        tile_cols -= k->width_max;
    for (;; n_down++) {
        size_t rows = div_up(j->rows, n_down);
        size_t n_tasks = n_down * div_up(n, tile_cols);
        if (n_tasks >= 3 * n_threads || rows <= TILE_ROWS_MIN ||
            (n_tasks >= n_threads && rows <= TILE_ROWS_GOOD))
            break;
    }
    j->tile_cols = tile_cols;
    j->tile_rows = div_up(j->rows, n_down);
    j->n_tile_rows = div_up(j->rows, j->tile_rows);
}

static void linear_by_gemm(struct cpu_backend *cb, const struct linear_args *a)
{
    struct gemm_job j = {.cb = cb, .a = a};
    j.kc = k_block(a->w->n_cols, cb->k.kc_max);
    j.n_blocks = div_up(a->w->n_cols, j.kc);
    j.pitch = j.kc + PACK_GAP;
    size_t rows_max = cb->shared_bytes / (j.n_blocks * j.pitch * sizeof(float));
    assert(rows_max);
    size_t slab_rows = div_up(a->m, div_up(a->m, rows_max));
    for (j.row0 = 0; j.row0 < a->m; j.row0 += slab_rows) {
        j.rows = min_size(slab_rows, a->m - j.row0);
        choose_tiles(&j);
        pool_run(cb->pool, div_up(j.rows, PACK_ROWS), pack_task, &j);
        pool_run(cb->pool, j.n_tile_rows * div_up(a->w->n_rows, j.tile_cols), gemm_task, &j);
    }
}

void cpu_linear(struct backend *be, const struct linear_args *a)
{
    struct cpu_backend *cb = cpu_backend_of(be);
    if (!cb->k.multiply)
        linear_by_ref(cb, a);
    else if (a->m <= GEMV_ROWS_MAX)
        linear_by_gemv(cb, a);
    else
        linear_by_gemm(cb, a);
}

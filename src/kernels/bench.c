/* SPDX-License-Identifier: MIT */
#include "kernels/bench.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/size.h"
#include "kernels/backend.h"

#define RUN_SECONDS 0.004 /* of a short case, repeated: no clock is finer */
#define CASE_SECONDS 0.4   /* then the next shape, */
#define CASE_RUNS_MIN 3    /* but not before so many runs */
#define SLICE_SECONDS 0.02 /* a long case is cut into parts of about so much */
#define SLICES_MAX 64
#define SLICE_ROWS 512 /* of the weights: multiples of all tiles' widths */
#define SCALAR_FLOPS_MAX 3e8
#define READ_BYTES ((size_t)128 << 20)

enum bench_op { BENCH_LINEAR, BENCH_SWIGLU, BENCH_GEMV, BENCH_CONV, BENCH_ATTENTION };

static const char *const op_names[] = {"linear", "swiglu", "gemv", "conv2d", "attention"};
static const char *const dtype_names[] = {"f32", "f16", "bf16"};

/* linear: m rows, k inputs, n outputs. conv: m pixels a side, k -> n channels, 3x3.
 * attention: m tokens, n heads of k channels. */
struct bench_case {
    enum bench_op op;
    const char *where;
    size_t m, n, k;
    enum dtype dtype;
};

static const struct bench_case cases[] = {
    {BENCH_LINEAR, "klein-4B q, k, v", 512, 3072, 3072, DTYPE_BF16},
    {BENCH_LINEAR, "klein-4B q, k, v", 768, 3072, 3072, DTYPE_BF16},
    {BENCH_LINEAR, "klein-4B q, k, v", 3584, 3072, 3072, DTYPE_BF16},
    {BENCH_LINEAR, "klein-4B single block in", 768, 27648, 3072, DTYPE_BF16},
    {BENCH_SWIGLU, "klein-4B mlp in", 512, 9216, 3072, DTYPE_BF16},
    {BENCH_SWIGLU, "klein-4B mlp in", 768, 9216, 3072, DTYPE_BF16},
    {BENCH_SWIGLU, "klein-4B mlp in", 3584, 9216, 3072, DTYPE_BF16},
    {BENCH_LINEAR, "klein-4B mlp out", 768, 3072, 9216, DTYPE_BF16},
    {BENCH_LINEAR, "klein-4B single block out", 768, 3072, 12288, DTYPE_BF16},
    {BENCH_LINEAR, "klein-4B single block out", 3584, 3072, 12288, DTYPE_BF16},
    {BENCH_LINEAR, "Qwen3-4B q", 512, 4096, 2560, DTYPE_BF16},
    {BENCH_SWIGLU, "Qwen3-4B mlp in", 512, 9728, 2560, DTYPE_BF16},
    {BENCH_LINEAR, "Qwen3-4B mlp out", 512, 2560, 9728, DTYPE_BF16},
    {BENCH_GEMV, "Qwen3-4B mlp in", 1, 9728, 2560, DTYPE_BF16},
    {BENCH_GEMV, "klein-4B modulation", 1, 18432, 3072, DTYPE_BF16},
    {BENCH_GEMV, "Qwen3-4B, 4 rows", 4, 9728, 2560, DTYPE_BF16},
    {BENCH_LINEAR, "small model", 112, 256, 256, DTYPE_BF16},
    {BENCH_SWIGLU, "small model", 112, 1024, 320, DTYPE_BF16},
    {BENCH_LINEAR, "small model", 112, 320, 1280, DTYPE_BF16},
    {BENCH_CONV, "VAE 1/8", 64, 512, 512, DTYPE_BF16},
    {BENCH_CONV, "VAE 1/4", 128, 512, 512, DTYPE_BF16},
    {BENCH_CONV, "VAE 1/2", 256, 256, 256, DTYPE_BF16},
    {BENCH_CONV, "VAE 1/1", 512, 128, 128, DTYPE_BF16},
    {BENCH_CONV, "TAEF2 1/8", 64, 64, 64, DTYPE_F16},
    {BENCH_CONV, "TAEF2 1/1", 512, 64, 64, DTYPE_F16},
    {BENCH_CONV, "TAEF2 out", 512, 3, 64, DTYPE_F16},
    {BENCH_ATTENTION, "klein-4B 256x256", 768, 24, 128, DTYPE_F32},
    {BENCH_ATTENTION, "klein-4B 1024x768", 3584, 24, 128, DTYPE_F32},
    {BENCH_ATTENTION, "small model", 112, 4, 64, DTYPE_F32},
};

struct bench {
    struct backend *be;
    char *weights; /* random bits that are small numbers in any type */
    float *x, *y;  /* inputs and outputs of the largest case */
    struct kernels_yardstick peak;
    struct kernels_limits best;
};

static size_t weight_elems(const struct bench_case *c)
{
    switch (c->op) {
    case BENCH_SWIGLU:
        return 2 * c->n * c->k;
    case BENCH_CONV:
        return c->n * c->k * 9;
    case BENCH_ATTENTION:
        return 0;
    case BENCH_LINEAR:
    case BENCH_GEMV:
        break;
    }
    return c->n * c->k;
}

static size_t x_elems(const struct bench_case *c)
{
    if (c->op == BENCH_ATTENTION)
        return 3 * c->m * c->n * c->k;
    return c->op == BENCH_CONV ? c->m * c->m * c->k : c->m * c->k;
}

static size_t y_elems(const struct bench_case *c)
{
    if (c->op == BENCH_ATTENTION)
        return c->m * c->n * c->k;
    return c->op == BENCH_CONV ? c->m * c->m * c->n : c->m * c->n;
}

static double case_flops(const struct bench_case *c)
{
    double m = (double)c->m, n = (double)c->n, k = (double)c->k;
    switch (c->op) {
    case BENCH_SWIGLU:
        return 4.0 * m * n * k;
    case BENCH_CONV:
        return 18.0 * m * m * n * k;
    case BENCH_ATTENTION:
        return 4.0 * m * m * n * k;
    case BENCH_LINEAR:
    case BENCH_GEMV:
        break;
    }
    return 2.0 * m * n * k;
}

/* ---- one shape ---- */

/* A linear layer's outputs are cut into slices, between which the yardstick is measured:
 * on a shared machine the speed changes within hundredths of a second. */
struct case_weights {
    struct weight *w[SLICES_MAX], *w_up[SLICES_MAX];
    size_t n_slices;
};

static void weights_free(struct bench *b, struct case_weights *cw)
{
    for (size_t i = 0; i < cw->n_slices; i++) {
        backend_weight_free(b->be, cw->w[i]);
        backend_weight_free(b->be, cw->w_up[i]);
    }
}

static double measure_peak(struct bench *b)
{
    double gflops = kernels_yardstick_measure(&b->peak);
    b->best.peak_gflops = fmax(b->best.peak_gflops, gflops);
    return gflops;
}

static double measure_read(struct bench *b)
{
    double gbytes_s = kernels_read_gbytes_s(b->be, b->weights, READ_BYTES);
    b->best.peak_gbytes_s = fmax(b->best.peak_gbytes_s, gbytes_s);
    return gbytes_s;
}

static size_t slices_of(const struct bench *b, const struct bench_case *c)
{
    if (c->op != BENCH_LINEAR && c->op != BENCH_SWIGLU)
        return 1;
    double s = case_flops(c) / (b->best.peak_gflops * 1e9);
    size_t n = min_size((size_t)(s / SLICE_SECONDS), div_up(c->n, SLICE_ROWS));
    return max_size(1, min_size(n, SLICES_MAX));
}

static enum err weights_new(struct bench *b, const struct bench_case *c, struct case_weights *cw,
                            struct errmsg *em)
{
    struct tensor t = {
        .name = c->where,
        .data = b->weights,
        .dtype = c->dtype,
        .n_dims = 2,
        .shape = {c->n, c->k, 3, 3},
        .n_elems = c->n * c->k,
    };
    cw->n_slices = slices_of(b, c);
    if (c->op == BENCH_ATTENTION)
        return ERR_OK;
    if (c->op == BENCH_CONV) {
        t.n_dims = 4;
        t.n_elems *= 9;
        return backend_weight_conv2d(b->be, &t, &cw->w[0], em);
    }
    struct tensor up = t;
    up.data = b->weights + t.n_elems * dtype_size(t.dtype);
    size_t rows = div_up(div_up(c->n, cw->n_slices), SLICE_ROWS) * SLICE_ROWS;
    cw->n_slices = div_up(c->n, rows);
    for (size_t i = 0; i < cw->n_slices; i++) {
        size_t n = min_size(rows, c->n - i * rows);
        enum err rc = backend_weight(b->be, &t, i * rows, n, &cw->w[i], em);
        if (!rc && c->op == BENCH_SWIGLU)
            rc = backend_weight(b->be, &up, i * rows, n, &cw->w_up[i], em);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static void run_attention(struct bench *b, const struct bench_case *c)
{
    size_t width = c->n * c->k;
    backend_attention(b->be, &(struct attention_args){
                                 .q = b->x,
                                 .k = b->x + c->m * width,
                                 .v = b->x + 2 * c->m * width,
                                 .out = b->y,
                                 .ldq = width,
                                 .ldk = width,
                                 .ldv = width,
                                 .ldo = width,
                                 .n_q = c->m,
                                 .n_k = c->m,
                                 .n_k_valid = c->m,
                                 .n_heads = c->n,
                                 .n_kv_heads = c->n,
                                 .head_dim = c->k,
                                 .scale = 0.1f,
                             });
}

static void run_slice(struct bench *b, const struct bench_case *c, const struct case_weights *cw,
                      size_t slice)
{
    if (c->op == BENCH_ATTENTION)
        run_attention(b, c);
    else if (c->op == BENCH_CONV)
        backend_conv2d(b->be, &(struct conv2d_args){
                                  .x = b->x,
                                  .h_in = c->m,
                                  .w_in = c->m,
                                  .w = cw->w[0],
                                  .y = b->y,
                                  .h_out = c->m,
                                  .w_out = c->m,
                                  .stride = 1,
                                  .pad_before = 1,
                                  .upsample = 1,
                              });
    else
        backend_linear(b->be, &(struct linear_args){
                                  .x = b->x,
                                  .ldx = c->k,
                                  .m = c->m,
                                  .w = cw->w[slice],
                                  .w_up = cw->w_up[slice],
                                  .y = b->y,
                                  .ldy = c->n,
                              });
}

static void describe(const struct bench_case *c, struct kernel_timing *row)
{
    *row = (struct kernel_timing){
        .op = op_names[c->op], .where = c->where, .dtype = dtype_names[c->dtype]};
    if (c->op == BENCH_CONV)
        snprintf(row->shape, sizeof row->shape, "%zux%zu 3x3 %zu->%zu", c->m, c->m, c->k, c->n);
    else if (c->op == BENCH_ATTENTION)
        snprintf(row->shape, sizeof row->shape, "%zu tokens, %zu heads x %zu", c->m, c->n, c->k);
    else
        snprintf(row->shape, sizeof row->shape, "%zu x %zu -> %zu", c->m, c->k, c->n);
}

/* Slices and yardstick in turns; the best of each. Short cases repeat inside of a run,
 * so that the clock and the waking of threads do not count. */
static enum err time_case(struct bench *b, const struct bench_case *c, struct kernel_timing *row,
                          struct errmsg *em)
{
    struct case_weights cw = {0};
    enum err rc = weights_new(b, c, &cw, em);
    if (rc)
        goto out;
    describe(c, row);
    bool streams = c->op == BENCH_GEMV;
    double best_s[SLICES_MAX], peak = 0.0, begin = clock_now_s();
    size_t repeat = (size_t)(RUN_SECONDS * b->best.peak_gflops * 1e9 / case_flops(c)) + 1;
    repeat = streams ? 1 : repeat;
    if (cw.n_slices == 1)
        run_slice(b, c, &cw, 0); /* pages and caches */
    for (unsigned i = 0; i < CASE_RUNS_MIN || clock_now_s() - begin < CASE_SECONDS; i++)
        for (size_t slice = 0; slice < cw.n_slices; slice++) {
            double limit = streams ? measure_read(b) : measure_peak(b);
            double start = clock_now_s();
            for (size_t r = 0; r < repeat; r++)
                run_slice(b, c, &cw, slice);
            double s = (clock_now_s() - start) / (double)repeat;
            best_s[slice] = i && best_s[slice] < s ? best_s[slice] : s;
            peak = limit > peak ? limit : peak;
        }
    double total_s = 0.0;
    for (size_t slice = 0; slice < cw.n_slices; slice++)
        total_s += best_s[slice];
    row->ms = total_s * 1e3;
    row->gflops = case_flops(c) / total_s * 1e-9;
    if (streams)
        row->gbytes_s = (double)(weight_elems(c) * dtype_size(c->dtype)) / total_s * 1e-9;
    row->share = (streams ? row->gbytes_s : row->gflops) / peak;
out:
    weights_free(b, &cw);
    return rc;
}

static bool case_runs_at(const struct bench_case *c, enum cpu_level level)
{
    return level > CPU_SCALAR || case_flops(c) <= SCALAR_FLOPS_MAX;
}

/* xorshift; exponents near one in f32, f16 and bf16, so that nothing overflows and
 * no subnormal slows a loop down */
static void fill(char *p, size_t size_bytes)
{
    uint32_t s = 1;
    for (size_t i = 0; i + 4 <= size_bytes; i += 4) {
        s ^= s << 13;
        s ^= s >> 17;
        s ^= s << 5;
        uint32_t v = (s & 0x807f807fu) | 0x38003800u;
        memcpy(p + i, &v, 4);
    }
}

static enum err buffers_new(struct bench *b, enum cpu_level level, struct errmsg *em)
{
    size_t w = READ_BYTES, x = 0, y = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!case_runs_at(&cases[i], level))
            continue;
        w = max_size(w, weight_elems(&cases[i]) * dtype_size(cases[i].dtype));
        x = max_size(x, x_elems(&cases[i]) * sizeof(float));
        y = max_size(y, y_elems(&cases[i]) * sizeof(float));
    }
    b->weights = mem_alloc(w);
    b->x = mem_alloc(x);
    b->y = mem_alloc(y);
    if (!b->weights || !b->x || !b->y)
        return err_nomem(em, w + x + y);
    fill(b->weights, w);
    fill((char *)b->x, x);
    return ERR_OK;
}

enum err kernels_bench(struct pool *pool, enum cpu_level level,
                       void (*report)(void *ctx, const struct kernel_timing *row), void *ctx,
                       struct kernels_limits *out, struct errmsg *em)
{
    struct bench b = {0};
    enum err rc = backend_cpu_new(pool, level, &b.be, em);
    if (rc)
        return rc;
    rc = buffers_new(&b, level, em);
    if (rc)
        goto out;
    kernels_yardstick_init(&b.peak, b.be);
    (void)measure_peak(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kernel_timing row;
        if (!case_runs_at(&cases[i], level))
            continue;
        rc = time_case(&b, &cases[i], &row, em);
        if (rc)
            goto out;
        report(ctx, &row);
    }
    *out = b.best;
out:
    mem_free(b.weights);
    mem_free(b.x);
    mem_free(b.y);
    backend_free(b.be);
    return rc;
}

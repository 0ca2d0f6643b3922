/* SPDX-License-Identifier: MIT */
/* The public interface: measuring the kernels, and a whole model. */
#include "kernels/bench.h"

#include <math.h>

#include "base/clock.h"
#include "easel.h"
#include "lib/lib_impl.h"

struct report_ctx {
    void (*fn)(void *user, const struct easel_bench_row *row);
    void *user;
};

static void report(void *ctx, const struct kernel_timing *t)
{
    const struct report_ctx *r = ctx;
    struct easel_bench_row row = {
        .operation = t->op,
        .layer = t->where,
        .shape = t->shape,
        .dtype = t->dtype,
        .ms = t->ms,
        .gflops = t->gflops,
        .gbytes_per_s = t->gbytes_s,
        .share_of_peak = t->share,
    };
    r->fn(r->user, &row);
}

enum easel_status easel_bench_kernels(const struct easel_model_options *options,
                                      void (*fn)(void *user, const struct easel_bench_row *row),
                                      void *user, struct easel_bench_limits *limits,
                                      struct easel_error *error)
{
    struct errmsg em = {""};
    struct easel_model_options defaults;
    struct report_ctx ctx = {fn, user};
    struct kernels_limits measured = {0};
    struct pool *pool = NULL;
    enum cpu_level level;
    easel_model_defaults(&defaults);
    if (!options)
        options = &defaults;
    enum err rc = cpu_level_parse(options->cpu, &level, &em);
    if (!rc)
        rc = pool_new(options->n_threads, &pool, &em);
    if (!rc)
        rc = kernels_bench(pool, level, report, &ctx, &measured, &em);
    pool_free(pool);
    *limits = (struct easel_bench_limits){measured.peak_gflops, measured.peak_gbytes_s};
    return lib_status(rc, &em, error);
}

/* ---- a whole model --------------------------------------------------------- */

#define BETWEEN_S 1.0 /* from one look at the peak to the next inside a stage */

struct model_bench {
    const struct easel_draw_options *options;
    struct kernels_yardstick peak;
    double best_gflops[EASEL_N_STAGES]; /* measured beside each stage */
    double measuring_s[EASEL_N_STAGES]; /* and what that took of its time */
    int stage;                          /* -1: none yet */
    unsigned step;
    double measured_s; /* the last time */
};

/* Beside the stage that ends, where one does, and the one that goes on. */
static void measure_beside(struct model_bench *b, int ended, int stage)
{
    double start = clock_now_s();
    double gflops = kernels_yardstick_measure(&b->peak);
    b->measured_s = clock_now_s();
    if (ended >= 0)
        b->best_gflops[ended] = fmax(b->best_gflops[ended], gflops);
    if (stage < 0)
        return;
    b->best_gflops[stage] = fmax(b->best_gflops[stage], gflops);
    b->measuring_s[stage] += b->measured_s - start;
}

static int measure_on_progress(void *user, const struct easel_progress *p)
{
    struct model_bench *b = user;
    int stage = (int)p->stage;
    if (stage != b->stage || p->step != b->step || clock_now_s() - b->measured_s > BETWEEN_S)
        measure_beside(b, b->stage, stage);
    b->stage = stage;
    b->step = p->step;
    return b->options->on_progress ? b->options->on_progress(b->options->user, p) : 0;
}

static void bench_finish(const struct model_bench *b, struct easel_picture *picture,
                         struct easel_bench_picture *out)
{
    *out = (struct easel_bench_picture){0};
    for (int i = 0; i < EASEL_N_STAGES; i++) {
        struct easel_bench_stage *s = &out->stages[i];
        picture->seconds[i] = fmax(0, picture->seconds[i] - b->measuring_s[i]);
        picture->seconds_total -= b->measuring_s[i];
        s->peak_gflops = b->best_gflops[i];
        out->peak_gflops = fmax(out->peak_gflops, s->peak_gflops);
        if (!(picture->flops[i] > 0) || !(picture->seconds[i] > 0))
            continue;
        s->gflops = picture->flops[i] / picture->seconds[i] * 1e-9;
        s->share_of_peak = s->gflops / s->peak_gflops;
    }
}

enum easel_status easel_bench_model(struct easel_model *model,
                                    const struct easel_draw_options *options,
                                    struct easel_picture **out, struct easel_bench_picture *bench,
                                    struct easel_error *error)
{
    struct model_bench b = {.options = options, .stage = -1};
    struct easel_draw_options watched = *options;
    watched.on_progress = measure_on_progress;
    watched.user = &b;
    kernels_yardstick_init(&b.peak, lib_model_backend(model));
    enum easel_status status = easel_draw(model, &watched, out, error);
    if (status)
        return status;
    measure_beside(&b, b.stage, -1);
    bench_finish(&b, *out, bench);
    return EASEL_OK;
}

/* SPDX-License-Identifier: MIT */
/* The public interface: measuring the kernels. */
#include "kernels/bench.h"
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

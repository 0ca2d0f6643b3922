/* SPDX-License-Identifier: MIT */
/* How fast this machine runs the kernels, next to what its processor could do at
 * most. Both are measured in turns, since a shared machine's speed changes from
 * second to second. */
#ifndef EASEL_KERNELS_BENCH_H
#define EASEL_KERNELS_BENCH_H

#include "base/cpu.h"
#include "base/err.h"
#include "base/pool.h"
#include "kernels/backend.h"

struct kernel_timing {
    const char *op;    /* "linear", "swiglu", "gemv", "conv2d", "attention" */
    const char *where; /* the model and layer that has this shape */
    char shape[64];
    const char *dtype; /* of the weights: "bf16", "f16", "f32" */
    double ms;         /* the best run */
    double gflops;     /* 10^9 multiplications and additions a second */
    double gbytes_s;   /* 10^9 bytes of weights a second: GEMV; 0 for the others */
    /* gflops / peak_gflops, for GEMV gbytes_s / peak_gbytes_s, each limit measured
     * beside the runs. A convolution can pass 1: its work is counted as the direct
     * way's, of which Winograd's method needs a part. */
    double share;
};

struct kernels_limits {
    double peak_gflops;   /* FMAs between registers, all threads */
    double peak_gbytes_s; /* memory read in order, all threads */
};

/* Measure for about 20 s (the scalar level: small shapes only). Each finished row
 * goes to report, which may be called with more rows by later versions. out: the
 * best limits seen. ERR_NOMEM, ERR_UNSUPPORTED (the level). */
NODISCARD enum err kernels_bench(struct pool *pool, enum cpu_level level,
                                 void (*report)(void *ctx, const struct kernel_timing *row),
                                 void *ctx, struct kernels_limits *out, struct errmsg *em);

/* ---- The yardsticks, for others to measure beside ---- */

/* FMAs between registers, in the best instructions of a CPU backend, which it borrows. */
struct kernels_yardstick {
    struct backend *be;
    size_t rounds;
};
/* Takes some 10 ms. */
void kernels_yardstick_init(struct kernels_yardstick *y, struct backend *be);
/* 10^9 multiplications and additions a second, on all the backend's threads, for about
 * 4 ms. Not while the backend computes. */
double kernels_yardstick_measure(struct kernels_yardstick *y);

/* 10^9 bytes a second that all threads read from size_bytes (a multiple of 64), in order. */
double kernels_read_gbytes_s(struct backend *be, const void *bytes, size_t size_bytes);

#endif

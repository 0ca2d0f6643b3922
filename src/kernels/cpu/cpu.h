/* SPDX-License-Identifier: MIT */
/* The CPU backend, inside. Each operation is one function `cpu_<op>` that cuts
 * the work into tasks for the pool and calls this processor's functions from two
 * tables, filled once when the backend is made (the reference first, then what
 * AVX2 and AVX-512 do better).
 *
 * A task's result depends on its index alone and each output element is summed in
 * an order that depends on the layer's shape alone, so that the number of threads
 * never shows in a picture.
 *
 * One backend serves one thread at a time: its scratch memory is shared. */
#ifndef EASEL_KERNELS_CPU_CPU_H
#define EASEL_KERNELS_CPU_CPU_H

#include <stddef.h>

#include "kernels/backend.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/linear.h"

/* A parameter. A matrix [n_rows, n_cols] stays in the mapped file (data may be
 * unaligned); a vector (n_cols 1) is also kept as floats. */
struct weight {
    const void *data;
    enum dtype dtype;
    size_t n_rows, n_cols;
    size_t ld;        /* elements from one row to the next */
    const float *f32; /* n_cols == 1: the elements as floats, owned; else NULL */
    /* A convolution: rows are [kh, kw, c_in] of one output channel, data is owned. */
    size_t kh, kw, c_in; /* kh == 0: not a convolution */
    void *owned;         /* what weight_free releases, or NULL */
};

/* One block for each thread, 64-byte aligned. An operation may use its thread's
 * block during its own call only. */
#define CPU_SCRATCH_BYTES ((size_t)4 << 20)

struct cpu_backend {
    struct backend base;
    struct pool *pool; /* borrowed */
    enum cpu_level level;
    struct cpu_kernels k;     /* linear, conv2d */
    struct cpu_op_kernels op; /* everything else */
    size_t n_threads;
    void *scratch[LIMIT_THREADS_MAX]; /* [n_threads] blocks of scratch_bytes */
    size_t scratch_bytes;
    float *shared; /* one block for all threads: the packed input of a linear layer */
    size_t shared_bytes;
    void *scratch_block; /* what holds all of the above */
};

static inline struct cpu_backend *cpu_backend_of(struct backend *be)
{
    return (struct cpu_backend *)be; /* base is the first member */
}

/* Element i of row r as a float: for reference code only. */
static inline float weight_at(const struct weight *w, size_t r, size_t i)
{
    return f32_load(w->data, w->dtype, r * w->ld + i);
}

#endif

/* SPDX-License-Identifier: MIT */
/* Element-wise operations, the reference. */
#include <math.h>

#include "kernels/cpu/cpu.h"

static void to_f32_ref(float *y, const void *src, enum dtype dtype, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = f32_load(src, dtype, i);
}

static void silu_ref(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] / (1 + expf(-x[i]));
}

static void axpy_ref(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static void tanh_scaled_ref(float *y, const float *x, float limit, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = limit * tanhf(x[i] / limit);
}

void cpu_vector_init_ref(struct cpu_op_kernels *k)
{
    k->to_f32 = to_f32_ref;
    k->silu = silu_ref;
    k->axpy = axpy_ref;
    k->tanh_scaled = tanh_scaled_ref;
}

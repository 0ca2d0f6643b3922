/* SPDX-License-Identifier: MIT */
/* Linear layers and convolutions in plain C: the definition that the fast ones
 * are tested against, and what a processor without AVX2 runs. */
#ifndef EASEL_KERNELS_CPU_LINEAR_REF_H
#define EASEL_KERNELS_CPU_LINEAR_REF_H

#include <stddef.h>

#include "kernels/backend.h"

/* Columns [n0, n1) of y. row: scratch memory, two weight rows as floats. */
void linear_ref(const struct linear_args *a, size_t n0, size_t n1, float *row);
/* Rows [y0, y1) of the output picture. row: scratch memory, one weight row. */
void conv2d_ref(const struct conv2d_args *a, size_t y0, size_t y1, float *row);

/* The benchmark's yardsticks; see struct cpu_kernels. */
float fma_rounds_ref(size_t n_rounds);
float read_bytes_ref(const void *p, size_t size_bytes);
#define FMA_FLOPS_PER_ROUND_REF 16u

#endif

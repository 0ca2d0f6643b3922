/* SPDX-License-Identifier: MIT */
/* Attention for AVX2. */
#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/simd_math.h"

#include "kernels/cpu/attention_simd.h"

void cpu_attention_init_avx2(struct cpu_op_kernels *k)
{
    k->attention = attention_simd;
}

/* SPDX-License-Identifier: MIT */
/* Attention for AVX-512. */
#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/simd_math.h"

#include "kernels/cpu/attention_simd.h"

void cpu_attention_init_avx512(struct cpu_op_kernels *k)
{
    k->attention = attention_simd;
}

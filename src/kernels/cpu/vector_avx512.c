/* SPDX-License-Identifier: MIT */
/* Element-wise operations for AVX-512. */
#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/simd_math.h"

#include "kernels/cpu/vector_simd.h"

void cpu_vector_init_avx512(struct cpu_op_kernels *k)
{
    k->to_f32 = to_f32_simd;
    k->silu = silu_simd;
    k->axpy = axpy_simd;
}

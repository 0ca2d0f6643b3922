/* SPDX-License-Identifier: MIT */
/* Norms and rotary embedding for AVX-512. */
#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/simd_math.h"

#include "kernels/cpu/norm_simd.h"

void cpu_norm_init_avx512(struct cpu_op_kernels *k)
{
    k->head_norm_rope = head_norm_rope_simd;
    k->rms_norm = rms_norm_simd;
    k->layer_norm_mod = layer_norm_mod_simd;
    k->group_sums = group_sums_simd;
    k->affine_act = affine_act_simd;
}

/* SPDX-License-Identifier: MIT */
/* Attention, norms and element-wise operations on the CPU. */
#ifndef EASEL_KERNELS_CPU_OPS_H
#define EASEL_KERNELS_CPU_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"

/* This processor's functions. Each does one task's share; none knows of threads. */
struct cpu_op_kernels {
    /* Queries [q0, q0 + n_q) of all heads that share k/v head kv_head. scratch:
     * CPU_SCRATCH_BYTES, 64-byte aligned. */
    void (*attention)(const struct attention_args *a, size_t kv_head, size_t q0, size_t n_q,
                      void *scratch);
    /* One head of one token, in place; w may be NULL. */
    void (*head_norm_rope)(float *x, size_t head_dim, const float *w, float eps,
                           enum rope_style style, const float *cos, const float *sin);
    /* One row. */
    void (*rms_norm)(float *y, const float *x, size_t n, const float *w, float eps);
    void (*layer_norm_mod)(float *y, const float *x, size_t n, const float *shift,
                           const float *scale, float eps);
    /* sum[g] += x, sum_sq[g] += x² over group g's channels of n_rows rows. */
    void (*group_sums)(const float *x, size_t n_rows, size_t channels, size_t n_groups,
                       double *sum, double *sum_sq);
    /* y = act(x * a + b), a and b per channel. */
    void (*affine_act)(float *y, const float *x, size_t n_rows, size_t channels, const float *a,
                       const float *b, enum activation act);
    /* A row of a table as floats; src need not be aligned. */
    void (*to_f32)(float *y, const void *src, enum dtype dtype, size_t n);
    void (*silu)(float *y, const float *x, size_t n);
    void (*axpy)(float *y, float a, const float *x, size_t n);
    void (*tanh_scaled)(float *y, const float *x, float limit, size_t n);
};

void cpu_op_kernels_init(struct cpu_op_kernels *k, enum cpu_level level);
/* The parts of it, one per family and ISA: each overrides only what it has. */
void cpu_attention_init_ref(struct cpu_op_kernels *k);
void cpu_norm_init_ref(struct cpu_op_kernels *k);
void cpu_vector_init_ref(struct cpu_op_kernels *k);
void cpu_attention_init_avx2(struct cpu_op_kernels *k);
void cpu_norm_init_avx2(struct cpu_op_kernels *k);
void cpu_vector_init_avx2(struct cpu_op_kernels *k);
void cpu_attention_init_avx512(struct cpu_op_kernels *k);
void cpu_norm_init_avx512(struct cpu_op_kernels *k);
void cpu_vector_init_avx512(struct cpu_op_kernels *k);
/* What the table begins with; the others use it for shapes that they have no room for. */
void cpu_attention_block_ref(const struct attention_args *a, size_t kv_head, size_t q0, size_t n_q,
                             void *scratch);
void cpu_head_norm_rope_ref(float *x, size_t head_dim, const float *w, float eps,
                            enum rope_style style, const float *cos, const float *sin);

void cpu_attention(struct backend *be, const struct attention_args *a);
void cpu_head_norm_rope(struct backend *be, const struct head_norm_rope_args *a);
void cpu_rms_norm(struct backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t n,
                  size_t channels, const struct weight *w, float eps);
void cpu_layer_norm_mod(struct backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                        size_t n, size_t channels, const float *shift, const float *scale,
                        float eps);
void cpu_group_norm_affine(struct backend *be, float *scale, float *shift, const float *x, size_t n,
                           size_t channels, size_t n_groups, const struct weight *w,
                           const struct weight *b, float eps);
void cpu_affine_act(struct backend *be, float *y, const float *x, size_t n, size_t channels,
                    const float *scale, const float *shift, enum activation act);
void cpu_group_norm(struct backend *be, float *y, const float *x, size_t n, size_t channels,
                    size_t n_groups, const struct weight *w, const struct weight *b, float eps,
                    enum activation act);
void cpu_embed(struct backend *be, float *y, size_t ldy, const struct weight *table,
               const int32_t *ids, size_t n);
void cpu_silu(struct backend *be, float *y, const float *x, size_t n);
void cpu_axpy(struct backend *be, float *y, float a, const float *x, size_t n);
void cpu_tanh_scaled(struct backend *be, float *y, const float *x, float limit, size_t n);

#endif

/* SPDX-License-Identifier: MIT */
/* Attention, the reference: one query at a time, keys in blocks, the softmax
 * "online": a running maximum, and what was summed so far scaled down whenever
 * the maximum grows, so that only one block of scores exists at a time. */
#include <float.h>
#include <math.h>

#include "base/size.h"
#include "kernels/cpu/cpu.h"

#define BLOCK_KEYS 128

static float dot(const float *x, const float *y, size_t n)
{
    float lane[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t l = 0; l < 8; l++)
            lane[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        lane[i % 8] += x[i] * y[i];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* out, q: one head of one query; k, v: the first key of its head; n_keys: what it sees. */
static void attend(const struct attention_args *a, float *out, const float *q, const float *k,
                   const float *v, size_t n_keys)
{
    float score[BLOCK_KEYS];
    float max = -INFINITY;
    float sum = 0;
    for (size_t c = 0; c < a->head_dim; c++)
        out[c] = 0;
    for (size_t j0 = 0; j0 < n_keys; j0 += BLOCK_KEYS) {
        size_t n = min_size(BLOCK_KEYS, n_keys - j0);
        float block_max = max;
        for (size_t j = 0; j < n; j++) {
            score[j] = a->scale * dot(q, k + (j0 + j) * a->ldk, a->head_dim);
            block_max = fmaxf(block_max, score[j]);
        }
        float shrink = expf(max - block_max);
        max = block_max;
        sum *= shrink;
        for (size_t c = 0; c < a->head_dim; c++)
            out[c] *= shrink;
        for (size_t j = 0; j < n; j++) {
            float p = expf(score[j] - max);
            const float *vj = v + (j0 + j) * a->ldv;
            sum += p;
            for (size_t c = 0; c < a->head_dim; c++)
                out[c] += p * vj[c];
        }
    }
    for (size_t c = 0; c < a->head_dim; c++)
        out[c] /= sum;
}

void cpu_attention_block_ref(const struct attention_args *a, size_t kv_head, size_t q0, size_t n_q,
                             void *scratch)
{
    (void)scratch;
    size_t group = a->n_heads / a->n_kv_heads;
    const float *k = a->k + kv_head * a->head_dim;
    const float *v = a->v + kv_head * a->head_dim;
    for (size_t i = q0; i < q0 + n_q; i++) {
        size_t n_keys = a->n_k_valid;
        if (a->causal)
            n_keys = min_size(n_keys, i + a->q_offset + 1);
        for (size_t h = kv_head * group; h < (kv_head + 1) * group; h++)
            attend(a, a->out + i * a->ldo + h * a->head_dim, a->q + i * a->ldq + h * a->head_dim,
                   k, v, n_keys);
    }
}

void cpu_attention_init_ref(struct cpu_op_kernels *k)
{
    k->attention = cpu_attention_block_ref;
}

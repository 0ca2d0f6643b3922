/* SPDX-License-Identifier: MIT */
/* Attention for a few rows, as when a text is written token by token: each key and
 * value is used a few times only, so they are read where they lie, vectors along the
 * channels. Included by attention_simd.h. */
#ifndef EASEL_KERNELS_CPU_ATTENTION_FEW_SIMD_H
#define EASEL_KERNELS_CPU_ATTENTION_FEW_SIMD_H

#define FEW_ROWS 8
#define FEW_BLOCK_KEYS 256
#define FEW_VECTORS 8 /* of out are summed at once */

/* Rows of k or v that are asked for ahead of their use. */
#define FEW_AHEAD 6

static inline void fetch_floats(const float *p, size_t n)
{
    for (size_t c = 0; c < n; c += 16)
        _mm_prefetch((const char *)(p + c), _MM_HINT_T0);
}

/* score[j] = scale * (q · k[j]) for n <= 4 keys; scale in base 2. */
static inline __attribute__((always_inline)) void few_scores(float *score, const float *q,
                                                             const float *k, size_t ldk,
                                                             size_t dim, float scale, size_t n)
{
    vec acc[4];
    size_t c = 0;
    for (size_t j = 0; j < n; j++)
        acc[j] = vec_zero();
    for (; c + VEC_LANES <= dim; c += VEC_LANES)
        for (size_t j = 0; j < n; j++)
            acc[j] = vec_fma(vec_load(q + c), vec_load(k + j * ldk + c), acc[j]);
    if (c < dim)
        for (size_t j = 0; j < n; j++)
            acc[j] = vec_fma(vec_load_n(q + c, dim - c), vec_load_n(k + j * ldk + c, dim - c),
                             acc[j]);
    for (size_t j = 0; j < n; j++)
        score[j] = scale * vec_sum(acc[j]);
}

/* out = out * shrink + sum over n keys of p[j] * v[j], n_vectors of them from c on. */
static inline __attribute__((always_inline)) void few_values(float *out, const float *p,
                                                             const float *v, size_t ldv, size_t n,
                                                             float shrink, size_t n_vectors)
{
    vec acc[FEW_VECTORS];
    for (size_t i = 0; i < n_vectors; i++)
        acc[i] = vec_zero();
    for (size_t j = 0; j < n; j++, v += ldv) {
        vec pj = vec_set1(p[j]);
        if (j + FEW_AHEAD < n)
            fetch_floats(v + FEW_AHEAD * ldv, n_vectors * VEC_LANES);
        for (size_t i = 0; i < n_vectors; i++)
            acc[i] = vec_fma(pj, vec_load(v + i * VEC_LANES), acc[i]);
    }
    for (size_t i = 0; i < n_vectors; i++) {
        float *o = out + i * VEC_LANES;
        vec_store(o, vec_fma(vec_load(o), vec_set1(shrink), acc[i]));
    }
}

static void few_values_row(float *out, const float *p, const float *v, size_t ldv, size_t n,
                           float shrink, size_t dim)
{
    size_t c = 0;
    for (; c + FEW_VECTORS * VEC_LANES <= dim; c += FEW_VECTORS * VEC_LANES)
        few_values(out + c, p, v + c, ldv, n, shrink, FEW_VECTORS);
    for (; c + VEC_LANES <= dim; c += VEC_LANES)
        few_values(out + c, p, v + c, ldv, n, shrink, 1);
    if (c < dim) {
        vec acc = vec_zero();
        for (size_t j = 0; j < n; j++)
            acc = vec_fma(vec_set1(p[j]), vec_load_n(v + j * ldv + c, dim - c), acc);
        vec_store_n(out + c, vec_fma(vec_load_n(out + c, dim - c), vec_set1(shrink), acc), dim - c);
    }
}

/* Weights 2^(score - max) of n scores in place; returns what everything summed
 * before must be multiplied with. */
static float few_softmax(float *p, size_t n, float *max, float *sum)
{
    vec m = vec_set1(*max);
    size_t j = 0;
    for (; j + VEC_LANES <= n; j += VEC_LANES)
        m = vec_max(m, vec_load(p + j));
    float lanes[VEC_LANES];
    vec_store(lanes, m);
    for (size_t i = 0; i < VEC_LANES; i++)
        lanes[0] = fmaxf(lanes[0], lanes[i]);
    for (; j < n; j++)
        lanes[0] = fmaxf(lanes[0], p[j]);
    m = vec_set1(lanes[0]);
    vec_store(lanes, vec_exp2_neg(vec_sub(vec_set1(*max), m)));
    float shrink = lanes[0];
    vec s = vec_zero();
    vec_store(lanes, m);
    *max = lanes[0];
    for (j = 0; j < n; j += VEC_LANES) {
        size_t some = min_size(VEC_LANES, n - j);
        vec x = vec_keep_n(vec_exp2_neg(vec_sub(vec_load_n(p + j, some), m)), some);
        s = vec_add(s, x);
        vec_store_n(p + j, x, some);
    }
    *sum = *sum * shrink + vec_sum(s);
    return shrink;
}

struct few {
    const struct attention_args *a;
    size_t kv_head, q0, group, n_rows;
    size_t n_seen[FEW_ROWS]; /* keys that a row sees; the last row sees the most */
    float max[FEW_ROWS], sum[FEW_ROWS];
    float *p; /* [n_rows, FEW_BLOCK_KEYS] */
};

/* Where row r is in q or out. */
static size_t few_at(const struct few *t, size_t r, size_t ld)
{
    size_t head = t->kv_head * t->group + r % t->group;
    return (t->q0 + r / t->group) * ld + head * t->a->head_dim;
}

static void few_block_scores(const struct few *t, const float *k, size_t n)
{
    const struct attention_args *a = t->a;
    float scale = a->scale * LOG2_E;
    for (size_t j = 0; j < n; j += 4) {
        size_t some = min_size(4, n - j);
        for (size_t i = 0; i < some && j + FEW_AHEAD + i < n; i++)
            fetch_floats(k + (j + FEW_AHEAD + i) * a->ldk, a->head_dim);
        for (size_t r = 0; r < t->n_rows; r++) {
            const float *q = a->q + few_at(t, r, a->ldq);
            float *p = t->p + r * FEW_BLOCK_KEYS + j;
            if (some == 4)
                few_scores(p, q, k + j * a->ldk, a->ldk, a->head_dim, scale, 4);
            else
                for (size_t i = 0; i < some; i++)
                    few_scores(p + i, q, k + (j + i) * a->ldk, a->ldk, a->head_dim, scale, 1);
        }
    }
}

/* At most FEW_ROWS rows. scratch: scores. */
static void attention_few(const struct attention_args *a, size_t kv_head, size_t q0, size_t n_q,
                          float *scratch)
{
    size_t dim = a->head_dim, group = a->n_heads / a->n_kv_heads;
    struct few t = {.a = a, .kv_head = kv_head, .q0 = q0, .group = group, .p = scratch};
    t.n_rows = n_q * group;
    for (size_t r = 0; r < t.n_rows; r++) {
        size_t n_causal = q0 + r / group + a->q_offset + 1;
        t.n_seen[r] = a->causal ? min_size(a->n_k_valid, n_causal) : a->n_k_valid;
        t.max[r] = -INFINITY;
        memset(a->out + few_at(&t, r, a->ldo), 0, dim * sizeof(float));
    }
    size_t n_keys = t.n_seen[t.n_rows - 1];
    for (size_t j0 = 0; j0 < n_keys; j0 += FEW_BLOCK_KEYS) {
        size_t n = min_size(FEW_BLOCK_KEYS, n_keys - j0);
        few_block_scores(&t, a->k + j0 * a->ldk + kv_head * dim, n);
        for (size_t r = 0; r < t.n_rows; r++) {
            if (t.n_seen[r] <= j0)
                continue;
            float *p = t.p + r * FEW_BLOCK_KEYS;
            size_t n_row = min_size(n, t.n_seen[r] - j0);
            float shrink = few_softmax(p, n_row, &t.max[r], &t.sum[r]);
            few_values_row(a->out + few_at(&t, r, a->ldo), p, a->v + j0 * a->ldv + kv_head * dim,
                           a->ldv, n_row, shrink, dim);
        }
    }
    for (size_t r = 0; r < t.n_rows; r++)
        for (size_t c = 0; c < dim; c++)
            a->out[few_at(&t, r, a->ldo) + c] /= t.sum[r];
}

#endif

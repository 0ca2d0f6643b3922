/* SPDX-License-Identifier: MIT */
/* Attention with vectors across queries, compiled once with simd_more_avx2.h
 * and once with simd_more_avx512.h.
 *
 * A task's rows (queries times the heads that share k and v) are cut into panels of
 * LANES rows, and everything about a panel is kept transposed, a row in a lane:
 * q [head_dim, LANES], scores [keys, LANES], out [head_dim, LANES]. Then both
 * products are the same loop, "a few numbers of k or v, each broadcast, times a
 * panel", k and v are read as they lie, and the softmax needs no sum across lanes.
 *
 * Keys come in blocks. A block of k and v is first copied next to itself: rows of k
 * are 12 KiB apart in a picture of 24 heads, which would all compete for the same
 * few cache lines. Order of the sums: keys ascending within a block, blocks
 * ascending; so it depends on head_dim alone. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cpu/cpu.h"

/* A tile of KEYS rows times LANES lanes: KEYS * NV sums, NV vectors and one
 * broadcast fill the registers, and ask for (NV + KEYS) loads per KEYS * NV FMAs. */
#if VEC_LANES == 8
#define TILE 4
#else
#define TILE 8
#endif
#define NV 3
#define LANES (NV * VEC_LANES)

#define BLOCK_KEYS_MAX 128

struct panels {
    const struct attention_args *a;
    size_t kv_head, q0, group;
    size_t n_rows, n_panels;
    size_t dim_pad;    /* head_dim rounded up to TILE */
    size_t ld;         /* of k and v */
    size_t block_keys; /* how many at once */
    float *q;          /* [n_panels, head_dim, LANES], scaled by scale * log2(e) */
    float *out;        /* [n_panels, dim_pad, LANES], not yet divided by sum */
    float *max, *sum;  /* [n_panels, LANES] */
    float *k, *v;      /* [block_keys rounded up to TILE, ld], zeros behind the last */
    float *p;          /* [block_keys rounded up to TILE, LANES]: scores, then weights */
};

/* Cut scratch; false if it is too small. */
static bool panels_init(struct panels *t, const struct attention_args *a, size_t kv_head,
                        size_t q0, size_t n_q, float *scratch)
{
    t->a = a;
    t->kv_head = kv_head;
    t->q0 = q0;
    t->group = a->n_heads / a->n_kv_heads;
    t->n_rows = n_q * t->group;
    t->n_panels = div_up(t->n_rows, LANES);
    t->dim_pad = div_up(a->head_dim, TILE) * TILE;
    /* 16 more: rows of 512 bytes or so must not fall into the same cache sets */
    t->ld = div_up(a->head_dim, 16) * 16 + 16;
    t->block_keys = a->head_dim <= 256 ? BLOCK_KEYS_MAX : BLOCK_KEYS_MAX / 2;
    float *next = scratch;
    t->q = next;
    next += t->n_panels * a->head_dim * LANES;
    t->out = next;
    next += t->n_panels * t->dim_pad * LANES;
    t->max = next;
    next += t->n_panels * LANES;
    t->sum = next;
    next += t->n_panels * LANES;
    t->p = next;
    next += t->block_keys * LANES;
    t->k = next;
    next += t->block_keys * t->ld;
    t->v = next;
    next += t->block_keys * t->ld;
    return (size_t)(next - scratch) * sizeof *next <= CPU_SCRATCH_BYTES;
}

/* How many keys row r sees. */
static size_t n_visible(const struct panels *t, size_t r)
{
    const struct attention_args *a = t->a;
    if (!a->causal)
        return a->n_k_valid;
    return min_size(a->n_k_valid, t->q0 + r / t->group + a->q_offset + 1);
}

static const float *q_row(const struct panels *t, size_t r)
{
    const struct attention_args *a = t->a;
    size_t head = t->kv_head * t->group + r % t->group;
    return a->q + (t->q0 + r / t->group) * a->ldq + head * a->head_dim;
}

static void load_q(const struct panels *t)
{
    size_t dim = t->a->head_dim;
    /* in base 2, the softmax's exponential is cheaper */
    float scale = t->a->scale * 1.44269504088896341f;
    for (size_t r = 0; r < t->n_panels * LANES; r += VEC_LANES) {
        float *dst = t->q + r / LANES * dim * LANES + r % LANES;
        const float *src[VEC_LANES];
        size_t c = 0;
        for (size_t i = 0; i < VEC_LANES; i++) /* the lanes left over repeat the last row */
            src[i] = q_row(t, min_size(r + i, t->n_rows - 1));
        for (; c + VEC_LANES <= dim; c += VEC_LANES) {
            vec x[VEC_LANES];
            for (size_t i = 0; i < VEC_LANES; i++)
                x[i] = vec_load(src[i] + c);
            vec_transpose(x);
            for (size_t i = 0; i < VEC_LANES; i++)
                vec_store(dst + (c + i) * LANES, vec_mul(x[i], vec_set1(scale)));
        }
        for (; c < dim; c++)
            for (size_t i = 0; i < VEC_LANES; i++)
                dst[c * LANES + i] = src[i][c] * scale;
    }
}

static void store_out(const struct panels *t, size_t panel)
{
    const struct attention_args *a = t->a;
    size_t end = min_size((panel + 1) * LANES, t->n_rows);
    for (size_t r = panel * LANES; r < end; r += VEC_LANES) {
        const float *src = t->out + r / LANES * t->dim_pad * LANES + r % LANES;
        size_t n = min_size(VEC_LANES, t->n_rows - r);
        float *dst[VEC_LANES];
        size_t c = 0;
        vec inv = vec_div(vec_set1(1), vec_load(t->sum + r));
        for (size_t i = 0; i < n; i++)
            dst[i] = a->out + (t->q0 + (r + i) / t->group) * a->ldo +
                     (t->kv_head * t->group + (r + i) % t->group) * a->head_dim;
        for (; c + VEC_LANES <= a->head_dim; c += VEC_LANES) {
            vec x[VEC_LANES];
            for (size_t i = 0; i < VEC_LANES; i++)
                x[i] = vec_mul(vec_load(src + (c + i) * LANES), inv);
            vec_transpose(x);
            for (size_t i = 0; i < n; i++)
                vec_store(dst[i] + c, x[i]);
        }
        for (; c < a->head_dim; c++)
            for (size_t i = 0; i < n; i++)
                dst[i][c] = src[c * LANES + i] / t->sum[r + i];
    }
}

/* n rows of one head, packed; zeros up to a whole tile in both directions. */
static void copy_rows(float *dst, size_t ld_dst, const float *src, size_t ld_src, size_t n,
                      size_t dim)
{
    for (size_t j = 0; j < n; j++) {
        memcpy(dst + j * ld_dst, src + j * ld_src, dim * sizeof *dst);
        memset(dst + j * ld_dst + dim, 0, (ld_dst - dim) * sizeof *dst);
    }
    for (size_t j = n; j % TILE; j++)
        memset(dst + j * ld_dst, 0, ld_dst * sizeof *dst);
}

/* acc[r] += y[r * ld] * x for TILE rows. */
static inline __attribute__((always_inline)) void tile_step(vec acc[TILE][NV], const float *x,
                                                            const float *y, size_t ld)
{
    vec xs[NV];
#pragma GCC unroll 8
    for (size_t i = 0; i < NV; i++)
        xs[i] = vec_load(x + i * VEC_LANES);
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE; r++) {
        vec ys = vec_set1(y[r * ld]);
#pragma GCC unroll 8
        for (size_t i = 0; i < NV; i++)
            acc[r][i] = vec_fma(ys, xs[i], acc[r][i]);
    }
}

/* acc = sum over n steps: x [n, LANES], y [n] with the given steps, TILE rows of it. */
static inline __attribute__((always_inline)) void
tile_product(vec acc[TILE][NV], const float *x, const float *y, size_t y_step, size_t y_row, size_t n)
{
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE; r++)
#pragma GCC unroll 8
        for (size_t i = 0; i < NV; i++)
            acc[r][i] = vec_set1(0);
    for (size_t j = 0; j < n; j++)
        tile_step(acc, x + j * LANES, y + j * y_step, y_row);
}

/* Start to fetch one of n_shares parts of rows [0, n), for the next block. */
static void prefetch_rows(const float *src, size_t ld, size_t n, size_t dim, size_t share,
                          size_t n_shares)
{
    for (size_t j = n * share / n_shares; j < n * (share + 1) / n_shares; j++)
        for (size_t c = 0; c < dim; c += 16)
            _mm_prefetch((const char *)(src + j * ld + c), _MM_HINT_T1);
}

/* p[r] = q · k[r] for TILE keys, and max over the first n of them. */
static __attribute__((noinline)) void score_tile(float *p, const float *q, const float *k,
                                                 size_t ld, size_t dim, size_t n, float *max)
{
    vec acc[TILE][NV];
    tile_product(acc, q, k, 1, ld, dim);
#pragma GCC unroll 8
    for (size_t i = 0; i < NV; i++) {
        vec m = vec_load(max + i * VEC_LANES);
#pragma GCC unroll 8
        for (size_t r = 0; r < TILE; r++) {
            vec_store(p + r * LANES + i * VEC_LANES, acc[r][i]);
            if (r < n)
                m = vec_max(m, acc[r][i]);
        }
        vec_store(max + i * VEC_LANES, m);
    }
}

/* out[r] = out[r] * shrink + sum over n keys of v[key][r] * p[key], TILE channels. */
static __attribute__((noinline)) void value_tile(float *out, const float *p, const float *v,
                                                 size_t ld, size_t n, const float *shrink)
{
    vec acc[TILE][NV];
    tile_product(acc, p, v, ld, 1, n);
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE; r++)
#pragma GCC unroll 8
        for (size_t i = 0; i < NV; i++) {
            float *o = out + r * LANES + i * VEC_LANES;
            vec_store(o, vec_fma(vec_load(o), vec_load(shrink + i * VEC_LANES), acc[r][i]));
        }
}

/* The block's keys from j0 on reach beyond what some rows see: give those scores
 * -inf, and find the maxima again. */
static void mask_scores(const struct panels *t, size_t panel, size_t j0, size_t n, float *max)
{
    size_t r0 = panel * LANES;
    size_t first = n_visible(t, r0);
    for (size_t j = first > j0 ? first - j0 : 0; j < n; j++)
        for (size_t i = 0; i < LANES && n_visible(t, r0 + i) <= j0 + j; i++)
            t->p[j * LANES + i] = -INFINITY;
    for (size_t i = 0; i < LANES; i += VEC_LANES) {
        vec m = vec_set1(-INFINITY);
        for (size_t j = 0; j < n; j++)
            m = vec_max(m, vec_load(t->p + j * LANES + i));
        vec_store(max + i, m);
    }
}

/* Scores to weights 2^(score - max); updates the panel's max and sum; shrink: what
 * everything summed before must be multiplied with. */
static void softmax(const struct panels *t, size_t panel, size_t n, const float *block_max,
                    float *shrink)
{
    for (size_t i = 0; i < LANES; i += VEC_LANES) {
        float *max_at = t->max + panel * LANES + i;
        float *sum_at = t->sum + panel * LANES + i;
        vec max = vec_max(vec_load(max_at), vec_load(block_max + i));
        vec s = vec_exp2_neg(vec_sub(vec_load(max_at), max));
        vec sum = vec_set1(0);
        float *p = t->p + i;
        for (size_t j = 0; j < n; j++, p += LANES) {
            vec x = vec_exp2_neg(vec_sub(vec_load(p), max));
            sum = vec_add(sum, x);
            vec_store(p, x);
        }
        vec_store(max_at, max);
        vec_store(sum_at, vec_fma(vec_load(sum_at), s, sum));
        vec_store(shrink + i, s);
    }
}

/* One panel against the n keys from j0 on, which are in t->k and t->v. */
static void attend_block(const struct panels *t, size_t panel, size_t j0, size_t n)
{
    size_t dim = t->a->head_dim;
    size_t last_row = min_size((panel + 1) * LANES, t->n_rows) - 1;
    size_t n_seen = n_visible(t, last_row);
    if (n_seen <= j0)
        return;
    n = min_size(n, n_seen - j0);
    float max[LANES], shrink[LANES];
    for (size_t i = 0; i < LANES; i++)
        max[i] = -INFINITY;
    for (size_t j = 0; j < n; j += TILE)
        score_tile(t->p + j * LANES, t->q + panel * dim * LANES, t->k + j * t->ld, t->ld, dim,
                   n - j, max);
    if (n_visible(t, panel * LANES) < j0 + n)
        mask_scores(t, panel, j0, n, max);
    softmax(t, panel, n, max, shrink);
    for (size_t c = 0; c < dim; c += TILE)
        value_tile(t->out + (panel * t->dim_pad + c) * LANES, t->p, t->v + c, t->ld, n, shrink);
}

static void attention_simd(const struct attention_args *a, size_t kv_head, size_t q0, size_t n_q,
                           void *scratch)
{
    struct panels t;
    if (!panels_init(&t, a, kv_head, q0, n_q, scratch)) {
        cpu_attention_block_ref(a, kv_head, q0, n_q, scratch);
        return;
    }
    load_q(&t);
    memset(t.out, 0, t.n_panels * t.dim_pad * LANES * sizeof *t.out);
    for (size_t i = 0; i < t.n_panels * LANES; i++) {
        t.max[i] = -INFINITY;
        t.sum[i] = 0;
    }
    size_t n_keys = n_visible(&t, t.n_rows - 1);
    const float *k = a->k + kv_head * a->head_dim;
    const float *v = a->v + kv_head * a->head_dim;
    for (size_t j0 = 0; j0 < n_keys; j0 += t.block_keys) {
        size_t n = min_size(t.block_keys, n_keys - j0);
        copy_rows(t.k, t.ld, k + j0 * a->ldk, a->ldk, n, a->head_dim);
        copy_rows(t.v, t.ld, v + j0 * a->ldv, a->ldv, n, a->head_dim);
        size_t next = j0 + n;
        size_t n_next = min_size(t.block_keys, n_keys - next);
        for (size_t p = 0; p < t.n_panels; p++) {
            prefetch_rows(k + next * a->ldk, a->ldk, n_next, a->head_dim, p, t.n_panels);
            prefetch_rows(v + next * a->ldv, a->ldv, n_next, a->head_dim, p, t.n_panels);
            attend_block(&t, p, j0, n);
            if (!n_next)
                store_out(&t, p);
        }
    }
}

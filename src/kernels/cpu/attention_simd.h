/* SPDX-License-Identifier: MIT */
/* Attention with vectors across queries, compiled once with simd_avx2.h
 * and once with simd_avx512.h.
 *
 * A task's rows (queries times the heads that share k and v) are cut into panels of
 * LANES rows, and everything about a panel is kept transposed, a row in a lane:
 * q [head_dim, LANES], scores [keys, LANES], out [head_dim, LANES]. Then both
 * products are the same loop, "a few numbers of k or v, each broadcast, times a
 * panel", k and v are read as they lie, and the softmax needs no sum across lanes.
 *
 * Keys come in blocks. A block of k and v is first copied next to itself: rows of k
 * are 12 KiB apart in a picture of 24 heads, and would all compete for the same few
 * cache lines. That copy waits for memory, so the next block is copied a row at a time
 * between the tiles of this one.
 *
 * Order of the sums: keys ascending within a block, blocks ascending; it depends on
 * head_dim alone. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cpu/cpu.h"

#define LOG2_E 1.44269504088896341f /* in base 2, the softmax's exponential is cheaper */

#include "kernels/cpu/attention_few_simd.h"

/* A tile of TILE rows times LANES lanes: TILE * NV sums, NV vectors and one
 * broadcast fill the registers, and ask for NV + TILE loads per NV * TILE FMAs. */
#if VEC_LANES == 8
#define TILE 4
#else
#define TILE 8
#endif
#define NV 3
#define LANES (NV * VEC_LANES)

#define BLOCK_KEYS_MAX 128

/* How many keys ahead of the copy memory is asked for them. */
#define KEYS_AHEAD 4

/* A copy of some keys: k [n, ld], v [dim_pad / TILE, v_step / TILE, TILE]: what one
 * tile of the second product reads lies together. */
struct key_block {
    float *k, *v;
};

struct panels {
    const struct attention_args *a;
    size_t kv_head, q0, group;
    size_t n_rows, n_panels, n_keys;
    size_t dim_pad;    /* head_dim rounded up to TILE */
    size_t ld;         /* of k */
    size_t v_step;     /* floats from one tile of v to the next */
    size_t block_keys; /* how many at once */
    float *q;          /* [n_panels, head_dim, LANES], scaled by scale * log2(e) */
    float *out;        /* [n_panels, dim_pad, LANES], not yet divided by sum */
    float *max, *sum;  /* [n_panels, LANES] */
    float *p;          /* [block_keys, LANES]: scores, then weights */
    struct key_block now, next;
    size_t n_copied;              /* rows of k and v so far: k[0], v[0], k[1], … */
    size_t q_row_next, q_row_end; /* rows of q to ask for */
    size_t out_row_next, out_row_end;
};

/* The next n floats of scratch. */
static float *cut(float **end, size_t n)
{
    float *p = *end;
    *end += div_up(n, 16) * 16;
    return p;
}

/* How many keys row r sees. */
static size_t n_visible(const struct panels *t, size_t r)
{
    const struct attention_args *a = t->a;
    if (!a->causal)
        return a->n_k_valid;
    return min_size(a->n_k_valid, t->q0 + r / t->group + a->q_offset + 1);
}

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
    t->block_keys = a->head_dim <= 256 ? BLOCK_KEYS_MAX : BLOCK_KEYS_MAX / 2;
    /* a little more than needed, lest all rows or tiles fall into the same cache sets */
    t->ld = div_up(a->head_dim, 16) * 16 + 16;
    t->v_step = (t->block_keys + 16 / TILE) * TILE;
    float *end = scratch;
    t->q = cut(&end, t->n_panels * a->head_dim * LANES);
    t->out = cut(&end, t->n_panels * t->dim_pad * LANES);
    t->max = cut(&end, t->n_panels * LANES);
    t->sum = cut(&end, t->n_panels * LANES);
    t->p = cut(&end, t->block_keys * LANES);
    t->now.k = cut(&end, t->block_keys * t->ld);
    t->now.v = cut(&end, t->dim_pad / TILE * t->v_step);
    t->next.k = cut(&end, t->block_keys * t->ld);
    t->next.v = cut(&end, t->dim_pad / TILE * t->v_step);
    t->n_copied = t->q_row_next = t->q_row_end = t->out_row_next = t->out_row_end = 0;
    t->n_keys = n_visible(t, t->n_rows - 1);
    return (size_t)(end - scratch) * sizeof *end <= CPU_SCRATCH_BYTES;
}

static const float *q_row(const struct panels *t, size_t r)
{
    const struct attention_args *a = t->a;
    size_t head = t->kv_head * t->group + r % t->group;
    return a->q + (t->q0 + r / t->group) * a->ldq + head * a->head_dim;
}

static float *out_row(const struct panels *t, size_t r)
{
    const struct attention_args *a = t->a;
    size_t head = t->kv_head * t->group + r % t->group;
    return a->out + (t->q0 + r / t->group) * a->ldo + head * a->head_dim;
}

static void load_q(const struct panels *t, size_t panel)
{
    size_t dim = t->a->head_dim;
    float scale = t->a->scale * LOG2_E;
    for (size_t r = panel * LANES; r < (panel + 1) * LANES; r += VEC_LANES) {
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
            dst[i] = out_row(t, r + i);
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

static void fetch_row(const float *p, size_t dim)
{
    for (size_t c = 0; c < dim; c += 16)
        _mm_prefetch((const char *)(p + c), _MM_HINT_T0);
}

static void copy_k(struct panels *t, size_t key)
{
    const struct attention_args *a = t->a;
    size_t dim = a->head_dim, row = key % t->block_keys;
    const float *k = a->k + key * a->ldk + t->kv_head * dim;
    float *dst = t->next.k + row * t->ld;
    if (key + KEYS_AHEAD < t->n_keys)
        fetch_row(k + KEYS_AHEAD * a->ldk, dim);
    memcpy(dst, k, dim * sizeof *k);
    if (key + 1 == t->n_keys) /* the last tile is computed whole */
        for (row++, dst += t->ld; row % TILE; row++, dst += t->ld)
            memset(dst, 0, dim * sizeof *k);
}

static void copy_v(struct panels *t, size_t key)
{
    const struct attention_args *a = t->a;
    size_t dim = a->head_dim, c = 0;
    const float *v = a->v + key * a->ldv + t->kv_head * dim;
    float *dst = t->next.v + key % t->block_keys * TILE;
    if (key + KEYS_AHEAD < t->n_keys)
        fetch_row(v + KEYS_AHEAD * a->ldv, dim);
    for (; c + TILE <= dim; c += TILE, dst += t->v_step)
        memcpy(dst, v + c, TILE * sizeof *v);
    if (c < dim)
        for (size_t i = 0; i < TILE; i++)
            dst[i] = c + i < dim ? v[c + i] : 0;
}

/* One row, a key or a value, to its place in t->next. Only one at a time: a core
 * waits for about a dozen cache lines at once, and the tiles need some of those. */
static void copy_row(struct panels *t)
{
    size_t key = t->n_copied / 2;
    if (t->n_copied++ % 2)
        copy_v(t, key);
    else
        copy_k(t, key);
}

/* What is done between two tiles: a little of what waits for memory. */
static void work_ahead(struct panels *t, size_t copy_end)
{
    size_t dim = t->a->head_dim;
    if (t->n_copied < 2 * copy_end)
        copy_row(t);
    else if (t->q_row_next < t->q_row_end)
        fetch_row(q_row(t, t->q_row_next++), dim);
    else if (t->out_row_next < t->out_row_end)
        fetch_row(out_row(t, t->out_row_next++), dim);
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
static inline __attribute__((always_inline)) void tile_product(vec acc[TILE][NV], const float *x,
                                                               const float *y, size_t y_step,
                                                               size_t y_row, size_t n)
{
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE; r++)
#pragma GCC unroll 8
        for (size_t i = 0; i < NV; i++)
            acc[r][i] = vec_zero();
    for (size_t j = 0; j < n; j++)
        tile_step(acc, x + j * LANES, y + j * y_step, y_row);
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
    for (size_t i = 0; i < TILE * LANES; i += 16) /* needed last: it may come slowly */
        _mm_prefetch((const char *)(out + i), _MM_HINT_T0);
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
    for (size_t i = 0; i < LANES; i++) {
        size_t n_seen = n_visible(t, panel * LANES + i);
        for (size_t j = max_size(n_seen, j0) - j0; j < n; j++)
            t->p[j * LANES + i] = -INFINITY;
    }
    for (size_t i = 0; i < LANES; i += VEC_LANES) {
        vec m = vec_set1(-INFINITY);
        for (size_t j = 0; j < n; j++)
            m = vec_max(m, vec_load(t->p + j * LANES + i));
        vec_store(max + i, m);
    }
}

/* Scores to weights 2^(score - max); updates the panel's max and sum; shrink: what
 * everything summed before must be multiplied with. masked: some scores are -inf. */
static inline __attribute__((always_inline)) void softmax(const struct panels *t, size_t panel,
                                                          size_t n, const float *block_max,
                                                          float *shrink, bool masked)
{
    for (size_t i = 0; i < LANES; i += VEC_LANES) {
        float *max_at = t->max + panel * LANES + i;
        float *sum_at = t->sum + panel * LANES + i;
        vec max = vec_max(vec_load(max_at), vec_load(block_max + i));
        vec s = vec_exp2_neg(vec_sub(vec_load(max_at), max));
        vec sum = vec_zero();
        float *p = t->p + i;
        for (size_t j = 0; j < n; j++, p += LANES) {
            vec x = vec_sub(vec_load(p), max);
            vec w = vec_exp2_neg(x);
            if (masked) /* exactly 0: which others share the panel must not show */
                w = vec_zero_below(w, x, vec_set1(-126.0f));
            sum = vec_add(sum, w);
            vec_store(p, w);
        }
        vec_store(max_at, max);
        vec_store(sum_at, vec_fma(vec_load(sum_at), s, sum));
        vec_store(shrink + i, s);
    }
}

/* One panel against the n keys from j0 on, which are in t->now; meanwhile keys up to
 * copy_end are copied to t->next. */
static void attend_block(struct panels *t, size_t panel, size_t j0, size_t n, size_t copy_end)
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
    for (size_t j = 0; j < n; j += TILE) {
        work_ahead(t, copy_end);
        score_tile(t->p + j * LANES, t->q + panel * dim * LANES, t->now.k + j * t->ld, t->ld, dim,
                   n - j, max);
    }
    if (n_visible(t, panel * LANES) < j0 + n) {
        mask_scores(t, panel, j0, n, max);
        softmax(t, panel, n, max, shrink, true);
    } else {
        softmax(t, panel, n, max, shrink, false);
    }
    for (size_t c = 0; c < dim; c += TILE) {
        work_ahead(t, copy_end);
        value_tile(t->out + (panel * t->dim_pad + c) * LANES, t->p, t->now.v + c / TILE * t->v_step,
                   TILE, n, shrink);
    }
}

static void panels_clear(struct panels *t)
{
    memset(t->out, 0, t->n_panels * t->dim_pad * LANES * sizeof *t->out);
    for (size_t i = 0; i < t->n_panels * LANES; i++) {
        t->max[i] = -INFINITY;
        t->sum[i] = 0;
    }
}

static void attention_simd(const struct attention_args *a, size_t kv_head, size_t q0, size_t n_q,
                           void *scratch)
{
    struct panels t;
    /* the call's rows, not the task's: a query's result must not depend on its block */
    if (a->n_q * (a->n_heads / a->n_kv_heads) <= FEW_ROWS) {
        attention_few(a, kv_head, q0, n_q, scratch);
        return;
    }
    if (!panels_init(&t, a, kv_head, q0, n_q, scratch)) {
        cpu_attention_block_ref(a, kv_head, q0, n_q, scratch);
        return;
    }
    panels_clear(&t);
    for (size_t j0 = 0; j0 < t.n_keys; j0 += t.block_keys) {
        size_t j1 = min_size(j0 + t.block_keys, t.n_keys);
        size_t j2 = min_size(j1 + t.block_keys, t.n_keys);
        while (t.n_copied < 2 * j1) /* the first block, and what there was no time for */
            copy_row(&t);
        struct key_block swap = t.now;
        t.now = t.next;
        t.next = swap;
        for (size_t p = 0; p < t.n_panels; p++) {
            if (j0 == 0) {
                load_q(&t, p);
                t.q_row_end = min_size((p + 2) * LANES, t.n_rows);
            }
            if (j1 == t.n_keys)
                t.out_row_end = min_size((p + 1) * LANES, t.n_rows);
            attend_block(&t, p, j0, j1 - j0, j2);
            if (j1 == t.n_keys)
                store_out(&t, p);
        }
    }
}

/* SPDX-License-Identifier: MIT */
/* Arrays of floats with canaries around them, and repeatable random content. */
#ifndef EASEL_TESTS_KERNELS_GUARDED_H
#define EASEL_TESTS_KERNELS_GUARDED_H

#include <stdbool.h>

#include "base/pool.h"
#include "kernels/backend.h"
#include "test.h"

#define GUARD_FLOATS 64
#define GUARD_BITS 0x7fc0deadu /* a NaN: whoever reads it shows it */

/* Rows of `width` floats, `ld` apart; what lies between the rows is a canary too. */
struct guarded {
    float *block;
    float *p; /* the first element of the first row */
    size_t n_rows, width, ld, n_block;
};

static inline float guard_float(void)
{
    uint32_t u = GUARD_BITS;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* All canary: an operation that does not write an element is found. shift: floats by
 * which the rows start off a 64-byte boundary. */
static inline struct guarded guarded_new(size_t n_rows, size_t width, size_t ld, size_t shift)
{
    struct guarded g = {.n_rows = n_rows, .width = width, .ld = ld};
    g.n_block = GUARD_FLOATS + shift + n_rows * ld + GUARD_FLOATS;
    g.block = aligned_alloc(64, (g.n_block * sizeof(float) + 63) / 64 * 64);
    assert_non_null(g.block);
    for (size_t i = 0; i < g.n_block; i++)
        g.block[i] = guard_float();
    g.p = g.block + GUARD_FLOATS + shift;
    return g;
}

static inline void guarded_free(struct guarded *g)
{
    free(g->block);
}

static inline uint32_t float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* The canaries are whole, and none is left inside the rows. */
static inline void guarded_check(const struct guarded *g, const char *what)
{
    size_t first = (size_t)(g->p - g->block);
    for (size_t i = 0; i < g->n_block; i++) {
        bool inside = i >= first && (i - first) / g->ld < g->n_rows &&
                      (i - first) % g->ld < g->width;
        bool is_guard = float_bits(g->block[i]) == GUARD_BITS;
        if (!inside && !is_guard)
            fail_msg("%s: wrote outside, at %td", what, (ptrdiff_t)i - (ptrdiff_t)first);
        if (inside && is_guard)
            fail_msg("%s: element %zu was not written", what, i - first);
    }
}

/* A fixed sequence in [-1, 1). */
struct random {
    uint64_t state;
};

static inline float random_next(struct random *r)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(r->state >> 32) * 0x1p-31f;
}

static inline void guarded_fill(struct guarded *g, struct random *r, float magnitude, float offset)
{
    for (size_t i = 0; i < g->n_rows; i++)
        for (size_t c = 0; c < g->width; c++)
            g->p[i * g->ld + c] = offset + magnitude * random_next(r);
}

/* A backend with its pool. */
struct test_backend {
    struct pool *pool;
    struct backend *be;
};

static inline struct test_backend test_backend_new(enum cpu_level level, unsigned n_threads)
{
    struct test_backend t = {0};
    struct errmsg em;
    assert_ok(pool_new(n_threads, &t.pool, &em));
    assert_ok(backend_cpu_new(t.pool, level, &t.be, &em));
    return t;
}

static inline void test_backend_free(struct test_backend *t)
{
    backend_free(t->be);
    pool_free(t->pool);
}

#endif

/* SPDX-License-Identifier: MIT */
/* What the tests of linear layers and convolutions share: numbers from a fixed
 * seed, weights at odd addresses, outputs between canaries, backends of each kind. */
#ifndef EASEL_TESTS_KERNELS_TEST_H
#define EASEL_TESTS_KERNELS_TEST_H

#include "test.h"

#include "kernels/backend.h"

#define TEST_SEED 20260711u

static inline uint32_t test_random(uint32_t *state)
{
    *state ^= *state << 13; /* xorshift32 (Marsaglia, 2003) */
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Uniform in [-1, 1). */
static inline float test_uniform(uint32_t *state)
{
    return (float)(int32_t)test_random(state) * 0x1p-31f;
}

static inline float *test_floats(uint32_t *state, size_t n)
{
    float *p = malloc((n ? n : 1) * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = test_uniform(state);
    return p;
}

/* A tensor of random elements whose data begins at an odd address and ends with its
 * block, so that a sanitizer sees a read past the end. tensor_free releases it. */
struct test_tensor {
    struct tensor t;
    char *block;
};

static inline struct test_tensor test_tensor_new(uint32_t *state, enum dtype dtype,
                                                 unsigned n_dims, const size_t *shape)
{
    struct test_tensor tt = {.t = {.name = "test", .dtype = dtype, .n_dims = n_dims}};
    tt.t.n_elems = 1;
    for (unsigned i = 0; i < n_dims; i++) {
        tt.t.shape[i] = shape[i];
        tt.t.n_elems *= shape[i];
    }
    tt.block = malloc(1 + tt.t.n_elems * dtype_size(dtype));
    assert_non_null(tt.block);
    tt.t.data = tt.block + 1;
    for (size_t i = 0; i < tt.t.n_elems; i++) {
        float f = test_uniform(state);
        uint16_t h = bf16_from_f32(f);
        if (dtype == DTYPE_F16) /* exponents 2^-15 … 2^0, any sign and mantissa */
            h = (uint16_t)((test_random(state) & 0x83ffu) | ((test_random(state) & 15u) << 10));
        if (dtype == DTYPE_F32)
            memcpy(tt.block + 1 + 4 * i, &f, 4);
        else
            memcpy(tt.block + 1 + 2 * i, &h, 2);
    }
    return tt;
}

static inline void test_tensor_free(struct test_tensor *tt)
{
    free(tt->block);
    tt->block = NULL;
}

/* n floats with CANARIES floats of a known pattern on both sides. */
#define CANARIES 64
#define CANARY_BITS 0x7fc0dea1u /* a NaN that no operation makes */

static inline float test_canary(void)
{
    uint32_t u = CANARY_BITS;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline bool test_is_canary(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u == CANARY_BITS;
}

static inline float *test_output_new(size_t n)
{
    float *p = malloc((n + 2 * CANARIES) * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n + 2 * CANARIES; i++)
        p[i] = test_canary();
    return p + CANARIES;
}

static inline void test_output_check(const float *p, size_t n)
{
    for (size_t i = 0; i < CANARIES; i++)
        if (!test_is_canary(p[(ptrdiff_t)i - CANARIES]) || !test_is_canary(p[n + i]))
            fail_msg("written outside of the output (canary %zu)", i);
}

static inline void test_output_free(float *p)
{
    if (p)
        free(p - CANARIES);
}

#define TEST_THREADS_MAX 3

/* Each level of this machine on 1 … TEST_THREADS_MAX threads. */
struct test_backends {
    enum cpu_level best;
    struct pool *pool[TEST_THREADS_MAX];
    struct backend *be[CPU_AVX512 + 1][TEST_THREADS_MAX];
};

static inline struct test_backends test_backends_new(void)
{
    struct errmsg em = {{0}};
    struct test_backends b = {.best = cpu_detect()};
    for (unsigned i = 0; i < TEST_THREADS_MAX; i++) {
        assert_ok(pool_new(i + 1, &b.pool[i], &em));
        for (enum cpu_level l = CPU_SCALAR; l <= b.best; l++)
            assert_ok(backend_cpu_new(b.pool[i], l, &b.be[l][i], &em));
    }
    return b;
}

static inline void test_backends_free(struct test_backends *b)
{
    for (unsigned i = 0; i < TEST_THREADS_MAX; i++) {
        for (enum cpu_level l = CPU_SCALAR; l <= b->best; l++)
            backend_free(b->be[l][i]);
        pool_free(b->pool[i]);
    }
}

#endif

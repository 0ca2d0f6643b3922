/* SPDX-License-Identifier: MIT */
/* Attention against a loop in double precision, for each instruction set that this
 * machine has. */
#include "guarded.h"

#include "base/size.h"

struct shape {
    const char *name;
    size_t n_q, n_k, n_k_valid, n_heads, n_kv_heads, head_dim;
    bool causal;
    size_t q_offset;
    float magnitude; /* of q; k is in [-1, 1) */
    size_t gap;      /* between rows, floats */
    size_t shift;    /* of the first row from a 64-byte boundary */
};

/* Sizes around the kernels' tiles: 4 or 8 keys, 24 or 48 rows (queries times heads
 * that share a key), 64 or 128 keys a block, 192 rows a task. */
static const struct shape shapes[] = {
    {"one", 1, 1, 1, 1, 1, 32, false, 0, 1, 0, 0},
    {"small", 3, 5, 5, 2, 2, 32, false, 0, 1, 3, 1},
    {"lanes - 1", 23, 127, 127, 2, 2, 64, false, 0, 1, 1, 3},
    {"lanes", 48, 128, 128, 2, 2, 64, false, 0, 1, 0, 0},
    {"lanes + 1", 49, 129, 129, 2, 2, 64, false, 0, 1, 5, 2},
    {"flux", 200, 300, 300, 3, 3, 128, false, 0, 4, 0, 0},
    {"tasks + 1", 193, 257, 257, 2, 2, 128, false, 0, 4, 16, 1},
    {"padding", 70, 140, 77, 4, 2, 128, false, 0, 4, 0, 0},
    {"one valid key", 10, 20, 1, 2, 2, 64, false, 0, 4, 0, 0},
    {"qwen", 150, 150, 101, 8, 2, 128, true, 0, 4, 0, 0},
    {"causal", 61, 61, 61, 3, 3, 64, true, 0, 4, 7, 1},
    {"causal, later", 37, 300, 300, 6, 2, 64, true, 200, 4, 1, 1},
    {"causal, beyond the valid", 50, 90, 60, 4, 4, 32, true, 39, 4, 0, 0},
    {"decode", 1, 300, 300, 8, 2, 128, true, 299, 4, 0, 0},
    {"decode, own keys", 1, 555, 555, 3, 3, 64, true, 554, 4, 0, 1},
    {"decode, short", 1, 64, 9, 12, 4, 128, true, 8, 4, 0, 0},
    {"few rows", 5, 270, 270, 2, 2, 80, false, 0, 4, 3, 1},
    {"group of 5", 31, 65, 65, 10, 2, 32, true, 34, 4, 0, 0},
    {"group of 24", 20, 90, 90, 24, 1, 40, true, 70, 4, 0, 0},
    {"odd head_dim", 45, 77, 77, 3, 3, 33, false, 0, 4, 2, 1},
    {"head_dim 72", 45, 77, 77, 3, 3, 72, false, 0, 4, 0, 0},
    {"head_dim 7", 60, 150, 150, 2, 1, 7, true, 90, 4, 0, 3},
    {"vae", 130, 197, 197, 1, 1, 512, false, 0, 4, 0, 0},
    {"head_dim 258", 50, 130, 130, 1, 1, 258, false, 0, 4, 0, 0},
    {"too wide for the fast path", 3, 10, 10, 1, 1, 6000, false, 0, 4, 0, 0},
    {"scores of ten thousand", 60, 200, 200, 2, 2, 128, false, 0, 20000, 0, 0},
    {"scores of ten thousand, causal", 60, 60, 60, 2, 1, 64, true, 0, 20000, 0, 0},
    {"scores of ten thousand, decode", 1, 200, 200, 4, 2, 64, true, 199, 20000, 0, 0},
};

struct problem {
    struct guarded q, k, v, out;
    struct attention_args args;
};

static size_t last_visible(const struct attention_args *a, size_t i)
{
    return a->causal ? min_size(a->n_k_valid, i + a->q_offset + 1) : a->n_k_valid;
}

static struct problem problem_new(const struct shape *s)
{
    struct problem p = {0};
    struct random r = {.state = 20240607};
    size_t q_width = s->n_heads * s->head_dim, k_width = s->n_kv_heads * s->head_dim;
    p.q = guarded_new(s->n_q, q_width, q_width + s->gap, s->shift);
    p.k = guarded_new(s->n_k, k_width, k_width + s->gap, s->shift);
    p.v = guarded_new(s->n_k, k_width, k_width + 2 * s->gap, s->shift);
    p.out = guarded_new(s->n_q, q_width, q_width + 3 * s->gap, s->shift);
    p.args = (struct attention_args){
        .q = p.q.p, .k = p.k.p, .v = p.v.p, .out = p.out.p,
        .ldq = p.q.ld, .ldk = p.k.ld, .ldv = p.v.ld, .ldo = p.out.ld,
        .n_q = s->n_q, .n_k = s->n_k, .n_k_valid = s->n_k_valid,
        .n_heads = s->n_heads, .n_kv_heads = s->n_kv_heads, .head_dim = s->head_dim,
        .q_offset = s->q_offset, .causal = s->causal,
        .scale = 1 / sqrtf((float)s->head_dim),
    };
    guarded_fill(&p.q, &r, s->magnitude, 0);
    /* keys that nobody may see stay NaN */
    p.k.n_rows = p.v.n_rows = last_visible(&p.args, s->n_q - 1);
    guarded_fill(&p.k, &r, 1, 0);
    guarded_fill(&p.v, &r, 1, 0.5f);
    return p;
}

static void problem_free(struct problem *p)
{
    guarded_free(&p->q);
    guarded_free(&p->k);
    guarded_free(&p->v);
    guarded_free(&p->out);
}

/* One head of one query; want [head_dim]; returns the largest |score|. */
static double attend_double(const struct attention_args *a, size_t i, size_t head, double *want)
{
    size_t n = last_visible(a, i), kv = head / (a->n_heads / a->n_kv_heads);
    const float *q = a->q + i * a->ldq + head * a->head_dim;
    double *score = calloc(n, sizeof *score);
    double max = -INFINITY, largest = 0, sum = 0;
    assert_non_null(score);
    for (size_t j = 0; j < n; j++) {
        const float *k = a->k + j * a->ldk + kv * a->head_dim;
        for (size_t c = 0; c < a->head_dim; c++)
            score[j] += (double)q[c] * k[c];
        score[j] *= a->scale;
        max = fmax(max, score[j]);
        largest = fmax(largest, fabs(score[j]));
    }
    memset(want, 0, a->head_dim * sizeof *want);
    for (size_t j = 0; j < n; j++) {
        const float *v = a->v + j * a->ldv + kv * a->head_dim;
        double p = exp(score[j] - max);
        sum += p;
        for (size_t c = 0; c < a->head_dim; c++)
            want[c] += p * v[c];
    }
    for (size_t c = 0; c < a->head_dim; c++)
        want[c] /= sum;
    free(score);
    return largest;
}

static void compare_double(const struct shape *s, const struct attention_args *a,
                           enum cpu_level level)
{
    double *want = calloc(a->head_dim, sizeof *want);
    assert_non_null(want);
    for (size_t i = 0; i < a->n_q; i++)
        for (size_t h = 0; h < a->n_heads; h++) {
            double largest = attend_double(a, i, h, want);
            /* A score of size S has a rounding error of a few S * 2^-24, which is the
             * relative error of its weight; |v| < 1.5. Besides that, a sum of some
             * hundred weights in float. */
            double tolerance = 1e-6 + 1.5 * 8 * largest * 0x1p-24;
            for (size_t c = 0; c < a->head_dim; c++) {
                double got = a->out[i * a->ldo + h * a->head_dim + c];
                if (!(fabs(got - want[c]) <= tolerance))
                    fail_msg("%s, %s: query %zu head %zu channel %zu: %.9g, not %.9g (+- %.2g)",
                             s->name, cpu_level_name(level), i, h, c, got, want[c], tolerance);
            }
        }
    free(want);
}

static void check_level(enum cpu_level level)
{
    struct test_backend t = test_backend_new(level, 2);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct problem p = problem_new(&shapes[i]);
        backend_attention(t.be, &p.args);
        guarded_check(&p.out, shapes[i].name);
        compare_double(&shapes[i], &p.args, level);
        problem_free(&p);
    }
    test_backend_free(&t);
}

static void test_scalar(void **state)
{
    (void)state;
    check_level(CPU_SCALAR);
}

static void test_avx2(void **state)
{
    (void)state;
    if (cpu_detect() < CPU_AVX2)
        skip_because("this processor has no AVX2");
    check_level(CPU_AVX2);
}

static void test_avx512(void **state)
{
    (void)state;
    if (cpu_detect() < CPU_AVX512)
        skip_because("this processor has no AVX-512");
    check_level(CPU_AVX512);
}

/* The bytes are the same for any number of threads. */
static void test_threads(void **state)
{
    (void)state;
    for (enum cpu_level level = CPU_SCALAR; level <= cpu_detect(); level++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct problem p[3];
            for (unsigned n = 0; n < 3; n++) {
                struct test_backend t = test_backend_new(level, n + 1);
                p[n] = problem_new(&shapes[i]);
                backend_attention(t.be, &p[n].args);
                test_backend_free(&t);
            }
            for (unsigned n = 1; n < 3; n++)
                if (memcmp(p[0].out.block + GUARD_FLOATS, p[n].out.block + GUARD_FLOATS,
                           (p[0].out.n_block - GUARD_FLOATS) * sizeof(float)))
                    fail_msg("%s, %s: %u threads give other bytes", shapes[i].name,
                             cpu_level_name(level), n + 1);
            for (unsigned n = 0; n < 3; n++)
                problem_free(&p[n]);
        }
}

/* A query's result is the same bytes whether it comes alone or among others, as
 * long as the same path computes it: here, blocks of whole tasks. */
static void test_blocks(void **state)
{
    (void)state;
    const struct shape s = {"blocks", 400, 150, 150, 2, 2, 64, false, 0, 4, 0, 0};
    for (enum cpu_level level = CPU_SCALAR; level <= cpu_detect(); level++) {
        struct test_backend t = test_backend_new(level, 2);
        struct problem whole = problem_new(&s), parts = problem_new(&s);
        backend_attention(t.be, &whole.args);
        struct attention_args a = parts.args;
        for (size_t i = 0; i < s.n_q; i += 100) {
            a.n_q = 100;
            a.q = parts.args.q + i * a.ldq;
            a.out = parts.args.out + i * a.ldo;
            backend_attention(t.be, &a);
        }
        for (size_t i = 0; i < s.n_q; i++)
            assert_memory_equal(whole.args.out + i * a.ldo, parts.args.out + i * a.ldo,
                                s.n_heads * s.head_dim * sizeof(float));
        problem_free(&whole);
        problem_free(&parts);
        test_backend_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar),
        cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_blocks),
    };
    return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Noise against torch.randn on the CPU. */
#include "formats/safetensors.h"
#include "models/noise.h"
#include "test.h"

/* From 16 values on torch's float32 log, cos and sin are polynomials in AVX2
 * registers, ours are rounded from double precision: at most 3 units in the last
 * place apart over several million values, and normals of this size (below 6) have
 * units of at most 4.8e-7. Fewer values are made in double precision by both. */
#define TOLERANCE 1e-6

static void test_torch(void **state)
{
    (void)state;
    struct errmsg em;
    struct weights *w = NULL;
    size_t n_exact = 0;
    size_t n_all = 0;
    assert_ok(weights_open(data_path("dit/noise.safetensors"), &w, &em));
    assert_int_equal(weights_n_tensors(w), 9 * (10 + 2 * 3));
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        struct tensor t;
        assert_ok(weights_at(w, i, &t, &em));
        char *p = NULL;
        uint64_t seed = strtoull(t.name, &p, 10);
        size_t n = strtoull(p + 1, &p, 10);
        size_t first = strtoull(p + 1, &p, 10);
        float *x = malloc(n * sizeof *x);
        assert_non_null(x);
        noise_randn(seed, x, n);
        for (size_t j = 0; j < t.n_elems; j++) {
            float expected = f32_load(t.data, t.dtype, j);
            float got = x[first + j];
            double difference = fabs((double)got - (double)expected);
            if (!(difference <= (n < 16 ? 0.0 : TOLERANCE)))
                fail_msg("%s: value %zu is %.9g, torch has %.9g", t.name, first + j, (double)got,
                         (double)expected);
            n_exact += got == expected;
        }
        n_all += t.n_elems;
        free(x);
    }
    /* most are torch's to the bit: uniforms out of step would not be */
    assert_true(n_exact > n_all * 3 / 4);
    weights_close(w);
}

static void test_nothing(void **state)
{
    (void)state;
    float x = 7.0f;
    noise_randn(1, &x, 0);
    assert_true(x == 7.0f);
}

/* Only the low 32 bits of a seed count, as in torch. */
static void test_seed_bits(void **state)
{
    (void)state;
    float a[20];
    float b[20];
    noise_randn(5, a, 20);
    noise_randn((UINT64_C(1) << 32) + 5, b, 20);
    assert_memory_equal(a, b, sizeof a);
    noise_randn(6, b, 20);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_seed_bits),
    };
    return cmocka_run_group_tests_name("noise", tests, NULL, NULL);
}

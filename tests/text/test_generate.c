/* SPDX-License-Identifier: MIT */
/* The text encoder as a language model, against transformers; the sampler. */
#include "text_fixture.h"

#include "models/sampler.h"

static void test_sampler_numbers(void **state)
{
    (void)state;
    /* splitmix64 of seed 0, and xoshiro256++ of state 1, 2, 3, 4: from their authors' code */
    struct sampler s;
    sampler_init(&s, 0);
    assert_true(s.state[0] == 0xe220a8397b1dcdafu);
    assert_true(s.state[1] == 0x6e789e6aa1b965f4u);
    assert_true(s.state[2] == 0x06c45d188009454fu);
    assert_true(s.state[3] == 0xf88bb8a8724c81ecu);
    s = (struct sampler){{1, 2, 3, 4}};
    static const uint64_t want[] = {
        41943041u,           58720359u, 3588806011781223u, 3591011842654386u, 9228616714210784205u,
        9973669472204895162u};
    for (size_t i = 0; i < 6; i++)
        assert_true(sampler_uniform(&s) == (double)(want[i] >> 11) * 0x1p-53);
}

static void test_sampler_follows_softmax(void **state)
{
    (void)state;
    static const float logits[] = {1.0f, 2.0f, 0.0f, -50.0f, 1.5f};
    enum { N = 200000 };
    const float temperature = 0.7f;
    double p[5], total = 0;
    size_t counts[5] = {0};
    struct sampler s;
    sampler_init(&s, 42);
    for (size_t i = 0; i < 5; i++)
        total += p[i] = exp((double)logits[i] / (double)temperature);
    for (size_t i = 0; i < N; i++)
        counts[sampler_pick(&s, logits, 5, temperature)]++;
    for (size_t i = 0; i < 5; i++) {
        double expected = N * p[i] / total;
        /* five standard deviations of a binomial; the seed is fixed */
        assert_true(fabs((double)counts[i] - expected) <= 5 * sqrt(expected + 1));
    }
}

static void test_sampler_extremes(void **state)
{
    (void)state;
    static const float logits[] = {-3e38f, 5.0f, 3e38f, 3e38f, -1.0f};
    struct sampler s;
    sampler_init(&s, 7);
    struct sampler before = s;
    assert_int_equal(sampler_pick(&s, logits, 5, 0.0f), 2); /* the first of equals */
    assert_memory_equal(&s, &before, sizeof s);             /* greedy draws nothing */
    for (size_t i = 0; i < 100; i++) {
        size_t pick = sampler_pick(&s, logits, 5, 1e-38f);
        assert_true(pick == 2 || pick == 3);
    }
    bool seen[5] = {false};
    for (size_t i = 0; i < 1000; i++)
        seen[sampler_pick(&s, (const float[]){1, 2, 3, 4, 5}, 5, 3e38f)] = true;
    assert_true(seen[0] && seen[1] && seen[2] && seen[3] && seen[4]);
    assert_int_equal(sampler_pick(&s, logits, 1, 1.0f), 0);
}

static struct generate_options greedy_options(size_t n)
{
    return (struct generate_options){.max_new_tokens = n};
}

/* Feed n tokens without progress. */
static void feed(struct te_decoder *d, const int32_t *ids, size_t n)
{
    struct errmsg em;
    struct te_ticker ticker = {0};
    assert_ok(te_decoder_feed(d, ids, n, &ticker, 0, &em));
}

static void test_logits(void **state)
{
    (void)state;
    for (enum cpu_level level = CPU_SCALAR; level <= cpu_detect(); level++) {
        for (size_t m = 0; m < n_fixtures; m++) {
            struct errmsg em;
            struct te_decoder d;
            struct fixture f = fixture_open(fixture_names[m], level, 2);
            size_t n, n_want, vocab = text_encoder_info(f.te).vocab;
            int32_t *ids = reference_ids(&f, "ids", &n);
            float *want = reference_floats(&f, "logits", &n_want);
            /* each token by its cache, after the first three at once */
            assert_ok(te_decoder_init(&d, f.te, 3, n, &em));
            for (size_t i = 2; i < n; i++) {
                feed(&d, i == 2 ? ids : &ids[i], i == 2 ? 3 : 1);
                double e = relative_error(d.logits, want + i * vocab, vocab);
                if (!(e <= FIXTURE_TOLERANCE))
                    fail_msg("%s, token %zu: relative error %.2e", fixture_names[m], i, e);
            }
            te_decoder_deinit(&d);
            /* all in one pass */
            assert_ok(te_decoder_init(&d, f.te, n, n, &em));
            feed(&d, ids, n);
            assert_true(relative_error(d.logits, want + (n - 1) * vocab, vocab) <=
                        FIXTURE_TOLERANCE);
            te_decoder_deinit(&d);
            free(want);
            free(ids);
            fixture_close(&f);
        }
    }
}

static void test_greedy_equals_transformers(void **state)
{
    (void)state;
    for (enum cpu_level level = CPU_SCALAR; level <= cpu_detect(); level++) {
        for (size_t m = 0; m < n_fixtures; m++) {
            struct errmsg em;
            struct fixture f = fixture_open(fixture_names[m], level, 2);
            size_t n, n_want, n_got = 0;
            int32_t *prompt = reference_ids(&f, "greedy.prompt", &n);
            int32_t *want = reference_ids(&f, "greedy.ids", &n_want), *got = NULL;
            struct generate_options opts = greedy_options(n_want);
            assert_int_equal(n_want, 40);
            assert_ok(text_encoder_generate(f.te, prompt, n, &opts, &got, &n_got, NULL, &em));
            assert_int_equal(n_got, n_want);
            assert_memory_equal(got, want, n_want * sizeof *want);
            free(got);
            free(want);
            free(prompt);
            fixture_close(&f);
        }
    }
}

static void test_logits_of_a_generated_text(void **state)
{
    (void)state;
    for (size_t m = 0; m < n_fixtures; m++) {
        struct errmsg em;
        struct te_decoder d;
        struct fixture f = fixture_open(fixture_names[m], cpu_detect(), 2);
        size_t n, n_text, n_want, vocab = text_encoder_info(f.te).vocab;
        int32_t *prompt = reference_ids(&f, "greedy.prompt", &n);
        int32_t *text = reference_ids(&f, "greedy.ids", &n_text);
        float *want = reference_floats(&f, "greedy.logits", &n_want);
        assert_ok(te_decoder_init(&d, f.te, n, n + n_text, &em));
        feed(&d, prompt, n);
        for (size_t i = 0; i < n_want / vocab; i++) {
            assert_true(relative_error(d.logits, want + i * vocab, vocab) <= FIXTURE_TOLERANCE);
            feed(&d, &text[i], 1);
        }
        te_decoder_deinit(&d);
        free(want);
        free(text);
        free(prompt);
        fixture_close(&f);
    }
}

static void test_stops(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 2);
    size_t n, n_want, n_got = 99;
    int32_t *prompt = reference_ids(&f, "greedy.prompt", &n);
    int32_t *want = reference_ids(&f, "greedy.ids", &n_want), *got = NULL;
    size_t first = 0; /* of the fifth token in the text */
    while (want[first] != want[4])
        first++;
    const int32_t stops[] = {-5, 100000, want[4]};
    struct generate_options opts = {.max_new_tokens = 40, .stop_ids = stops, .n_stop_ids = 3};
    assert_ok(text_encoder_generate(f.te, prompt, n, &opts, &got, &n_got, NULL, &em));
    assert_int_equal(n_got, first);
    assert_memory_equal(got, want, first * sizeof *got);
    free(got);

    /* nothing at all: still a pointer to free */
    opts = (struct generate_options){.max_new_tokens = 40, .stop_ids = &want[0], .n_stop_ids = 1};
    got = NULL;
    assert_ok(text_encoder_generate(f.te, prompt, n, &opts, &got, &n_got, NULL, &em));
    assert_int_equal(n_got, 0);
    assert_non_null(got);
    free(got);

    opts = greedy_options(1);
    assert_ok(text_encoder_generate(f.te, prompt, n, &opts, &got, &n_got, NULL, &em));
    assert_int_equal(n_got, 1);
    assert_int_equal(got[0], want[0]);
    free(got);
    free(want);
    free(prompt);
    fixture_close(&f);
}

static void test_same_seed_same_text(void **state)
{
    (void)state;
    int32_t *first[3] = {NULL};
    for (unsigned threads = 1; threads <= 3; threads++) {
        struct errmsg em;
        struct fixture f = fixture_open("f16-mistral", cpu_detect(), threads);
        size_t n;
        int32_t *prompt = reference_ids(&f, "greedy.prompt", &n);
        for (uint64_t seed = 0; seed < 3; seed++) {
            int32_t *got = NULL;
            size_t n_got = 0;
            struct generate_options opts = {
                .max_new_tokens = 24, .temperature = 1.0f, .seed = seed};
            assert_ok(text_encoder_generate(f.te, prompt, n, &opts, &got, &n_got, NULL, &em));
            assert_int_equal(n_got, 24);
            if (!first[seed]) {
                first[seed] = got;
                continue;
            }
            assert_memory_equal(got, first[seed], n_got * sizeof *got);
            free(got);
        }
        free(prompt);
        fixture_close(&f);
    }
    assert_memory_not_equal(first[0], first[1], 24 * sizeof *first[0]);
    assert_memory_not_equal(first[1], first[2], 24 * sizeof *first[0]);
    for (size_t i = 0; i < 3; i++)
        free(first[i]);
}

static void test_cold_sampling_is_greedy(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f = fixture_open("f32-tied", cpu_detect(), 2);
    size_t n, n_want, n_got = 0;
    int32_t *prompt = reference_ids(&f, "greedy.prompt", &n);
    int32_t *want = reference_ids(&f, "greedy.ids", &n_want), *got = NULL;
    struct generate_options opts = {.max_new_tokens = n_want, .temperature = 1e-5f, .seed = 3};
    assert_ok(text_encoder_generate(f.te, prompt, n, &opts, &got, &n_got, NULL, &em));
    assert_memory_equal(got, want, n_want * sizeof *got);
    free(got);
    free(want);
    free(prompt);
    fixture_close(&f);
}

static void test_cancel_at_every_tick(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 2);
    const int32_t prompt[] = {1, 2, 3};
    int32_t *got = NULL;
    size_t n_got = 0;
    struct generate_options opts = greedy_options(3);
    struct stopper s = {.stop_at = SIZE_MAX};
    struct progress p = {stopper_tick, &s};
    assert_ok(text_encoder_generate(f.te, prompt, 3, &opts, &got, &n_got, &p, &em));
    free(got);
    got = NULL;
    assert_true(s.monotonic);
    size_t n_ticks = s.n_calls;
    assert_int_equal(n_ticks, 3 * 4 + 1); /* before each block of each pass, and the end */
    assert_int_equal(s.last_done, 4 + 3);
    assert_int_equal(s.last_total, 4 + 3);
    for (size_t stop = 0; stop < n_ticks; stop++) {
        s = (struct stopper){.stop_at = stop};
        assert_fails(text_encoder_generate(f.te, prompt, 3, &opts, &got, &n_got, &p, &em),
                     ERR_CANCELLED, "cancelled");
        assert_int_equal(s.n_calls, stop + 1);
        assert_null(got);
    }
    fixture_close(&f);
}

static void test_usage(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f = fixture_open("bf16-sharded", cpu_detect(), 1);
    const int32_t prompt[] = {1, 2, 3}, large[] = {1, 320};
    int32_t *got = NULL;
    size_t n_got = 0;
    struct generate_options opts = greedy_options(4);
    assert_fails(text_encoder_generate(f.te, large, 2, &opts, &got, &n_got, NULL, &em), ERR_USAGE,
                 "token 1 is 320");
    assert_fails(text_encoder_generate(f.te, prompt, 0, &opts, &got, &n_got, NULL, &em), ERR_USAGE,
                 "prompt of 0");
    static const float bad[] = {-0.1f, NAN, INFINITY};
    for (size_t i = 0; i < 3; i++) {
        opts.temperature = bad[i];
        assert_fails(text_encoder_generate(f.te, prompt, 3, &opts, &got, &n_got, NULL, &em),
                     ERR_USAGE, "temperature");
    }
    opts = greedy_options(0);
    assert_fails(text_encoder_generate(f.te, prompt, 3, &opts, &got, &n_got, NULL, &em), ERR_USAGE,
                 "0 new tokens");
    static const size_t too_many[] = {SIZE_MAX, SIZE_MAX / 4, SIZE_MAX / 1024};
    for (size_t i = 0; i < 3; i++) {
        opts = greedy_options(too_many[i]);
        assert_fails(text_encoder_generate(f.te, prompt, 3, &opts, &got, &n_got, NULL, &em),
                     ERR_NOMEM, "out of memory");
    }
    assert_null(got);
    fixture_close(&f);
}

static void test_without_a_head(void **state)
{
    (void)state;
    static const struct {
        const char *drop, *says;
    } cases[] = {{"model.layers.3", "last blocks"},
                 {"model.norm", "norm.weight"},
                 {"lm_head", "lm_head.weight"}};
    for (size_t i = 0; i < 3; i++) {
        struct errmsg em;
        char *dir = variant_write(&(struct variant){.from = "bf16-sharded", .drop = cases[i].drop});
        struct fixture f = fixture_open_dir(dir);
        const int32_t prompt[] = {1, 2, 3};
        int32_t *got = NULL;
        size_t n_got = 0;
        struct generate_options opts = greedy_options(4);
        assert_fails(text_encoder_generate(f.te, prompt, 3, &opts, &got, &n_got, NULL, &em),
                     ERR_UNSUPPORTED, cases[i].says);
        assert_non_null(strstr(em.text, dir));
        fixture_close(&f);
        variant_remove(dir);
    }
}

static void test_nan_in_the_head(void **state)
{
    (void)state;
    static const char *const poisoned[] = {"lm_head.weight", "model.norm.weight",
                                           "model.layers.3.mlp.down_proj.weight"};
    for (size_t i = 0; i < 3; i++) {
        struct errmsg em;
        char *dir = variant_write(
            &(struct variant){.from = "bf16-sharded", .poison = poisoned[i], .value = NAN});
        struct fixture f = fixture_open_dir(dir);
        const int32_t prompt[] = {1, 2, 3};
        int32_t *got = NULL;
        size_t n_got = 0;
        struct generate_options opts = greedy_options(4);
        assert_fails(text_encoder_generate(f.te, prompt, 3, &opts, &got, &n_got, NULL, &em),
                     ERR_FORMAT, "the weights hold NaN");
        assert_null(got);
        fixture_close(&f);
        variant_remove(dir);
    }
}

static void test_every_backend_failure_is_returned(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f = fixture_open("f32-tied", cpu_detect(), 1);
    const int32_t prompt[] = {1, 2, 3, 4};
    struct generate_options opts = greedy_options(3);
    size_t n_failures = 0;
    for (size_t nth = 0, done = 0; !done; nth++) {
        int32_t *got = NULL;
        size_t n_got = 0;
        faults_arm(f.be, nth);
        enum err rc = text_encoder_generate(f.te, prompt, 4, &opts, &got, &n_got, NULL, &em);
        assert_int_equal(rc != ERR_OK, faults_fired());
        assert_int_equal(rc != ERR_OK, got == NULL);
        n_failures += rc != ERR_OK;
        done = !faults_fired();
        free(got);
        faults_disarm(f.be);
    }
    assert_true(n_failures >= 6); /* memory, two tables, three downloads */
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampler_numbers),
        cmocka_unit_test(test_sampler_follows_softmax),
        cmocka_unit_test(test_sampler_extremes),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_greedy_equals_transformers),
        cmocka_unit_test(test_logits_of_a_generated_text),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_same_seed_same_text),
        cmocka_unit_test(test_cold_sampling_is_greedy),
        cmocka_unit_test(test_cancel_at_every_tick),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_without_a_head),
        cmocka_unit_test(test_nan_in_the_head),
        cmocka_unit_test(test_every_backend_failure_is_returned),
    };
    return cmocka_run_group_tests_name("generate", tests, NULL, shared_backend_free);
}

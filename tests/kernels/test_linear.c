/* SPDX-License-Identifier: MIT */
/* backend_linear: the scalar level against sums in double, every other level against
 * the scalar one, each with 1, 2 and 3 threads, which must agree to the bit. */
#include "kernels_test.h"

#include "base/size.h"

static struct test_backends backends;

struct epilogue {
    const char *name;
    bool up, bias, gate, accumulate;
    enum activation act;
};

static const struct epilogue epilogues[] = {
    {.name = "plain"},
    {.name = "bias", .bias = true},
    {.name = "bias, silu", .bias = true, .act = ACT_SILU},
    {.name = "relu", .act = ACT_RELU},
    {.name = "accumulate", .accumulate = true},
    {.name = "gate", .gate = true},
    {.name = "bias, gate", .bias = true, .gate = true},
    {.name = "swiglu", .up = true},
    {.name = "swiglu, accumulate", .up = true, .accumulate = true},
};

struct linear_case {
    size_t m, n, k;
    enum dtype dtype;
    struct epilogue e;
    struct test_tensor w, w_up, bias;
    float *x, *gate, *y0;
    size_t ldx, ldy;
};

static struct linear_case case_new(size_t m, size_t n, size_t k, enum dtype dtype,
                                   struct epilogue e)
{
    uint32_t seed = TEST_SEED;
    struct linear_case c = {.m = m, .n = n, .k = k, .dtype = dtype, .e = e};
    size_t shape[2] = {n, k};
    c.ldx = k + 3;
    c.ldy = n + 5;
    c.w = test_tensor_new(&seed, dtype, 2, shape);
    c.w_up = test_tensor_new(&seed, dtype, 2, shape);
    c.bias = test_tensor_new(&seed, dtype, 1, shape);
    c.x = test_floats(&seed, m * c.ldx);
    c.gate = test_floats(&seed, n);
    c.y0 = test_floats(&seed, m * c.ldy);
    return c;
}

static void case_free(struct linear_case *c)
{
    test_tensor_free(&c->w);
    test_tensor_free(&c->w_up);
    test_tensor_free(&c->bias);
    free(c->x);
    free(c->gate);
    free(c->y0);
}

/* A new output that holds y0 in its columns and canaries between its rows. */
static float *output_new(const struct linear_case *c)
{
    float *y = test_output_new(c->m * c->ldy);
    for (size_t i = 0; i < c->m; i++)
        memcpy(y + i * c->ldy, c->y0 + i * c->ldy, c->n * sizeof *y);
    return y;
}

static float *run(const struct linear_case *c, struct backend *be, size_t m)
{
    struct errmsg em = {{0}};
    struct weight *w = NULL, *w_up = NULL, *bias = NULL;
    assert_ok(backend_weight(be, &c->w.t, 0, 0, &w, &em));
    assert_ok(backend_weight(be, &c->w_up.t, 0, 0, &w_up, &em));
    assert_ok(backend_weight(be, &c->bias.t, 0, 0, &bias, &em));
    float *y = output_new(c);
    backend_linear(be, &(struct linear_args){
                           .x = c->x,
                           .ldx = c->ldx,
                           .m = m,
                           .w = w,
                           .w_up = c->e.up ? w_up : NULL,
                           .bias = c->e.bias ? bias : NULL,
                           .gate = c->e.gate ? c->gate : NULL,
                           .y = y,
                           .ldy = c->ldy,
                           .act = c->e.act,
                           .accumulate = c->e.accumulate,
                       });
    test_output_check(y, c->m * c->ldy);
    for (size_t i = 0; i < c->m; i++)
        for (size_t j = c->n; j < c->ldy; j++)
            if (!test_is_canary(y[i * c->ldy + j]))
                fail_msg("written behind row %zu", i);
    backend_weight_free(be, w);
    backend_weight_free(be, w_up);
    backend_weight_free(be, bias);
    return y;
}

static double dot(const struct linear_case *c, const struct test_tensor *w, size_t i, size_t n,
                  double *magnitude)
{
    double sum = 0.0;
    for (size_t k = 0; k < c->k; k++) {
        double p = (double)c->x[i * c->ldx + k] *
                   (double)f32_load(w->t.data, w->t.dtype, n * c->k + k);
        sum += p;
        *magnitude += fabs(p);
    }
    return sum;
}

static double silu(double v)
{
    return v / (1.0 + exp(-v));
}

/* *magnitude: the sum of the absolute products that went into it, which bounds what
 * rounding can do. */
static double expected(const struct linear_case *c, size_t i, size_t n, double *magnitude)
{
    *magnitude = 0.0;
    double v = dot(c, &c->w, i, n, magnitude);
    if (c->e.bias)
        v += (double)f32_load(c->bias.t.data, c->dtype, n);
    if (c->e.up) {
        double m_up = 0.0;
        double up = dot(c, &c->w_up, i, n, &m_up);
        double gated = silu(v);
        *magnitude = *magnitude * fabs(up) + m_up * fabs(gated);
        v = gated * up;
    } else if (c->e.act == ACT_SILU) {
        v = silu(v);
    } else if (c->e.act == ACT_RELU) {
        v = v > 0.0 ? v : 0.0;
    }
    if (c->e.gate)
        v *= (double)c->gate[n];
    if (c->e.gate || c->e.accumulate)
        v += (double)c->y0[i * c->ldy + n];
    return v;
}

static void check_scalar(const struct linear_case *c, const float *y)
{
    for (size_t i = 0; i < c->m; i++) {
        for (size_t n = 0; n < c->n; n++) {
            double magnitude;
            double want = expected(c, i, n, &magnitude);
            double got = (double)y[i * c->ldy + n];
            /* sums are in double there too: a few roundings to float remain */
            if (!(fabs(got - want) <= 1e-6 + 1e-6 * fabs(want) + 2e-7 * magnitude))
                fail_msg("scalar [%zu %zu %zu] %s: y[%zu, %zu] = %.9g, expected %.9g", c->m, c->n,
                         c->k, c->e.name, i, n, got, want);
        }
    }
}

static void check_level(const struct linear_case *c, const float *y, const float *want,
                        enum cpu_level level)
{
    for (size_t i = 0; i < c->m; i++) {
        for (size_t n = 0; n < c->n; n++) {
            double a = (double)y[i * c->ldy + n], b = (double)want[i * c->ldy + n];
            double magnitude;
            if (fabs(a - b) <= 1e-6 + 1e-6 * fabs(b))
                continue;
            /* A sum of k floats in blocks of at most 256: 256 roundings of 6e-8 of the
             * partial sums at worst, about sqrt(256) of them as they fall. */
            expected(c, i, n, &magnitude);
            if (!(fabs(a - b) <= 2e-6 * magnitude))
                fail_msg("%s [%zu %zu %zu] %s: y[%zu, %zu] = %.9g, scalar %.9g",
                         cpu_level_name(level), c->m, c->n, c->k, c->e.name, i, n, a, b);
        }
    }
}

static void check(size_t m, size_t n, size_t k, enum dtype dtype, struct epilogue e)
{
    struct linear_case c = case_new(m, n, k, dtype, e);
    size_t bytes = c.m * c.ldy * sizeof(float);
    float *want = NULL;
    for (enum cpu_level l = CPU_SCALAR; l <= backends.best; l++) {
        float *y = run(&c, backends.be[l][0], m);
        for (unsigned t = 1; t < TEST_THREADS_MAX; t++) {
            float *again = run(&c, backends.be[l][t], m);
            if (memcmp(y, again, bytes))
                fail_msg("%s [%zu %zu %zu] %s: %u threads differ from one", cpu_level_name(l), m,
                         n, k, e.name, t + 1);
            test_output_free(again);
        }
        if (l == CPU_SCALAR) {
            check_scalar(&c, y);
            want = y;
            continue;
        }
        check_level(&c, y, want, l);
        test_output_free(y);
    }
    test_output_free(want);
    case_free(&c);
}

static const struct {
    size_t m, n, k;
} sizes[] = {
    {1, 1, 1},    {1, 7, 5},     {1, 130, 67},  {2, 17, 33},   {3, 64, 31},   {5, 9, 129},
    {8, 65, 100}, {9, 1, 1},     {9, 15, 16},   {13, 63, 17},  {15, 31, 15},  {17, 64, 192},
    {16, 8, 7},   {33, 129, 193}, {70, 200, 400}, {100, 7, 257}, {20, 333, 20}, {23, 48, 512},
};

static void test_sizes_and_dtypes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++)
            check(sizes[i].m, sizes[i].n, sizes[i].k, t, epilogues[0]);
}

static void test_epilogues(void **state)
{
    (void)state;
    for (size_t e = 0; e < sizeof epilogues / sizeof *epilogues; e++) {
        check(3, 77, 50, DTYPE_BF16, epilogues[e]);
        check(21, 77, 300, DTYPE_BF16, epilogues[e]);
        check(14, 5, 30, DTYPE_F16, epilogues[e]);
    }
}

/* More rows than a tile holds. */
static void test_many_rows(void **state)
{
    (void)state;
    check(1700, 70, 40, DTYPE_BF16, epilogues[7]);
}

/* More of x than is packed at a time (24 MiB). */
static void test_many_slabs(void **state)
{
    (void)state;
    check(1600, 9, 4608, DTYPE_BF16, epilogues[0]);
}

/* A row's result does not depend on how many other rows there are, so that a batch
 * or a longer prompt changes no bit. (Rows that are streamed are summed otherwise.) */
static void test_rows_are_independent(void **state)
{
    (void)state;
    struct linear_case c = case_new(300, 100, 700, DTYPE_BF16, epilogues[2]);
    for (enum cpu_level l = CPU_SCALAR; l <= backends.best; l++) {
        float *all = run(&c, backends.be[l][1], 300);
        float *some = run(&c, backends.be[l][1], 41);
        assert_memory_equal(all, some, 41 * c.ldy * sizeof(float));
        test_output_free(all);
        test_output_free(some);
    }
    case_free(&c);
}

/* SiLU far out, infinities and NaN: as the reference. */
static void test_special_values(void **state)
{
    (void)state;
    static const float xs[] = {0.0f,   -0.0f, 1e-30f, 20.0f,    -20.0f,   80.0f,
                               -80.0f, 200.0f, -200.0f, INFINITY, -INFINITY, NAN};
    const size_t n_xs = sizeof xs / sizeof *xs;
    float one = 1.0f;
    struct errmsg em = {{0}};
    struct tensor t = {
        .name = "one", .data = &one, .dtype = DTYPE_F32, .n_dims = 2, .shape = {1, 1}, .n_elems = 1};
    for (enum cpu_level l = CPU_SCALAR; l <= backends.best; l++) {
        for (enum activation act = ACT_NONE; act <= ACT_RELU; act++) {
            float y[sizeof xs / sizeof *xs];
            struct backend *be = backends.be[l][0];
            struct weight *w = NULL;
            assert_ok(backend_weight(be, &t, 0, 0, &w, &em));
            backend_linear(be, &(struct linear_args){.x = xs, .ldx = 1, .m = n_xs, .w = w,
                                                     .y = y, .ldy = 1, .act = act});
            backend_weight_free(be, w);
            for (size_t i = 0; i < n_xs; i++) {
                double v = (double)xs[i];
                double want = act == ACT_SILU ? silu(v) : act == ACT_RELU && v < 0.0 ? 0.0 : v;
                if (isnan(want)) /* NaN, or silu(-inf): NaN in the formula, zero in the limit */
                    assert_true(!isfinite(y[i]) || y[i] == 0.0f);
                else if (isinf(want))
                    assert_true((double)y[i] == want);
                else
                    assert_true(fabs((double)y[i] - want) <= 1e-6 * fabs(want) + 1e-30);
                if (isnan(xs[i]))
                    assert_true(isnan(y[i]));
            }
        }
    }
}

/* Rows of a matrix, elements of a vector, and what cannot be had. */
static void test_weight_rows(void **state)
{
    (void)state;
    struct errmsg em = {{0}};
    struct backend *be = backends.be[backends.best][0];
    float data[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    struct tensor t = {.name = "rows", .data = data, .dtype = DTYPE_F32, .n_dims = 2,
                       .shape = {4, 3}, .n_elems = 12};
    struct weight *w = NULL;
    assert_ok(backend_weight(be, &t, 1, 2, &w, &em));
    float x[3] = {1.0f, 10.0f, 100.0f}, y[2];
    backend_linear(be, &(struct linear_args){.x = x, .ldx = 3, .m = 1, .w = w, .y = y, .ldy = 2});
    assert_true(y[0] == 543.0f && y[1] == 876.0f);
    backend_weight_free(be, w);
    assert_fails(backend_weight(be, &t, 3, 2, &w, &em), ERR_USAGE, "rows");
    assert_fails(backend_weight(be, &t, 4, 0, &w, &em), ERR_USAGE, "rows");
    assert_fails(backend_weight_conv2d(be, &t, &w, &em), ERR_FORMAT, "rows");
}

static int setup(void **state)
{
    (void)state;
    backends = test_backends_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_backends_free(&backends);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_dtypes), cmocka_unit_test(test_epilogues),
        cmocka_unit_test(test_many_rows),        cmocka_unit_test(test_many_slabs),
        cmocka_unit_test(test_rows_are_independent), cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_weight_rows),
    };
    printf("# seed %u, best level %s\n", TEST_SEED, cpu_level_name(cpu_detect()));
    return cmocka_run_group_tests_name("linear", tests, setup, teardown);
}

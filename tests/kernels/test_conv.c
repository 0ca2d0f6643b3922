/* SPDX-License-Identifier: MIT */
/* backend_conv2d: every level against sums in double over the file's own
 * [c_out, c_in, kh, kw], each with 1, 2 and 3 threads, which must agree to the bit. */
#include "kernels_test.h"

static struct test_backends backends;

struct conv_case {
    size_t h, w, c_in, c_out, ksize;
    unsigned stride, pad, upsample;
    enum dtype dtype;
    enum activation act;
    bool bias, residual;
};

struct conv_data {
    struct test_tensor w, bias;
    float *x, *residual;
    size_t h_out, w_out;
};

static struct conv_data data_new(const struct conv_case *c)
{
    uint32_t seed = TEST_SEED;
    struct conv_data d = {0};
    size_t shape[4] = {c->c_out, c->c_in, c->ksize, c->ksize};
    d.w = test_tensor_new(&seed, c->dtype, 4, shape);
    d.bias = test_tensor_new(&seed, c->dtype, 1, shape);
    d.x = test_floats(&seed, c->h * c->w * c->c_in);
    /* pad at both sides, except that stride 2 gets its padding at the far side */
    size_t pad_after = c->stride == 2 ? 1 : c->pad;
    d.h_out = (c->h * c->upsample + c->pad + pad_after - c->ksize) / c->stride + 1;
    d.w_out = (c->w * c->upsample + c->pad + pad_after - c->ksize) / c->stride + 1;
    d.residual = test_floats(&seed, d.h_out * d.w_out * c->c_out);
    return d;
}

static void data_free(struct conv_data *d)
{
    test_tensor_free(&d->w);
    test_tensor_free(&d->bias);
    free(d->x);
    free(d->residual);
}

static float *run(const struct conv_case *c, const struct conv_data *d, struct backend *be,
                  bool in_place)
{
    struct errmsg em = {{0}};
    struct weight *w = NULL, *bias = NULL;
    size_t n = d->h_out * d->w_out * c->c_out;
    assert_ok(backend_weight_conv2d(be, &d->w.t, &w, &em));
    assert_ok(backend_weight(be, &d->bias.t, 0, 0, &bias, &em));
    float *y = test_output_new(n);
    if (in_place)
        memcpy(y, d->residual, n * sizeof *y);
    backend_conv2d(be, &(struct conv2d_args){
                           .x = d->x,
                           .h_in = c->h,
                           .w_in = c->w,
                           .w = w,
                           .bias = c->bias ? bias : NULL,
                           .residual = !c->residual ? NULL : in_place ? y : d->residual,
                           .y = y,
                           .h_out = d->h_out,
                           .w_out = d->w_out,
                           .stride = c->stride,
                           .pad_before = c->pad,
                           .upsample = c->upsample,
                           .act = c->act,
                       });
    test_output_check(y, n);
    backend_weight_free(be, w);
    backend_weight_free(be, bias);
    return y;
}

static double expected(const struct conv_case *c, const struct conv_data *d, size_t oy, size_t ox,
                       size_t o, double *magnitude)
{
    double sum = c->bias ? (double)f32_load(d->bias.t.data, c->dtype, o) : 0.0;
    *magnitude = fabs(sum);
    for (size_t i = 0; i < c->c_in * c->ksize * c->ksize; i++) {
        size_t ch = i / (c->ksize * c->ksize);
        long y = (long)(oy * c->stride + i / c->ksize % c->ksize) - (long)c->pad;
        long x = (long)(ox * c->stride + i % c->ksize) - (long)c->pad;
        if (y < 0 || x < 0 || y >= (long)(c->h * c->upsample) || x >= (long)(c->w * c->upsample))
            continue;
        size_t at = ((size_t)y / c->upsample * c->w + (size_t)x / c->upsample) * c->c_in + ch;
        double p = (double)d->x[at] *
                   (double)f32_load(d->w.t.data, c->dtype,
                                    o * c->c_in * c->ksize * c->ksize + i);
        sum += p;
        *magnitude += fabs(p);
    }
    if (c->residual)
        sum += (double)d->residual[(oy * d->w_out + ox) * c->c_out + o];
    if (c->act == ACT_SILU)
        sum /= 1.0 + exp(-sum);
    return c->act == ACT_RELU && sum < 0.0 ? 0.0 : sum;
}

/* What every level is compared with: double sums, and the absolute products that went
 * into each, which bound what rounding can do. */
struct expectation {
    size_t n;
    double *value, *magnitude;
};

static struct expectation expectation_new(const struct conv_case *c, const struct conv_data *d)
{
    struct expectation e = {.n = d->h_out * d->w_out * c->c_out};
    e.value = malloc(e.n * sizeof *e.value);
    e.magnitude = malloc(e.n * sizeof *e.magnitude);
    assert_true(e.value && e.magnitude);
    for (size_t i = 0; i < e.n; i++) {
        size_t pixel = i / c->c_out;
        e.value[i] = expected(c, d, pixel / d->w_out, pixel % d->w_out, i % c->c_out,
                              &e.magnitude[i]);
    }
    return e;
}

static void check_values(const struct conv_case *c, const struct expectation *e, const float *y,
                         enum cpu_level level)
{
    /* Winograd's sums have factors up to 100 that cancel, over all pixels of a tile
     * (mean |x w| is 1/4): 3e-6 of the absolute sum was the worst seen. */
    bool winograd =
        level > CPU_SCALAR && c->ksize == 3 && c->stride == 1 && c->c_in >= 32 && c->c_out >= 32;
    double per_tile = winograd ? 5e-6 * (double)c->c_in * 9.0 / 4.0 : 0.0;
    for (size_t i = 0; i < e->n; i++) {
        double want = e->value[i];
        /* as for linear layers: blocks of at most 256 products, summed in float */
        double tolerance = 1e-6 + 1e-6 * fabs(want) + 2e-6 * e->magnitude[i] + per_tile;
        if (!(fabs((double)y[i] - want) <= tolerance))
            fail_msg("%s %zux%zu %zu->%zu k%zu s%u p%u u%u: y[%zu] = %.9g, expected %.9g",
                     cpu_level_name(level), c->h, c->w, c->c_in, c->c_out, c->ksize, c->stride,
                     c->pad, c->upsample, i, (double)y[i], want);
    }
}

static void check(const struct conv_case *c)
{
    struct conv_data d = data_new(c);
    struct expectation e = expectation_new(c, &d);
    for (enum cpu_level l = CPU_SCALAR; l <= backends.best; l++) {
        float *y = run(c, &d, backends.be[l][0], false);
        for (unsigned t = 1; t < TEST_THREADS_MAX; t++) {
            float *again = run(c, &d, backends.be[l][t], c->residual);
            if (memcmp(y, again, e.n * sizeof *y))
                fail_msg("%s %zux%zu %zu->%zu: %u threads differ from one", cpu_level_name(l),
                         c->h, c->w, c->c_in, c->c_out, t + 1);
            test_output_free(again);
        }
        check_values(c, &e, y, l);
        test_output_free(y);
    }
    free(e.value);
    free(e.magnitude);
    data_free(&d);
}

#define CONV(h_, w_, ci, co, k_, s_, p_, u_)                                                      \
    (struct conv_case){.h = h_, .w = w_, .c_in = ci, .c_out = co, .ksize = k_, .stride = s_,      \
                       .pad = p_, .upsample = u_, .dtype = DTYPE_BF16, .bias = true}

static void test_shapes(void **state)
{
    (void)state;
    const struct conv_case cases[] = {
        CONV(1, 1, 1, 1, 3, 1, 1, 1),     CONV(5, 7, 3, 64, 3, 1, 1, 1),
        CONV(9, 6, 32, 17, 3, 1, 1, 1),   CONV(8, 11, 64, 3, 3, 1, 1, 1),
        CONV(6, 70, 64, 64, 3, 1, 1, 1),  CONV(5, 9, 130, 33, 3, 1, 1, 1),
        CONV(4, 5, 300, 65, 3, 1, 1, 1),  CONV(4, 6, 512, 70, 1, 1, 0, 1),
        CONV(6, 5, 20, 10, 1, 1, 0, 1),   CONV(8, 6, 12, 20, 3, 2, 0, 1),
        CONV(9, 7, 100, 20, 3, 2, 1, 1),  CONV(8, 140, 16, 20, 3, 2, 0, 1),
        CONV(4, 5, 33, 20, 3, 1, 1, 2),   CONV(3, 40, 128, 16, 3, 1, 1, 2),
        CONV(40, 33, 16, 48, 3, 1, 1, 1), CONV(6, 6, 8, 8, 5, 1, 2, 1),
        CONV(7, 3, 65, 15, 3, 1, 1, 1),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(&cases[i]);
}

static void test_dtypes_and_epilogues(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 36; i++) {
        struct conv_case c = CONV(5, 6, 19, 35, 3, 1, 1, 1);
        c.dtype = (enum dtype)(i % 3);
        c.act = (enum activation)(i / 3 % 3);
        c.bias = i / 9 % 2;
        c.residual = i / 18 % 2;
        check(&c);
    }
}

/* Shapes that Winograd's method takes: sizes that are no multiples of its tiles,
 * several tasks across and down, several chunks of channels, odd output channels. */
static void test_winograd_shapes(void **state)
{
    (void)state;
    struct conv_case cases[] = {
        CONV(16, 16, 32, 32, 3, 1, 1, 1),  CONV(17, 19, 64, 64, 3, 1, 1, 1),
        CONV(9, 70, 48, 33, 3, 1, 1, 1),   CONV(27, 10, 144, 70, 3, 1, 1, 1),
        CONV(8, 9, 64, 130, 3, 1, 1, 2),  CONV(18, 16, 32, 40, 3, 1, 0, 1),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cases[i].residual = i % 2;
        cases[i].act = (enum activation)(i % 3);
        check(&cases[i]);
    }
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
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_winograd_shapes),
        cmocka_unit_test(test_dtypes_and_epilogues),
    };
    printf("# seed %u, best level %s\n", TEST_SEED, cpu_level_name(cpu_detect()));
    return cmocka_run_group_tests_name("conv", tests, setup, teardown);
}

/* SPDX-License-Identifier: MIT */
/* Norms, rotary embedding and element-wise operations against loops in double
 * precision, for each instruction set that this machine has. */
#include "guarded.h"

#include "base/dtype.h"

/* Results are float32: half a unit in the last place is 6e-8. The factor of a norm
 * (summed in double, rounded once) and two or three products follow. */
#define RELATIVE 5e-7

static const enum cpu_level levels[] = {CPU_SCALAR, CPU_AVX2, CPU_AVX512};

static void near(double got, double want, double scale, const char *what, enum cpu_level level,
                 size_t i)
{
    if (!(fabs(got - want) <= RELATIVE * (fabs(want) + scale)))
        fail_msg("%s, %s: element %zu is %.9g, not %.9g", what, cpu_level_name(level), i, got,
                 want);
}

/* Run fn for each instruction set with 2 threads. */
static void each_level(void (*fn)(struct backend *be, enum cpu_level level))
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels && levels[i] <= cpu_detect(); i++) {
        struct test_backend t = test_backend_new(levels[i], 2);
        fn(t.be, levels[i]);
        test_backend_free(&t);
    }
}

static struct weight *vector_weight(struct backend *be, const float *values, size_t n)
{
    struct errmsg em;
    struct weight *w = NULL;
    struct tensor t = {.name = "w", .data = values, .dtype = DTYPE_F32, .n_dims = 1, .n_elems = n};
    t.shape[0] = n;
    assert_ok(backend_weight(be, &t, 0, 0, &w, &em));
    return w;
}

/* Around the vectors of 8 and 16 floats and the steps of four of them. */
static const size_t widths[] = {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 200, 3072};
#define N_WIDTHS (sizeof widths / sizeof *widths)

static void rms_norm_row(double *want, const float *x, const float *w, size_t n, double eps)
{
    double sum = 0;
    for (size_t c = 0; c < n; c++)
        sum += (double)x[c] * x[c];
    for (size_t c = 0; c < n; c++)
        want[c] = x[c] / sqrt(sum / (double)n + eps) * (w ? w[c] : 1);
}

static void check_rms_norm(struct backend *be, enum cpu_level level)
{
    struct random r = {1};
    double want[3072];
    for (size_t i = 0; i < N_WIDTHS; i++) {
        size_t n = widths[i], shift = i % 4, rows = n > 1000 ? 40 : 3;
        struct guarded x = guarded_new(rows, n, n + shift, shift);
        struct guarded y = guarded_new(rows, n, n + 3, 1);
        struct guarded wv = guarded_new(1, n, n, 0);
        guarded_fill(&x, &r, 3, 1);
        guarded_fill(&wv, &r, 1, 1);
        struct weight *w = vector_weight(be, wv.p, n);
        backend_rms_norm(be, y.p, y.ld, x.p, x.ld, rows, n, w, 1e-6f);
        guarded_check(&y, "rms_norm");
        for (size_t row = 0; row < rows; row++) {
            rms_norm_row(want, x.p + row * x.ld, wv.p, n, 1e-6);
            for (size_t c = 0; c < n; c++)
                near(y.p[row * y.ld + c], want[c], 0, "rms_norm", level, c);
        }
        backend_rms_norm(be, x.p, x.ld, x.p, x.ld, rows, n, w, 1e-6f);
        guarded_check(&x, "rms_norm in place");
        for (size_t row = 0; row < rows; row++)
            assert_memory_equal(x.p + row * x.ld, y.p + row * y.ld, n * sizeof(float));
        backend_weight_free(be, w);
        guarded_free(&x);
        guarded_free(&y);
        guarded_free(&wv);
    }
}

static void check_layer_norm_mod(struct backend *be, enum cpu_level level)
{
    struct random r = {2};
    for (size_t i = 0; i < N_WIDTHS; i++) {
        size_t n = widths[i], shift = i % 4, rows = n > 1000 ? 40 : 3;
        struct guarded x = guarded_new(rows, n, n + shift, shift);
        struct guarded y = guarded_new(rows, n, n + 5, 2);
        struct guarded mod = guarded_new(2, n, n, 1);
        guarded_fill(&x, &r, 2, 0.5f);
        guarded_fill(&mod, &r, 1, 0);
        backend_layer_norm_mod(be, y.p, y.ld, x.p, x.ld, rows, n, mod.p, mod.p + n, 1e-6f);
        guarded_check(&y, "layer_norm_mod");
        for (size_t row = 0; row < rows; row++) {
            const float *xr = x.p + row * x.ld;
            double mean = 0, var = 0;
            for (size_t c = 0; c < n; c++)
                mean += xr[c];
            mean /= (double)n;
            for (size_t c = 0; c < n; c++)
                var += (xr[c] - mean) * (xr[c] - mean);
            double f = 1 / sqrt(var / (double)n + 1e-6);
            for (size_t c = 0; c < n; c++) {
                double want = (xr[c] - mean) * f * (1.0 + mod.p[n + c]) + mod.p[c];
                /* the mean is rounded to a float, and the shift may cancel the rest; a
                 * single channel is all cancellation */
                double scale = 4 + fabs(mean) * f;
                near(y.p[row * y.ld + c], want, scale, "layer_norm_mod", level, c);
            }
        }
        backend_layer_norm_mod(be, x.p, x.ld, x.p, x.ld, rows, n, mod.p, mod.p + n, 1e-6f);
        for (size_t row = 0; row < rows; row++)
            assert_memory_equal(x.p + row * x.ld, y.p + row * y.ld, n * sizeof(float));
        guarded_free(&x);
        guarded_free(&y);
        guarded_free(&mod);
    }
}

/* One head in double, from x to want. */
static void rope_head(double *want, const float *x, const float *w, size_t dim, double eps,
                      enum rope_style style, const float *cos, const float *sin)
{
    if (w)
        rms_norm_row(want, x, w, dim, eps);
    else
        for (size_t c = 0; c < dim; c++)
            want[c] = x[c];
    for (size_t k = 0; k < dim / 2 && style != ROPE_NONE; k++) {
        size_t ia = style == ROPE_HALVES ? k : 2 * k;
        size_t ib = style == ROPE_HALVES ? k + dim / 2 : ia + 1;
        double a = want[ia], b = want[ib];
        want[ia] = a * cos[k] - b * sin[k];
        want[ib] = a * sin[k] + b * cos[k];
    }
}

static void check_rope_case(struct backend *be, enum cpu_level level, size_t dim,
                            enum rope_style style, bool with_norm)
{
    struct random r = {dim};
    const size_t n = 37, heads = 3;
    double want[512];
    struct guarded x = guarded_new(n, heads * dim, heads * dim + dim % 5, dim % 3);
    struct guarded was = guarded_new(n, heads * dim, x.ld, dim % 3);
    struct guarded angle = guarded_new(2 * n, dim / 2, dim / 2, 1);
    struct guarded wv = guarded_new(1, dim, dim, 0);
    guarded_fill(&x, &r, 3, 0);
    memcpy(was.block, x.block, x.n_block * sizeof(float));
    guarded_fill(&angle, &r, 1, 0);
    guarded_fill(&wv, &r, 1, 1);
    struct weight *w = vector_weight(be, wv.p, dim);
    struct head_norm_rope_args a = {.x = x.p, .ldx = x.ld, .n = n, .n_heads = heads,
                                    .head_dim = dim, .w = with_norm ? w : NULL, .eps = 1e-6f,
                                    .style = style};
    if (style != ROPE_NONE) {
        a.cos = angle.p;
        a.sin = angle.p + n * (dim / 2);
    }
    backend_head_norm_rope(be, &a);
    guarded_check(&x, "head_norm_rope");
    for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < heads; h++) {
            size_t at = i * x.ld + h * dim;
            rope_head(want, was.p + at, with_norm ? wv.p : NULL, dim, 1e-6, style,
                      angle.p + i * (dim / 2), angle.p + (n + i) * (dim / 2));
            for (size_t c = 0; c < dim; c++) /* the two products may cancel */
                near(x.p[at + c], want[c], 4, "head_norm_rope", level, c);
        }
    backend_weight_free(be, w);
    guarded_free(&x);
    guarded_free(&was);
    guarded_free(&angle);
    guarded_free(&wv);
}

static void check_head_norm_rope(struct backend *be, enum cpu_level level)
{
    static const size_t dims[] = {2, 6, 16, 32, 40, 64, 72, 80, 128, 512};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (enum rope_style s = ROPE_NONE; s <= ROPE_HALVES; s++) {
            check_rope_case(be, level, dims[i], s, true);
            check_rope_case(be, level, dims[i], s, false);
        }
}

struct group_shape {
    size_t n, channels, n_groups;
    float mean;
    enum activation act;
};

static const struct group_shape group_shapes[] = {
    {1, 32, 32, 0, ACT_NONE},     {1, 8, 2, 0, ACT_SILU},     {5, 20, 5, 1, ACT_RELU},
    {64, 64, 4, 0, ACT_SILU},     {77, 48, 3, 3, ACT_NONE},   {300, 128, 32, 0, ACT_SILU},
    {97, 512, 32, 1, ACT_SILU},   {33, 17, 1, 0, ACT_RELU},   {40001, 64, 32, 0, ACT_SILU},
    {9999, 130, 13, 0, ACT_NONE}, {5000, 32, 8, 50, ACT_NONE},
};

static double activate(double x, enum activation act)
{
    if (act == ACT_SILU)
        return x / (1 + exp(-x));
    return act == ACT_RELU && x < 0 ? 0 : x;
}

static void check_group_case(struct backend *be, enum cpu_level level, const struct group_shape *s)
{
    struct random r = {s->n};
    size_t per_group = s->channels / s->n_groups;
    struct guarded x = guarded_new(s->n, s->channels, s->channels, s->n % 3);
    struct guarded y = guarded_new(s->n, s->channels, s->channels, 1);
    struct guarded wb = guarded_new(2, s->channels, s->channels, 0);
    guarded_fill(&x, &r, 2, s->mean);
    guarded_fill(&wb, &r, 1, 0.5f);
    struct guarded before = guarded_new(s->n, s->channels, s->channels, 0);
    memcpy(before.p, x.p, s->n * s->channels * sizeof(float));
    struct weight *w = vector_weight(be, wb.p, s->channels);
    struct weight *b = vector_weight(be, wb.p + s->channels, s->channels);
    backend_group_norm(be, y.p, x.p, s->n, s->channels, s->n_groups, w, b, 1e-6f, s->act);
    guarded_check(&y, "group_norm");
    for (size_t g = 0; g < s->n_groups; g++) {
        double mean = 0, var = 0, count = (double)(s->n * per_group);
        for (size_t i = 0; i < s->n * per_group; i++)
            mean += x.p[i / per_group * s->channels + g * per_group + i % per_group] / count;
        for (size_t i = 0; i < s->n * per_group; i++) {
            double d = x.p[i / per_group * s->channels + g * per_group + i % per_group] - mean;
            var += d * d / count;
        }
        double f = 1 / sqrt(var + 1e-6);
        for (size_t i = 0; i < s->n * per_group; i++) {
            size_t c = g * per_group + i % per_group, at = i / per_group * s->channels + c;
            double want = activate((x.p[at] - mean) * f * wb.p[c] + wb.p[s->channels + c], s->act);
            /* y = x * a + b as in PyTorch: with |x * a| far above |y|, its rounding shows */
            near(y.p[at], want, 4 + 3 * (fabs(mean) + 2) * f, "group_norm", level, at);
        }
    }
    /* in two halves, the second of them in two parts, in place: the same bits */
    struct guarded affine = guarded_new(2, s->channels, s->channels, 0);
    float *scale = affine.p, *shift = affine.p + s->channels;
    size_t half = s->n / 2, at = half * s->channels;
    backend_group_norm_affine(be, scale, shift, x.p, s->n, s->channels, s->n_groups, w, b, 1e-6f);
    guarded_check(&affine, "group_norm_affine");
    backend_affine_act(be, x.p + at, x.p + at, s->n - half, s->channels, scale, shift, s->act);
    backend_affine_act(be, x.p, x.p, half, s->channels, scale, shift, s->act);
    guarded_check(&x, "affine_act");
    assert_memory_equal(x.p, y.p, s->n * s->channels * sizeof(float));
    guarded_free(&affine);
    memcpy(x.p, before.p, s->n * s->channels * sizeof(float));
    backend_group_norm(be, x.p, x.p, s->n, s->channels, s->n_groups, w, b, 1e-6f, s->act);
    assert_memory_equal(x.p, y.p, s->n * s->channels * sizeof(float));
    backend_weight_free(be, w);
    backend_weight_free(be, b);
    guarded_free(&x);
    guarded_free(&y);
    guarded_free(&wb);
    guarded_free(&before);
}

static void check_group_norm(struct backend *be, enum cpu_level level)
{
    for (size_t i = 0; i < sizeof group_shapes / sizeof *group_shapes; i++)
        check_group_case(be, level, &group_shapes[i]);
}

/* Rows come out exactly, from a table at any address. */
static void check_embed(struct backend *be, enum cpu_level level)
{
    static const int32_t ids[] = {3, 0, 6, 3, 1};
    const size_t n_ids = sizeof ids / sizeof *ids, n_rows = 7;
    struct errmsg em;
    for (enum dtype type = DTYPE_F32; type <= DTYPE_BF16; type++)
        for (size_t width = 1; width < 70; width += 4) {
            size_t row_bytes = width * dtype_size(type);
            unsigned char *block = malloc(n_rows * row_bytes + 1);
            assert_non_null(block);
            struct random r = {width};
            for (size_t i = 0; i < n_rows * width; i++) {
                float f = random_next(&r);
                uint16_t h = type == DTYPE_BF16 ? bf16_from_f32(f) : (uint16_t)(0x3000 + i % 0x800);
                memcpy(block + 1 + i * dtype_size(type),
                       type == DTYPE_F32 ? (const void *)&f : (const void *)&h, dtype_size(type));
            }
            struct tensor t = {.name = "table", .data = block + 1, .dtype = type, .n_dims = 2,
                               .shape = {n_rows, width}, .n_elems = n_rows * width};
            struct weight *w = NULL;
            assert_ok(backend_weight(be, &t, 0, 0, &w, &em));
            struct guarded y = guarded_new(n_ids, width, width + 3, 1);
            backend_embed(be, y.p, y.ld, w, ids, n_ids);
            guarded_check(&y, "embed");
            for (size_t i = 0; i < n_ids; i++)
                for (size_t c = 0; c < width; c++) {
                    float want = f32_load(block + 1, type, (size_t)ids[i] * width + c);
                    if (y.p[i * y.ld + c] != want)
                        fail_msg("embed, %s: type %d width %zu", cpu_level_name(level), (int)type,
                                 width);
                }
            backend_weight_free(be, w);
            guarded_free(&y);
            free(block);
        }
}

/* Lengths around a vector and around a task of 16,384. */
static const size_t lengths[] = {1, 7, 8, 17, 100, 16383, 16384, 16401, 40000};

static void check_element_wise(struct backend *be, enum cpu_level level)
{
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t n = lengths[i];
        struct random r = {n};
        struct guarded x = guarded_new(1, n, n, i % 4), y = guarded_new(1, n, n, i % 3);
        struct guarded z = guarded_new(1, n, n, 1);
        guarded_fill(&x, &r, 80, 0);
        guarded_fill(&z, &r, 1, 0);
        backend_silu(be, y.p, x.p, n);
        guarded_check(&y, "silu");
        for (size_t c = 0; c < n; c++)
            near(y.p[c], x.p[c] / (1 + exp(-(double)x.p[c])), 1e-37, "silu", level, c);
        backend_tanh_scaled(be, y.p, x.p, 3, n);
        guarded_check(&y, "tanh_scaled");
        for (size_t c = 0; c < n; c++)
            near(y.p[c], 3 * tanh(x.p[c] / 3.0), 0, "tanh_scaled", level, c);
        memcpy(y.p, z.p, n * sizeof(float));
        backend_axpy(be, y.p, -0.3f, x.p, n);
        guarded_check(&y, "axpy");
        for (size_t c = 0; c < n; c++)
            near(y.p[c], z.p[c] - (double)0.3f * x.p[c], 25, "axpy", level, c);
        guarded_free(&x);
        guarded_free(&y);
        guarded_free(&z);
    }
}

static void check_silu_extremes(struct backend *be, enum cpu_level level)
{
    float x[] = {-INFINITY, -1e30f, -200, -104, -89, -88, -1e-30f, -0.0f, 0, 1e-30f,
                 88,        89,     200,  1e30f, INFINITY, NAN};
    float y[sizeof x / sizeof *x];
    size_t n = sizeof x / sizeof *x;
    backend_silu(be, y, x, n);
    for (size_t i = 1; i + 1 < n; i++) {
        double want = isinf(x[i]) ? (double)x[i] : x[i] / (1 + exp(-(double)x[i]));
        if (isinf(y[i]) && isinf(want))
            continue;
        if (!(fabs(y[i] - want) <= 1e-6 * fabs(want) + 1e-36))
            fail_msg("silu, %s: of %g is %g, not %g", cpu_level_name(level), (double)x[i],
                     (double)y[i], want);
    }
    assert_true(isnan(y[n - 1]));
}

static void test_rms_norm(void **state)
{
    (void)state;
    each_level(check_rms_norm);
}

static void test_layer_norm_mod(void **state)
{
    (void)state;
    each_level(check_layer_norm_mod);
}

static void test_head_norm_rope(void **state)
{
    (void)state;
    each_level(check_head_norm_rope);
}

static void test_group_norm(void **state)
{
    (void)state;
    each_level(check_group_norm);
}

static void test_embed(void **state)
{
    (void)state;
    each_level(check_embed);
}

static void test_element_wise(void **state)
{
    (void)state;
    each_level(check_element_wise);
    each_level(check_silu_extremes);
}

/* The bytes of everything that threads share are the same for any number of them. */
static void test_threads(void **state)
{
    (void)state;
    const size_t n = 5003, channels = 96, size = n * channels;
    for (size_t l = 0; l < sizeof levels / sizeof *levels && levels[l] <= cpu_detect(); l++) {
        float *out[3];
        for (unsigned threads = 1; threads <= 3; threads++) {
            struct test_backend t = test_backend_new(levels[l], threads);
            struct random r = {7};
            struct guarded x = guarded_new(n, channels, channels, 0);
            struct guarded v = guarded_new(2, channels, channels, 0);
            guarded_fill(&x, &r, 1, 0.1f);
            guarded_fill(&v, &r, 1, 1);
            struct weight *w = vector_weight(t.be, v.p, channels);
            struct head_norm_rope_args a = {.x = x.p, .ldx = channels, .n = n, .n_heads = 3,
                                            .head_dim = 32, .style = ROPE_NONE};
            backend_group_norm(t.be, x.p, x.p, n, channels, 8, w, w, 1e-6f, ACT_SILU);
            backend_layer_norm_mod(t.be, x.p, channels, x.p, channels, n, channels, v.p,
                                   v.p + channels, 1e-6f);
            backend_rms_norm(t.be, x.p, channels, x.p, channels, n, channels, w, 1e-6f);
            backend_head_norm_rope(t.be, &a);
            backend_silu(t.be, x.p, x.p, size);
            backend_tanh_scaled(t.be, x.p, x.p, 2, size);
            backend_axpy(t.be, x.p, 0.7f, x.p, size);
            out[threads - 1] = malloc(size * sizeof(float));
            assert_non_null(out[threads - 1]);
            memcpy(out[threads - 1], x.p, size * sizeof(float));
            backend_weight_free(t.be, w);
            guarded_free(&x);
            guarded_free(&v);
            test_backend_free(&t);
        }
        assert_memory_equal(out[0], out[1], size * sizeof(float));
        assert_memory_equal(out[0], out[2], size * sizeof(float));
        for (int i = 0; i < 3; i++)
            free(out[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rms_norm),       cmocka_unit_test(test_layer_norm_mod),
        cmocka_unit_test(test_head_norm_rope), cmocka_unit_test(test_group_norm),
        cmocka_unit_test(test_embed),          cmocka_unit_test(test_element_wise),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("norms", tests, NULL, NULL);
}

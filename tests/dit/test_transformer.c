/* SPDX-License-Identifier: MIT */
/* The transformer against diffusers', stage by stage, and everything that can go
 * wrong with one. */
#include "base/buf.h"
#include "base/file.h"
#include "base/pool.h"
#include "made.h"
#include "models/transformer.h"
#include "test.h"

/* |a - b| <= tolerance · (1 + |b|). Both sides compute in float32 and add up in
 * different orders: sums of up to 1024 products, through up to six blocks; measured at
 * most 3e-6. The cases with 256 sinusoids get more: a few of torch's 128 frequencies are
 * rounded the other way than ours, which an angle of 875 (the timestep) makes up to 5e-5
 * and one of 4000 (the guidance) 2.4e-4 in the sinusoid; measured 1.3e-5 and 9e-5. (With
 * torch's exp replaced by a correctly rounded one they agree to 6e-6.) */
#define TOLERANCE 1e-5
#define TOLERANCE_TIMESTEP 4e-5
#define TOLERANCE_GUIDANCE 2e-4

/* ---- fixtures ------------------------------------------------------------------ */

struct fixture {
    char *made; /* temporary folder, or NULL */
    char path[512];
    struct weights *io;
    struct pool *pool;
    struct backend *be;
    struct transformer *t;
    struct transformer_info info;
    size_t n_text, n_image, n_out;
    struct position *positions;
    float *image, *text;
    float scalars[4];
    double tolerance;
};

static void read_io(const struct weights *io, const char *name, struct tensor *out)
{
    struct errmsg em;
    assert_ok(weights_get(io, name, out, &em));
    assert_int_equal(out->dtype, DTYPE_F32);
}

static float *drawn(const char *name, size_t n)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    made_draw(name, 0, x, n);
    return x;
}

/* Where the model of a case lies; made when it is not stored. */
static void find_model(struct fixture *f, const char *case_name)
{
    char name[256];
    snprintf(name, sizeof name, "dit/%s/tensors.txt", case_name);
    if (!file_exists(data_path(name))) {
        snprintf(name, sizeof name, "dit/%s", case_name);
        snprintf(f->path, sizeof f->path, "%s", data_path(name));
        return;
    }
    struct made m;
    f->made = made_dir();
    snprintf(f->path, sizeof f->path, "%s", f->made);
    made_read(&m, case_name);
    made_write(&m, f->made, "diffusion_pytorch_model");
    made_deinit(&m);
    snprintf(name, sizeof name, "dit/%s/config.json", case_name);
    made_copy(f->made, "config.json", data_path(name));
}

static void open_backend(struct fixture *f, enum cpu_level level, unsigned n_threads)
{
    struct errmsg em;
    assert_ok(pool_new(n_threads, &f->pool, &em));
    assert_ok(backend_cpu_new(f->pool, level, &f->be, &em));
}

static void close_backend(struct fixture *f)
{
    backend_free(f->be);
    pool_free(f->pool);
    f->be = NULL;
    f->pool = NULL;
}

/* io_name: of the expectations; case_name: of the model. */
static void read_inputs(struct fixture *f, const char *io_name)
{
    struct errmsg em;
    char name[256];
    snprintf(name, sizeof name, "dit/%s-io.safetensors", io_name);
    assert_ok(weights_open(data_path(name), &f->io, &em));
    assert_ok(transformer_open(f->be, f->path, &f->t, &em));
    f->info = transformer_info(f->t);

    struct tensor positions;
    struct tensor velocity;
    struct tensor scalars;
    read_io(f->io, "positions", &positions);
    read_io(f->io, "velocity.0", &velocity);
    read_io(f->io, "scalars", &scalars);
    memcpy(f->scalars, scalars.data, sizeof f->scalars);
    f->positions = malloc(positions.n_elems * sizeof(float));
    assert_non_null(f->positions);
    memcpy(f->positions, positions.data, positions.n_elems * sizeof(float));
    f->n_text = 0;
    /* text tokens come first and are the ones at t = h = w = 0; so is the first image
     * token, whose l is 0 too: as the only text token of a run that begins with l = 0 */
    while (f->n_text < positions.shape[0] && f->positions[f->n_text].l == (float)f->n_text &&
           (f->n_text == 0 || f->positions[f->n_text].l > 0))
        f->n_text++;
    f->n_image = positions.shape[0] - f->n_text;
    f->n_out = velocity.shape[0];
    assert_int_equal(velocity.shape[1], f->info.out_channels);
    f->image = drawn("image", f->n_image * f->info.in_channels);
    f->text = drawn("text", f->n_text * f->info.text_width);
}

static void fixture_open(struct fixture *f, const char *case_name, enum cpu_level level,
                         unsigned n_threads)
{
    *f = (struct fixture){0};
    find_model(f, case_name);
    open_backend(f, level, n_threads);
    read_inputs(f, case_name);
}

static void fixture_close(struct fixture *f)
{
    transformer_close(f->t);
    close_backend(f);
    weights_close(f->io);
    free(f->positions);
    free(f->image);
    free(f->text);
    if (f->made)
        made_remove(f->made);
}

static struct transformer_run *run_new(const struct fixture *f)
{
    struct errmsg em;
    struct transformer_run *r = NULL;
    assert_ok(
        transformer_run_new(f->t, f->text, f->n_text, f->n_image, f->n_out, f->positions, &r, &em));
    return r;
}

/* The velocity of call 0 or 1; malloc'ed. */
static float *forward(const struct fixture *f, struct transformer_run *r, unsigned call)
{
    struct errmsg em;
    float *v = malloc(f->n_out * f->info.out_channels * sizeof *v);
    assert_non_null(v);
    assert_ok(transformer_forward(r, f->image, f->scalars[2 * call], f->scalars[2 * call + 1], v,
                                  NULL, &em));
    return v;
}

static double compare(const struct fixture *f, const char *case_name, const char *stage,
                      const float *got, const float *expected, size_t n)
{
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        double e = expected[i];
        double d = fabs(got[i] - e) / (1.0 + fabs(e));
        if (!(d <= f->tolerance))
            fail_msg("%s, %s: element %zu is %.9g, diffusers has %.9g", case_name, stage, i,
                     (double)got[i], e);
        worst = fmax(worst, d);
    }
    return worst;
}

struct observer {
    const struct fixture *f;
    const char *case_name;
    size_t n_stages;
    double worst;
};

static void on_stage(void *ctx, const char *stage, const float *data, size_t rows, size_t channels)
{
    struct observer *o = ctx;
    struct tensor expected;
    o->n_stages++;
    if (!weights_has(o->f->io, stage))
        return;
    read_io(o->f->io, stage, &expected);
    size_t first = 0;
    if (rows != expected.shape[0]) {
        /* the last single block computes only the rows that have a velocity */
        assert_int_equal(rows, o->f->n_out);
        first = o->f->n_text;
    }
    assert_int_equal(channels, expected.shape[1]);
    const float *e = (const float *)expected.data + first * channels;
    o->worst = fmax(o->worst, compare(o->f, o->case_name, stage, data, e, rows * channels));
}

static void check_case(const char *case_name, double tolerance, enum cpu_level level)
{
    struct fixture f;
    fixture_open(&f, case_name, level, 2);
    f.tolerance = tolerance;
    struct observer o = {.f = &f, .case_name = case_name};
    struct transformer_run *r = run_new(&f);
    transformer_run_observe(r, on_stage, &o);
    for (unsigned call = 0; call < 2; call++) {
        char name[16];
        struct tensor expected;
        snprintf(name, sizeof name, "velocity.%u", call);
        read_io(f.io, name, &expected);
        float *v = forward(&f, r, call);
        o.worst = fmax(o.worst, compare(&f, case_name, name, v, expected.data, expected.n_elems));
        if (call == 0)
            assert_int_equal(o.n_stages, 1 + 2 * f.info.n_double + f.info.n_single);
        transformer_run_observe(r, NULL, NULL);
        free(v);
    }
    print_message("# %s, %s: worst relative difference %.2g\n", case_name, cpu_level_name(level),
                  o.worst);
    transformer_run_free(r);
    fixture_close(&f);
}

static const struct {
    const char *name;
    double tolerance;
} cases[] = {
    {"tiny", TOLERANCE},
    {"sharded", TOLERANCE},
    {"bf16", TOLERANCE},
    {"nodouble", TOLERANCE},
    {"nosingle", TOLERANCE},
    {"head64", TOLERANCE_TIMESTEP},
    {"head128", TOLERANCE_GUIDANCE},
    {"deep", TOLERANCE_TIMESTEP},
    {"klein", TOLERANCE_TIMESTEP},
};
#define N_CASES (sizeof cases / sizeof *cases)

static void check_cases(enum cpu_level level)
{
    if (level > cpu_detect())
        skip_because("this processor has no %s", cpu_level_name(level));
    for (size_t i = 0; i < N_CASES; i++)
        check_case(cases[i].name, cases[i].tolerance, level);
}

static void test_scalar(void **state)
{
    (void)state;
    check_cases(CPU_SCALAR);
}

static void test_avx2(void **state)
{
    (void)state;
    check_cases(CPU_AVX2);
}

static void test_avx512(void **state)
{
    (void)state;
    check_cases(CPU_AVX512);
}

/* More image tokens than the second pass of a block takes at once. */
static void test_many_tokens(void **state)
{
    (void)state;
    struct fixture f = {0};
    find_model(&f, "bf16");
    open_backend(&f, cpu_detect(), 2);
    read_inputs(&f, "bf16-long");
    f.tolerance = TOLERANCE;
    assert_int_equal(f.n_image, 2248);
    struct transformer_run *r = run_new(&f);
    for (unsigned call = 0; call < 2; call++) {
        char name[16];
        struct tensor expected;
        snprintf(name, sizeof name, "velocity.%u", call);
        read_io(f.io, name, &expected);
        float *v = forward(&f, r, call);
        compare(&f, "bf16-long", name, v, expected.data, expected.n_elems);
        free(v);
    }
    transformer_run_free(r);
    fixture_close(&f);
}

/* ---- the same bytes ------------------------------------------------------------- */

static void assert_same(const struct fixture *f, const float *a, const float *b)
{
    assert_memory_equal(a, b, f->n_out * f->info.out_channels * sizeof *a);
}

static void test_threads(void **state)
{
    (void)state;
    static const char *const some[] = {"bf16", "head64", "deep"};
    for (size_t i = 0; i < 3; i++) {
        float *first = NULL;
        for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
            struct fixture f;
            fixture_open(&f, some[i], cpu_detect(), n_threads);
            struct transformer_run *r = run_new(&f);
            float *v = forward(&f, r, 0);
            if (first)
                assert_same(&f, v, first);
            free(first);
            first = v;
            transformer_run_free(r);
            fixture_close(&f);
        }
        free(first);
    }
}

/* A run keeps nothing of one call for the next, and two runs do not meet. */
static void test_calls_are_independent(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "sharded", cpu_detect(), 2);
    struct transformer_run *r = run_new(&f);
    struct transformer_run *other = run_new(&f);
    float *a = forward(&f, r, 0);
    float *b = forward(&f, r, 1);
    float *c = forward(&f, r, 0);
    float *d = forward(&f, other, 0);
    assert_same(&f, a, c);
    assert_same(&f, a, d);
    assert_memory_not_equal(a, b, f.n_out * f.info.out_channels * sizeof *a);
    free(a);
    free(b);
    free(c);
    free(d);
    transformer_run_free(r);
    transformer_run_free(other);
    fixture_close(&f);
}

/* Guidance matters to models with its embedding, and to no others. */
static void test_guidance(void **state)
{
    (void)state;
    static const char *const some[] = {"sharded", "bf16"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        fixture_open(&f, some[i], cpu_detect(), 1);
        struct transformer_run *r = run_new(&f);
        float *a = forward(&f, r, 0);
        f.scalars[1] += 1.0f;
        float *b = forward(&f, r, 0);
        int differs = memcmp(a, b, f.n_out * f.info.out_channels * sizeof *a) != 0;
        assert_int_equal(differs, f.info.guidance_embed);
        free(a);
        free(b);
        transformer_run_free(r);
        fixture_close(&f);
    }
}

/* BFL's layout is the same model: the same bytes come out. */
static void check_bfl(struct fixture *f, const char *path)
{
    struct errmsg em;
    struct transformer_run *r = run_new(f);
    float *expected = forward(f, r, 0);
    struct transformer_info info = f->info;
    transformer_run_free(r);
    transformer_close(f->t);
    f->t = NULL;
    assert_ok(transformer_open(f->be, path, &f->t, &em));
    f->info = transformer_info(f->t);
    assert_memory_equal(&f->info.in_channels, &info.in_channels, 8 * sizeof(size_t));
    assert_int_equal(f->info.guidance_embed, info.guidance_embed);
    assert_int_equal(f->info.n_params, info.n_params);
    assert_int_equal(f->info.weight_bytes, info.weight_bytes);
    r = run_new(f);
    float *v = forward(f, r, 0);
    assert_same(f, v, expected);
    free(v);
    free(expected);
    transformer_run_free(r);
}

static void test_bfl(void **state)
{
    (void)state;
    static const char *const some[] = {"bf16", "tiny"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        char name[64];
        snprintf(name, sizeof name, "dit/%s/bfl.safetensors", some[i]);
        fixture_open(&f, some[i], cpu_detect(), 1);
        check_bfl(&f, data_path(name));
        fixture_close(&f);
    }
}

/* A BFL file has no place for what BFL's models all share: this one has other axes,
 * theta and eps, so it opens and draws something else. */
static void test_bfl_without_doubles(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f = {0};
    open_backend(&f, cpu_detect(), 1);
    assert_ok(transformer_open(f.be, data_path("dit/nodouble/bfl.safetensors"), &f.t, &em));
    struct transformer_info info = transformer_info(f.t);
    assert_int_equal(info.hidden, 48);
    assert_int_equal(info.n_heads, 3);
    assert_int_equal(info.head_dim, 16);
    assert_int_equal(info.n_double, 0);
    assert_int_equal(info.n_single, 3);
    assert_int_equal(info.in_channels, 8);
    assert_int_equal(info.out_channels, 8);
    assert_int_equal(info.text_width, 16);
    assert_false(info.guidance_embed);
    fixture_close(&f);
}

struct renamed {
    struct weights *from;
    struct weights_spec *specs;
    size_t n;
    char (*names)[160];
};

static enum err copy_elements(void *ctx, size_t i, size_t first, size_t n, void *out)
{
    const struct renamed *r = ctx;
    struct tensor t;
    enum err rc = weights_at(r->from, i, &t, NULL);
    size_t size = dtype_size(t.dtype);
    if (!rc)
        memcpy(out, (const char *)t.data + first * size, n * size);
    return rc;
}

/* The BFL file of a case again, each name in the format given. */
static void rename_open(struct renamed *r, const char *case_name, const char *fmt)
{
    struct errmsg em;
    char name[64];
    snprintf(name, sizeof name, "dit/%s/bfl.safetensors", case_name);
    assert_ok(weights_open(data_path(name), &r->from, &em));
    r->n = weights_n_tensors(r->from);
    r->specs = calloc(r->n, sizeof *r->specs);
    r->names = calloc(r->n, sizeof *r->names);
    assert_non_null(r->specs);
    assert_non_null(r->names);
    for (size_t i = 0; i < r->n; i++) {
        struct tensor t;
        assert_ok(weights_at(r->from, i, &t, &em));
        snprintf(r->names[i], sizeof r->names[i], fmt, t.name);
        r->specs[i] =
            (struct weights_spec){.name = r->names[i], .dtype = t.dtype, .n_dims = t.n_dims};
        memcpy(r->specs[i].shape, t.shape, sizeof t.shape);
    }
}

static void rename_close(struct renamed *r)
{
    weights_close(r->from);
    free(r->specs);
    free(r->names);
}

static void test_bfl_prefix(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f;
    struct renamed r;
    char *dir = made_dir();
    rename_open(&r, "bf16", "model.diffusion_model.%s");
    assert_ok(weights_write(dir, "one", r.specs, r.n, 0, copy_elements, &r, &em));
    char *path = path_join(dir, "one.safetensors");
    fixture_open(&f, "bf16", cpu_detect(), 1);
    check_bfl(&f, path);
    fixture_close(&f);
    rename_close(&r);
    free(path);
    made_remove(dir);
}

/* ---- cancelling ------------------------------------------------------------------ */

struct canceller {
    size_t calls, at, total;
};

static bool on_tick(void *ctx, size_t done, size_t total)
{
    struct canceller *c = ctx;
    assert_int_equal(done, c->calls);
    c->total = total;
    return c->calls++ != c->at;
}

static void test_cancel(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f;
    fixture_open(&f, "deep", cpu_detect(), 2);
    struct transformer_run *r = run_new(&f);
    float *expected = forward(&f, r, 0);
    float *v = malloc(f.n_out * f.info.out_channels * sizeof *v);
    assert_non_null(v);
    for (size_t at = 0; at <= 6; at++) {
        struct canceller c = {.at = at};
        struct progress p = {.tick = on_tick, .ctx = &c};
        assert_fails(transformer_forward(r, f.image, 0.5f, 0.0f, v, &p, &em), ERR_CANCELLED,
                     "cancelled");
        assert_int_equal(c.calls, at + 1);
        assert_int_equal(c.total, 6);
    }
    struct canceller never = {.at = SIZE_MAX};
    struct progress p = {.tick = on_tick, .ctx = &never};
    assert_ok(transformer_forward(r, f.image, f.scalars[0], f.scalars[1], v, &p, &em));
    assert_int_equal(never.calls, 7);
    assert_same(&f, v, expected);
    free(v);
    free(expected);
    transformer_run_free(r);
    fixture_close(&f);
}

/* ---- memory and faults ------------------------------------------------------------ */

/* The CPU's table with some operations counted, and the one that is due failing. */
static struct {
    const struct backend_ops *real;
    struct backend_ops ops;
    size_t calls, fail_at;
    size_t allocated_bytes, peak_bytes;
} fault;

static bool fault_due(void)
{
    return ++fault.calls == fault.fail_at;
}

static enum err fault_alloc(struct backend *be, size_t size_bytes, void **out, struct errmsg *em)
{
    if (fault_due())
        return err_nomem(em, size_bytes);
    fault.allocated_bytes += size_bytes;
    fault.peak_bytes = fault.allocated_bytes; /* nothing is freed before the last of them */
    return fault.real->alloc(be, size_bytes, out, em);
}

static enum err fault_upload(struct backend *be, void *dst, const void *src, size_t size_bytes,
                             struct errmsg *em)
{
    if (fault_due())
        return err_set(em, ERR_DEVICE, "upload failed");
    return fault.real->upload(be, dst, src, size_bytes, em);
}

static enum err fault_download(struct backend *be, void *dst, const void *src, size_t size_bytes,
                               struct errmsg *em)
{
    if (fault_due())
        return err_set(em, ERR_DEVICE, "download failed");
    return fault.real->download(be, dst, src, size_bytes, em);
}

static enum err fault_sync(struct backend *be, struct errmsg *em)
{
    if (fault_due())
        return err_set(em, ERR_DEVICE, "sync failed");
    return fault.real->sync(be, em);
}

static enum err fault_weight(struct backend *be, const struct tensor *t, size_t first_row,
                             size_t n_rows, struct weight **out, struct errmsg *em)
{
    if (fault_due())
        return err_nomem(em, 1);
    return fault.real->weight_new(be, t, first_row, n_rows, out, em);
}

static void fault_install(struct backend *be, size_t fail_at)
{
    fault.real = be->ops;
    fault.ops = *be->ops;
    fault.ops.alloc = fault_alloc;
    fault.ops.upload = fault_upload;
    fault.ops.download = fault_download;
    fault.ops.sync = fault_sync;
    fault.ops.weight_new = fault_weight;
    fault.calls = 0;
    fault.fail_at = fail_at;
    fault.allocated_bytes = 0;
    be->ops = &fault.ops;
}

static void fault_remove(struct backend *be)
{
    be->ops = fault.real;
}

/* Open, run, two forwards. */
static enum err whole_life(const struct fixture *f, struct errmsg *em)
{
    struct transformer *t = NULL;
    struct transformer_run *r = NULL;
    float v[64];
    enum err rc = transformer_open(f->be, f->path, &t, em);
    if (!rc)
        rc = transformer_run_new(t, f->text, f->n_text, f->n_image, f->n_out, f->positions, &r, em);
    if (!rc)
        rc = transformer_forward(r, f->image, 0.5f, 1.0f, v, NULL, em);
    if (!rc)
        rc = transformer_forward(r, f->image, 0.25f, 1.0f, v, NULL, em);
    transformer_run_free(r);
    transformer_close(t);
    return rc;
}

static void test_faults(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f;
    fixture_open(&f, "tiny", cpu_detect(), 1);
    assert_true(f.n_out * f.info.out_channels <= 64);
    enum err rc = ERR_NOMEM;
    size_t n = 0;
    while (rc) {
        fault_install(f.be, ++n);
        rc = whole_life(&f, &em);
        fault_remove(f.be);
        if (rc)
            assert_true(rc == ERR_NOMEM || rc == ERR_DEVICE);
    }
    assert_in_range(n, 40, 200);
    fixture_close(&f);
}

static void test_memory(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "deep", cpu_detect(), 1);
    fault_install(f.be, SIZE_MAX);
    struct transformer_run *r = run_new(&f);
    assert_int_equal(fault.peak_bytes, transformer_run_bytes(f.t, f.n_text, f.n_image));
    size_t before = fault.allocated_bytes;
    free(forward(&f, r, 0));
    assert_int_equal(fault.allocated_bytes, before); /* forward allocates nothing */
    transformer_run_free(r);
    fault_remove(f.be);
    assert_true(transformer_run_bytes(f.t, 512, SIZE_MAX / 2) == SIZE_MAX);
    fixture_close(&f);
}

/* How many of the tokens a matrix is multiplied with. The last single block's rows for
 * keys and values meet all tokens, its others those with a velocity. */
static double rows_through(const struct fixture *f, const char *name, double columns)
{
    double n_text = (double)f->n_text, n_image = (double)f->n_image, out = (double)f->n_out;
    char last[64];
    snprintf(last, sizeof last, "single_transformer_blocks.%zu.", f->info.n_single - 1);
    if (!strncmp(name, last, strlen(last))) {
        double kv = strstr(name, "to_qkv") ? 2 * (double)f->info.hidden / columns : 0;
        return kv * (n_text + n_image) + (1 - kv) * out;
    }
    if (!strncmp(name, "single_transformer", 18))
        return n_text + n_image;
    if (!strncmp(name, "transformer_blocks", 18))
        return strstr(name, "add_") || strstr(name, "context") ? n_text : n_image;
    if (!strncmp(name, "context_embedder", 16))
        return 0; /* once for all steps */
    return !strncmp(name, "x_embedder", 10) ? n_image : !strncmp(name, "proj_out", 8) ? out : 1;
}

/* The count, taken again from the stored matrices. */
static void check_flops(const char *case_name)
{
    struct fixture f;
    struct made m;
    fixture_open(&f, case_name, cpu_detect(), 1);
    made_read(&m, case_name);
    f.n_text = 7;
    f.n_image = 20;
    f.n_out = 12;
    double expected = 0;
    for (size_t i = 0; i < m.n; i++) {
        double rows = (double)m.specs[i].shape[0], columns = (double)m.specs[i].shape[1];
        if (m.specs[i].n_dims == 2)
            expected += 2 * rows * columns * rows_through(&f, m.specs[i].name, rows);
    }
    size_t full = f.info.n_double + f.info.n_single - (f.info.n_single > 0);
    double hidden = (double)f.info.hidden;
    expected += (double)full * 4 * 27 * 27 * hidden + (f.info.n_single ? 4 * 12 * 27 * hidden : 0);
    assert_near(transformer_flops(&f.info, 7, 20, 12), expected, 1e-12 * expected);
    made_deinit(&m);
    fixture_close(&f);
}

static void test_flops(void **state)
{
    (void)state;
    static const char *const names[] = {"tiny", "klein", "deep", "nosingle", "nodouble"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_flops(names[i]);
    /* klein-4B at 256x256: PyTorch's FlopCounterMode counts 4917139341312 in diffusers' model,
     * which embeds the text in each step (512 x 7680 -> 3072) and computes the last block's
     * second half for the 512 text tokens, too. */
    struct transformer_info klein = {.in_channels = 128,
                                     .out_channels = 128,
                                     .hidden = 3072,
                                     .n_heads = 24,
                                     .head_dim = 128,
                                     .n_double = 5,
                                     .n_single = 20,
                                     .text_width = 7680,
                                     .mlp = 9216,
                                     .n_sinusoids = 256};
    double embedding = 2.0 * 512 * 7680 * 3072;
    double text_rows = 512.0 * (2.0 * 3072 * (2 * 3072 + 3 * 9216) + 4.0 * 768 * 3072);
    double expected = 4917139341312.0 - embedding - text_rows;
    assert_near(transformer_flops(&klein, 512, 256, 256), expected, 1e-12 * expected);
}

/* ---- what is refused -------------------------------------------------------------- */

static void test_run_arguments(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture f;
    struct transformer_run *r = NULL;
    fixture_open(&f, "tiny", cpu_detect(), 1);
    assert_fails(transformer_run_new(f.t, f.text, 0, 4, 4, f.positions, &r, &em), ERR_USAGE,
                 "0 text tokens");
    assert_fails(transformer_run_new(f.t, f.text, 2, 4, 0, f.positions, &r, &em), ERR_USAGE,
                 "makes no sense");
    assert_fails(transformer_run_new(f.t, f.text, 2, 4, 5, f.positions, &r, &em), ERR_USAGE,
                 "4 image tokens, 5 of them");
    assert_fails(transformer_run_new(f.t, f.text, SIZE_MAX - 1, 4, 4, f.positions, &r, &em),
                 ERR_NOMEM, "");
    assert_fails(transformer_run_new(f.t, f.text, 2, SIZE_MAX / 64, 4, f.positions, &r, &em),
                 ERR_NOMEM, "");
    assert_null(r);
    fixture_close(&f);
}

struct field {
    const char *key, *value;
};

/* A config.json with one field changed; value "" leaves it out. */
static void write_config(const char *dir, const struct field *change)
{
    static const struct field good[] = {
        {"_class_name", "\"Flux2Transformer2DModel\""},
        {"in_channels", "4"},
        {"out_channels", "null"},
        {"num_layers", "1"},
        {"num_single_layers", "1"},
        {"attention_head_dim", "8"},
        {"num_attention_heads", "1"},
        {"joint_attention_dim", "6"},
        {"timestep_guidance_channels", "8"},
        {"mlp_ratio", "2.0"},
        {"axes_dims_rope", "[2, 2, 2, 2]"},
        {"guidance_embeds", "true"},
        {"patch_size", "1"},
        {"rope_theta", "2000"},
        {"eps", "1e-06"},
    };
    struct errmsg em;
    struct buf text = {0};
    const char *comma = "{";
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const char *value = good[i].value;
        if (change && !strcmp(change->key, good[i].key))
            value = change->value;
        if (!*value)
            continue;
        assert_ok(buf_printf(&text, &em, "%s\"%s\": %s", comma, good[i].key, value));
        comma = ", ";
    }
    assert_ok(buf_append(&text, "}", 1, &em));
    made_file(dir, "config.json", text.ptr, text.len);
    buf_deinit(&text);
}

/* Open the folder and fail so. */
static void assert_refused(struct backend *be, const char *path, enum err code, const char *needle)
{
    struct errmsg em;
    struct transformer *t = NULL;
    assert_fails(transformer_open(be, path, &t, &em), code, needle);
    assert_null(t);
    if (!strstr(em.text, path))
        fail_msg("\"%s\" does not name %s", em.text, path);
}

static void test_config(void **state)
{
    (void)state;
    static const struct {
        struct field change;
        enum err code;
        const char *needle;
    } bad[] = {
        {{"_class_name", "\"FluxTransformer2DModel\""},
         ERR_UNSUPPORTED,
         "is a FluxTransformer2DModel; only Flux2Transformer2DModel"},
        {{"_class_name", ""}, ERR_FORMAT, "_class_name"},
        {{"_class_name", "7"}, ERR_FORMAT, "_class_name"},
        {{"in_channels", "0"}, ERR_FORMAT, "in_channels"},
        {{"in_channels", "\"4\""}, ERR_FORMAT, "in_channels"},
        {{"in_channels", "4.5"}, ERR_FORMAT, "in_channels"},
        {{"in_channels", "1000000000"}, ERR_FORMAT, "in_channels"},
        {{"out_channels", "-1"}, ERR_FORMAT, "out_channels"},
        {{"num_layers", "513"}, ERR_FORMAT, "num_layers"},
        {{"num_layers", "-1"}, ERR_FORMAT, "num_layers"},
        {{"num_single_layers", "100000"}, ERR_FORMAT, "num_single_layers"},
        /* fewer than the weights hold */
        {{"num_layers", "0"},
         ERR_FORMAT,
         "transformer_blocks.0.attn.to_q.weight, which config.json"},
        {{"num_single_layers", "0"}, ERR_FORMAT, "num_single_layers leaves out"},
        {{"guidance_embeds", "false"}, ERR_FORMAT, "guidance_embeds leaves out"},
        {{"attention_head_dim", "0"}, ERR_FORMAT, "attention_head_dim"},
        {{"attention_head_dim", "512"}, ERR_FORMAT, "attention_head_dim"},
        {{"attention_head_dim", "10"}, ERR_FORMAT, "adds up to 8, but attention_head_dim is 10"},
        {{"num_attention_heads", "60000"}, ERR_FORMAT, "is 480000, the limit is 65536"},
        {{"joint_attention_dim", "0"}, ERR_FORMAT, "joint_attention_dim"},
        {{"timestep_guidance_channels", "7"}, ERR_UNSUPPORTED, "is 7, which is odd"},
        {{"mlp_ratio", "-3.0"}, ERR_FORMAT, "mlp_ratio"},
        {{"mlp_ratio", "0.01"}, ERR_FORMAT, "mlp_ratio 0.01 makes an mlp of 0.08 channels"},
        {{"mlp_ratio", "1e5"}, ERR_FORMAT, "mlp_ratio 100000 makes"},
        {{"axes_dims_rope", "[4, 4]"}, ERR_UNSUPPORTED, "has 2 axes, FLUX.2 has 4"},
        {{"axes_dims_rope", "[2, 2, 2, 4]"}, ERR_FORMAT, "adds up to 10"},
        {{"axes_dims_rope", "[1, 3, 2, 2]"}, ERR_FORMAT, "axes_dims_rope[0] is 1, which is odd"},
        {{"axes_dims_rope", ""}, ERR_FORMAT, "adds up to 128, but attention_head_dim is 8"},
        {{"axes_dims_rope", "8"}, ERR_FORMAT, "axes_dims_rope"},
        {{"guidance_embeds", "1"}, ERR_FORMAT, "guidance_embeds"},
        {{"patch_size", "2"}, ERR_UNSUPPORTED, "patch_size is 2; only 1"},
        {{"rope_theta", "0"}, ERR_FORMAT, "rope_theta"},
        {{"eps", "-1.0"}, ERR_FORMAT, "eps"},
    };
    struct errmsg em;
    struct fixture f = {0};
    struct made m;
    struct transformer *t = NULL;
    open_backend(&f, cpu_detect(), 1);
    char *dir = made_dir();
    made_read(&m, "tiny");
    made_write(&m, dir, "diffusion_pytorch_model");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_config(dir, &bad[i].change);
        assert_refused(f.be, dir, bad[i].code, bad[i].needle);
    }
    /* without a field that has diffusers' default */
    write_config(dir, &(struct field){"guidance_embeds", ""});
    assert_ok(transformer_open(f.be, dir, &t, &em));
    assert_true(transformer_info(t).guidance_embed);
    transformer_close(t);
    t = NULL;
    write_config(dir, &(struct field){"patch_size", ""});
    assert_ok(transformer_open(f.be, dir, &t, &em));
    transformer_release_pages(t);
    transformer_close(t);
    made_file(dir, "config.json", "[1]", 3);
    assert_refused(f.be, dir, ERR_FORMAT, "config.json");
    made_deinit(&m);
    made_remove(dir);
    close_backend(&f);
}

/* Each tensor of the smallest model in turn: absent, of another shape, with a bias. */
static void test_tensors(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct made m;
    open_backend(&f, cpu_detect(), 1);
    char *dir = made_dir();
    made_read(&m, "tiny");
    write_config(dir, NULL);
    for (size_t i = 0; i < m.n; i++) {
        struct weights_spec spec = m.specs[i];
        char name[128];
        snprintf(name, sizeof name, "%s", spec.name);
        bool norm = strstr(name, "norm_q") || strstr(name, "norm_k") || strstr(name, "norm_added");

        snprintf(m.tensors[i].name, sizeof m.tensors[i].name, "absent.%zu", i);
        made_write(&m, dir, "diffusion_pytorch_model");
        assert_refused(f.be, dir, ERR_NOTFOUND, name);
        snprintf(m.tensors[i].name, sizeof m.tensors[i].name, "%s", name);

        for (unsigned d = 0; d < spec.n_dims; d++) {
            m.specs[i].shape[d]++;
            made_write(&m, dir, "diffusion_pytorch_model");
            assert_refused(f.be, dir, ERR_FORMAT, name);
            m.specs[i] = spec;
        }
        m.specs[i].n_dims = spec.n_dims == 1 ? 2 : 1;
        m.specs[i].shape[1] = 1;
        made_write(&m, dir, "diffusion_pytorch_model");
        assert_refused(f.be, dir, ERR_FORMAT, name);
        m.specs[i] = spec;

        if (norm)
            continue;
        /* the neighbour becomes this layer's bias; what is missing is then found later */
        size_t other = (i + 1) % m.n;
        char other_name[128];
        snprintf(other_name, sizeof other_name, "%s", m.tensors[other].name);
        snprintf(m.tensors[other].name, sizeof m.tensors[other].name, "%.*s.bias",
                 (int)(strlen(name) - strlen(".weight")), name);
        made_write(&m, dir, "diffusion_pytorch_model");
        struct errmsg em;
        struct transformer *t = NULL;
        enum err rc = transformer_open(f.be, dir, &t, &em);
        assert_true(rc == ERR_UNSUPPORTED || rc == ERR_NOTFOUND);
        assert_non_null(strstr(em.text, rc == ERR_UNSUPPORTED ? "have no bias" : other_name));
        snprintf(m.tensors[other].name, sizeof m.tensors[other].name, "%s", other_name);
    }
    made_deinit(&m);
    made_remove(dir);
    close_backend(&f);
}

/* Damaged weights give no picture. */
static void test_not_a_number(void **state)
{
    (void)state;
    static const char *const some[] = {"x_embedder.weight", "proj_out.weight",
                                       "single_transformer_blocks.0.attn.norm_q.weight"};
    struct errmsg em;
    struct fixture f;
    struct made m;
    made_read(&m, "tiny");
    fixture_open(&f, "tiny", cpu_detect(), 1);
    float v[64];
    for (size_t i = 0; i < 3; i++) {
        struct transformer_run *r = NULL;
        transformer_close(f.t);
        f.t = NULL;
        for (m.poisoned = 0; strcmp(m.tensors[m.poisoned].name, some[i]); m.poisoned++)
            ;
        made_write(&m, f.made, "diffusion_pytorch_model");
        assert_ok(transformer_open(f.be, f.path, &f.t, &em));
        r = run_new(&f);
        assert_fails(transformer_forward(r, f.image, 0.5f, 1.0f, v, NULL, &em), ERR_FORMAT,
                     "output is not a number");
        assert_non_null(strstr(em.text, f.path));
        transformer_run_free(r);
    }
    made_deinit(&m);
    fixture_close(&f);
}

static void test_bad_paths(void **state)
{
    (void)state;
    struct fixture f = {0};
    open_backend(&f, cpu_detect(), 1);
    char *dir = made_dir();
    assert_refused(f.be, dir, ERR_NOTFOUND, "config.json");
    write_config(dir, NULL);
    assert_refused(f.be, dir, ERR_NOTFOUND, "");
    assert_refused(f.be, "/nonexistent/model.safetensors", ERR_NOTFOUND, "");
    char *path = path_join(dir, "config.json");
    assert_refused(f.be, path, ERR_FORMAT, "");
    free(path);
    made_remove(dir);
    close_backend(&f);
}

/* BFL files with one thing wrong. */
static void test_bad_bfl(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        const char *renamed; /* or NULL: */
        unsigned dim;        /* this dimension */
        size_t size;         /* gets this size */
        enum err code;
        const char *needle;
    } bad[] = {
        {"img_in.weight", "x", 0, 0, ERR_UNSUPPORTED, "no tensor img_in.weight"},
        {"double_stream_modulation_img.lin.weight", "x", 0, 0, ERR_UNSUPPORTED,
         "another model than FLUX.2"},
        {"txt_in.weight", "x", 0, 0, ERR_NOTFOUND, "txt_in.weight"},
        {"img_in.weight", NULL, 0, 9, ERR_FORMAT, "9 channels"},
        {"double_blocks.0.img_attn.norm.query_norm.scale", NULL, 0, 16, ERR_FORMAT,
         "do not divide into heads of 16"},
        {"double_blocks.0.img_attn.norm.query_norm.scale", NULL, 0, 4, ERR_FORMAT,
         "do not divide into heads of 4"},
        {"double_blocks.0.img_attn.norm.query_norm.scale", "x", 0, 0, ERR_NOTFOUND,
         "double_blocks.0.img_attn.norm.query_norm.scale"},
        {"time_in.in_layer.weight", NULL, 1, 7, ERR_FORMAT, "odd number of columns, 7"},
        {"double_blocks.0.img_mlp.2.weight", NULL, 1, 17, ERR_FORMAT,
         "double_blocks.0.img_mlp.0.weight"},
        {"double_blocks.0.txt_attn.qkv.weight", NULL, 0, 25, ERR_FORMAT,
         "double_blocks.0.txt_attn.qkv.weight"},
        {"single_blocks.0.linear1.weight", NULL, 1, 7, ERR_FORMAT,
         "single_blocks.0.linear1.weight"},
        {"single_blocks.0.linear2.weight", "x", 0, 0, ERR_NOTFOUND,
         "single_blocks.0.linear2.weight"},
        {"final_layer.adaLN_modulation.1.weight", NULL, 0, 17, ERR_FORMAT,
         "final_layer.adaLN_modulation.1.weight"},
        {"guidance_in.out_layer.weight", "x", 0, 0, ERR_NOTFOUND, "guidance_in.out_layer.weight"},
        {"guidance_in.out_layer.weight", "txt_in.bias", 0, 0, ERR_UNSUPPORTED,
         "tensor txt_in.bias: FLUX.2's layers have no bias"},
        {"txt_in.weight", NULL, 0, 0, ERR_FORMAT, "txt_in.weight"},
    };
    struct errmsg em;
    struct fixture f = {0};
    struct made m = {.poisoned = SIZE_MAX};
    struct renamed r;
    open_backend(&f, cpu_detect(), 1);
    char *dir = made_dir();
    char *path = path_join(dir, "one.safetensors");
    rename_open(&r, "tiny", "%s");
    m.n = r.n;
    m.specs = r.specs;
    m.tensors = calloc(m.n, sizeof *m.tensors);
    assert_non_null(m.tensors);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t at = 0;
        while (strcmp(r.names[at], bad[i].tensor))
            at++;
        struct weights_spec spec = r.specs[at];
        if (bad[i].renamed)
            r.specs[at].name = bad[i].renamed;
        else
            r.specs[at].shape[bad[i].dim] = bad[i].size;
        made_write(&m, dir, "one");
        assert_refused(f.be, path, bad[i].code, bad[i].needle);
        r.specs[at] = spec;
    }
    /* as it is, it opens */
    struct transformer *t = NULL;
    made_write(&m, dir, "one");
    assert_ok(transformer_open(f.be, path, &t, &em));
    transformer_close(t);
    transformer_close(NULL);
    transformer_run_free(NULL);
    free(m.tensors);
    rename_close(&r);
    free(path);
    made_remove(dir);
    close_backend(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar),
        cmocka_unit_test(test_avx2),
        cmocka_unit_test(test_avx512),
        cmocka_unit_test(test_many_tokens),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_calls_are_independent),
        cmocka_unit_test(test_guidance),
        cmocka_unit_test(test_bfl),
        cmocka_unit_test(test_bfl_without_doubles),
        cmocka_unit_test(test_bfl_prefix),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_flops),
        cmocka_unit_test(test_run_arguments),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_bad_paths),
        cmocka_unit_test(test_bad_bfl),
    };
    return cmocka_run_group_tests_name("transformer", tests, NULL, NULL);
}

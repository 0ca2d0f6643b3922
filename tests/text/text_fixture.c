/* SPDX-License-Identifier: MIT */
#include "text_fixture.h"

#include <ftw.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"

const char *const fixture_names[] = {"f32-tied", "bf16-sharded", "bf16-head128", "f16-mistral"};
const size_t n_fixtures = sizeof fixture_names / sizeof fixture_names[0];

static const char *fixture_path(const char *name, const char *file)
{
    char rel[256];
    snprintf(rel, sizeof rel, "text/%s%s%s", name, file ? "/" : "", file ? file : "");
    return data_path(rel);
}

static struct {
    struct pool *pool;
    struct backend *be;
    enum cpu_level level;
    unsigned n_threads;
    size_t n_fixtures; /* open on it */
} shared;

int shared_backend_free(void **state)
{
    (void)state;
    backend_free(shared.be);
    pool_free(shared.pool);
    shared.be = NULL;
    shared.pool = NULL;
    return 0;
}

struct backend *shared_backend(enum cpu_level level, unsigned n_threads)
{
    struct errmsg em;
    if (shared.be && shared.level == level && shared.n_threads == n_threads)
        return shared.be;
    if (shared.n_fixtures == 0)
        shared_backend_free(NULL);
    shared.n_fixtures = 0; /* those of a test that failed: they keep their backend */
    assert_ok(pool_new(n_threads, &shared.pool, &em));
    assert_ok(backend_cpu_new(shared.pool, level, &shared.be, &em));
    shared.level = level;
    shared.n_threads = n_threads;
    return shared.be;
}

static struct fixture open_on(struct backend *be, const char *dir)
{
    struct errmsg em;
    struct fixture f = {.be = be};
    assert_ok(text_encoder_open(be, dir, &f.te, &em));
    shared.n_fixtures++;
    return f;
}

struct fixture fixture_open(const char *name, enum cpu_level level, unsigned n_threads)
{
    struct errmsg em;
    struct fixture f = open_on(shared_backend(level, n_threads), fixture_path(name, NULL));
    assert_ok(weights_open(fixture_path(name, "reference.safetensors"), &f.reference, &em));
    return f;
}

struct fixture fixture_open_dir(const char *dir)
{
    return open_on(shared_backend(cpu_detect(), 2), dir);
}

void fixture_close(struct fixture *f)
{
    text_encoder_close(f->te);
    weights_close(f->reference);
    shared.n_fixtures--;
    *f = (struct fixture){0};
}

float *reference_floats(const struct fixture *f, const char *name, size_t *n)
{
    struct errmsg em;
    struct tensor t;
    assert_ok(weights_get(f->reference, name, &t, &em));
    float *out = malloc(t.n_elems * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < t.n_elems; i++)
        out[i] = f32_load(t.data, t.dtype, i);
    if (n)
        *n = t.n_elems;
    return out;
}

int32_t *reference_ids(const struct fixture *f, const char *name, size_t *n)
{
    float *values = reference_floats(f, name, n);
    int32_t *ids = malloc(*n * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)values[i];
    free(values);
    return ids;
}

size_t reference_size(const struct fixture *f, const char *name)
{
    float *value = reference_floats(f, name, NULL);
    size_t n = (size_t)value[0];
    free(value);
    return n;
}

double relative_error(const float *got, const float *want, size_t n)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        worst = d > worst || isnan(d) ? d : worst;
        largest = fmax(largest, fabs((double)want[i]));
    }
    return worst / largest;
}

/* What variant_write hands to the writer: the tensors that stay, already changed. */
struct copy {
    const struct variant *v;
    struct weights *source;
    struct weights_spec specs[128];
    struct tensor tensors[128];
    char *names[128];
    size_t n;
};

static enum err copy_fill(void *ctx, size_t i, size_t first, size_t n, void *out)
{
    const struct copy *c = ctx;
    const struct tensor *t = &c->tensors[i];
    bool poison = c->v->poison && !strcmp(t->name, c->v->poison);
    for (size_t k = 0; k < n; k++) {
        size_t at = first + k;
        float x = poison && at == t->n_elems / 2 ? c->v->value
                                                 : f32_load(t->data, t->dtype, at % t->n_elems);
        /* one type for all: what it holds is exact in float32 */
        memcpy((char *)out + 4 * k, &x, sizeof x);
    }
    return ERR_OK;
}

static char *renamed(const struct variant *v, const char *name)
{
    char *out = NULL;
    int n = v->prefix && !strncmp(name, "model.", 6) ? asprintf(&out, "%s%s", v->prefix, name + 6)
                                                     : asprintf(&out, "%s", name);
    assert_true(n > 0);
    return out;
}

static void collect(struct copy *c)
{
    struct errmsg em;
    const struct variant *v = c->v;
    assert_ok(weights_open(fixture_path(v->from, NULL), &c->source, &em));
    for (size_t i = 0; i < weights_n_tensors(c->source); i++) {
        struct tensor t;
        assert_ok(weights_at(c->source, i, &t, &em));
        if (v->drop && !strncmp(t.name, v->drop, strlen(v->drop)))
            continue;
        struct weights_spec *s = &c->specs[c->n];
        c->tensors[c->n] = t;
        c->names[c->n] = renamed(v, t.name);
        *s = (struct weights_spec){.name = c->names[c->n], .dtype = DTYPE_F32, .n_dims = t.n_dims};
        memcpy(s->shape, t.shape, sizeof t.shape);
        if (v->reshape && !strcmp(t.name, v->reshape))
            s->shape[0]++;
        c->n++;
        assert_true(c->n < sizeof c->specs / sizeof c->specs[0]);
    }
}

static void write_config(const struct variant *v, const char *dir)
{
    struct errmsg em;
    struct buf in = {0}, out = {0};
    if (v->config)
        assert_ok(buf_append(&in, v->config, strlen(v->config), &em));
    else
        assert_ok(file_read(fixture_path(v->from, "config.json"), LIMIT_JSON_BYTES_MAX, &in, &em));
    const char *text = (const char *)in.ptr;
    if (v->config_old) {
        const char *at = strstr(text, v->config_old);
        if (!at)
            fail_msg("%s is not in the config of %s", v->config_old, v->from);
        assert_ok(buf_append(&out, text, (size_t)(at - text), &em));
        assert_ok(buf_append(&out, v->config_new, strlen(v->config_new), &em));
        text = at + strlen(v->config_old);
    }
    assert_ok(buf_append(&out, text, strlen(text), &em));
    char *path = path_join(dir, "config.json");
    assert_ok(file_write_atomic(path, out.ptr, out.len, &em));
    free(path);
    buf_deinit(&in);
    buf_deinit(&out);
}

char *variant_write(const struct variant *v)
{
    struct errmsg em;
    struct copy c = {.v = v};
    char *dir = strdup("/tmp/easel-text-XXXXXX");
    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    collect(&c);
    assert_ok(weights_write(dir, "model", c.specs, c.n, 0, copy_fill, &c, &em));
    write_config(v, dir);
    for (size_t i = 0; i < c.n; i++)
        free(c.names[i]);
    weights_close(c.source);
    return dir;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void variant_remove(char *dir)
{
    nftw(dir, remove_one, 4, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

char **tensor_names(const char *fixture)
{
    struct errmsg em;
    struct weights *w = NULL;
    assert_ok(weights_open(fixture_path(fixture, NULL), &w, &em));
    size_t n = weights_n_tensors(w);
    char **names = calloc(n + 1, sizeof *names);
    assert_non_null(names);
    for (size_t i = 0; i < n; i++) {
        struct tensor t;
        assert_ok(weights_at(w, i, &t, &em));
        names[i] = strdup(t.name);
    }
    weights_close(w);
    return names;
}

void names_free(char **names)
{
    for (size_t i = 0; names[i]; i++)
        free(names[i]);
    free(names);
}

bool stopper_tick(void *ctx, size_t done, size_t total)
{
    struct stopper *s = ctx;
    if (s->n_calls == 0)
        s->monotonic = true;
    else if (done < s->last_done || total != s->last_total)
        s->monotonic = false;
    s->last_done = done;
    s->last_total = total;
    return s->n_calls++ != s->stop_at;
}

/* A backend's table with the fallible calls counted; one test runs at a time. */
static const struct backend_ops *real_ops;
static struct backend_ops faulty_ops;
static size_t calls_left;
static bool fired;

static bool fault_now(void)
{
    if (calls_left == SIZE_MAX || calls_left-- > 0)
        return false;
    fired = true;
    calls_left = SIZE_MAX;
    return true;
}

static enum err faulty_alloc(struct backend *be, size_t size_bytes, void **out, struct errmsg *em)
{
    return fault_now() ? err_nomem(em, size_bytes) : real_ops->alloc(be, size_bytes, out, em);
}

static enum err faulty_upload(struct backend *be, void *dst, const void *src, size_t size_bytes,
                              struct errmsg *em)
{
    return fault_now() ? err_set(em, ERR_DEVICE, "upload lost")
                       : real_ops->upload(be, dst, src, size_bytes, em);
}

static enum err faulty_download(struct backend *be, void *dst, const void *src, size_t size_bytes,
                                struct errmsg *em)
{
    return fault_now() ? err_set(em, ERR_DEVICE, "download lost")
                       : real_ops->download(be, dst, src, size_bytes, em);
}

static enum err faulty_sync(struct backend *be, struct errmsg *em)
{
    return fault_now() ? err_set(em, ERR_DEVICE, "sync lost") : real_ops->sync(be, em);
}

static enum err faulty_weight_new(struct backend *be, const struct tensor *t, size_t first_row,
                                  size_t n_rows, struct weight **out, struct errmsg *em)
{
    return fault_now() ? err_nomem(em, 1) : real_ops->weight_new(be, t, first_row, n_rows, out, em);
}

void faults_arm(struct backend *be, size_t nth)
{
    if (be->ops != &faulty_ops)
        real_ops = be->ops;
    faulty_ops = *real_ops;
    faulty_ops.alloc = faulty_alloc;
    faulty_ops.upload = faulty_upload;
    faulty_ops.download = faulty_download;
    faulty_ops.sync = faulty_sync;
    faulty_ops.weight_new = faulty_weight_new;
    be->ops = &faulty_ops;
    calls_left = nth;
    fired = false;
}

bool faults_fired(void)
{
    return fired;
}

void faults_disarm(struct backend *be)
{
    be->ops = real_ops;
}

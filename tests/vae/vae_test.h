/* SPDX-License-Identifier: MIT */
/* What the two tests of autoencoders share: engines at every CPU level, reference
 * tensors, damaged copies of models in a temporary folder. */
#ifndef EASEL_TESTS_VAE_TEST_H
#define EASEL_TESTS_VAE_TEST_H

#include "test.h"

#include <stdbool.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/pool.h"
#include "formats/safetensors.h"
#include "kernels/backend.h"
#include "models/autoencoder.h"
#include "models/autoencoder_impl.h"

static struct errmsg em;

/* ---- An engine: threads, backend, autoencoder ---- */

struct engine {
    struct pool *pool;
    struct backend *be;
    struct autoencoder *ae;
    struct autoencoder_info info;
};

static inline void engine_backend(struct engine *e, enum cpu_level level, unsigned n_threads)
{
    *e = (struct engine){0};
    assert_ok(pool_new(n_threads, &e->pool, &em));
    assert_ok(backend_cpu_new(e->pool, level, &e->be, &em));
}

static inline void engine_open(struct engine *e, enum cpu_level level, unsigned n_threads,
                               const char *path)
{
    engine_backend(e, level, n_threads);
    assert_ok(autoencoder_open(e->be, path, &e->ae, &em));
    e->info = autoencoder_info(e->ae);
}

static inline void engine_close(struct engine *e)
{
    autoencoder_close(e->ae);
    backend_free(e->be);
    pool_free(e->pool);
    *e = (struct engine){0};
}

/* ---- Reference tensors, as floats ---- */

struct ref {
    float *data;
    size_t n, h, w, c;
};

static inline struct ref ref_load(const char *path, const char *name)
{
    struct weights *w = NULL;
    struct tensor t;
    struct ref r = {0};
    assert_ok(weights_open(path, &w, &em));
    assert_ok(weights_get(w, name, &t, &em));
    r.n = t.n_elems;
    r.h = t.shape[0];
    r.w = t.n_dims > 1 ? t.shape[1] : 1;
    r.c = t.n_dims > 2 ? t.shape[2] : 1;
    r.data = malloc(r.n * sizeof(float));
    assert_non_null(r.data);
    for (size_t i = 0; i < r.n; i++)
        r.data[i] = f32_load(t.data, t.dtype, i);
    weights_close(w);
    return r;
}

/* |a - b| <= atol + rtol |b| everywhere; returns the largest |a - b|. */
static inline float assert_close(const char *what, const float *a, const float *b, size_t n,
                                 float atol, float rtol)
{
    float worst = 0;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(a[i] - b[i]);
        if (!(d <= atol + rtol * fabsf(b[i])))
            fail_msg("%s[%zu] = %.7g, expected %.7g", what, i, (double)a[i], (double)b[i]);
        worst = d > worst ? d : worst;
    }
    return worst;
}

/* As pictures are written: 0…255, rounded. */
static inline int to_level(float x)
{
    x = x < 0 ? 0 : x > 1 ? 1 : x;
    return (int)(x * 255.0f + 0.5f);
}

static inline int assert_levels(const char *what, const float *a, const float *b, size_t n,
                                int most)
{
    int worst = 0;
    for (size_t i = 0; i < n; i++) {
        int d = abs(to_level(a[i]) - to_level(b[i]));
        if (d > most)
            fail_msg("%s[%zu] = %d, expected %d", what, i, to_level(a[i]), to_level(b[i]));
        worst = d > worst ? d : worst;
    }
    return worst;
}

/* ---- Damaged copies ---- */

/* A model folder of its own with config.json and one weight file, to be spoilt. */
struct copy {
    char dir[64], config[96], weights[128];
    struct buf config_text, bytes;
};

static inline void copy_begin(struct copy *c, const char *from)
{
    char path[1100];
    *c = (struct copy){.dir = "/tmp/easel-vae-XXXXXX"};
    assert_non_null(mkdtemp(c->dir));
    snprintf(c->config, sizeof c->config, "%s/config.json", c->dir);
    snprintf(c->weights, sizeof c->weights, "%s/diffusion_pytorch_model.safetensors", c->dir);
    snprintf(path, sizeof path, "%s/config.json", from);
    assert_ok(file_read(path, 1 << 20, &c->config_text, &em));
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", from);
    assert_ok(file_read(path, 64 << 20, &c->bytes, &em));
}

static inline const char *copy_write(struct copy *c)
{
    assert_ok(file_write_atomic(c->config, c->config_text.ptr, c->config_text.len, &em));
    assert_ok(file_write_atomic(c->weights, c->bytes.ptr, c->bytes.len, &em));
    return c->dir;
}

static inline void copy_end(struct copy *c)
{
    unlink(c->config);
    unlink(c->weights);
    rmdir(c->dir);
    buf_deinit(&c->config_text);
    buf_deinit(&c->bytes);
}

static inline char *find_bytes(struct buf *b, const char *text)
{
    char *p = memmem(b->ptr, b->len, text, strlen(text));
    if (!p)
        fail_msg("the file holds no %s", text);
    return p;
}

/* Texts of the same length, so that nothing moves. */
static inline void replace(struct buf *b, const char *from, const char *to)
{
    assert_int_equal(strlen(from), strlen(to));
    memcpy(find_bytes(b, from), to, strlen(to));
}

/* Where the data of a tensor lies in the bytes of a safetensors file. */
static inline uint8_t *tensor_bytes(struct buf *b, const char *name)
{
    char quoted[160];
    uint64_t header;
    unsigned long long first;
    memcpy(&header, b->ptr, sizeof header);
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *offsets = strstr(find_bytes(b, quoted), "\"data_offsets\":[");
    assert_non_null(offsets);
    assert_int_equal(sscanf(offsets, "\"data_offsets\":[%llu,", &first), 1);
    return b->ptr + 8 + header + first;
}

/* ---- Progress that stops ---- */

struct stopper {
    size_t calls, stop_at; /* stop_at 0: never */
    size_t last_done, total;
    bool backwards;
};

static inline bool stopper_tick(void *ctx, size_t done, size_t total)
{
    struct stopper *s = ctx;
    s->backwards |= done < s->last_done || done > total || (s->total && s->total != total);
    s->last_done = done;
    s->total = total;
    return ++s->calls != s->stop_at;
}

#endif

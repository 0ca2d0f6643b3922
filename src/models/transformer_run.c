/* SPDX-License-Identifier: MIT */
/* Planning a run of the transformer: its memory, RoPE tables, the embedded text. */
#include <math.h>
#include <stdlib.h>

#include "base/size.h"
#include "models/transformer_run.h"

#define ALIGN_FLOATS 16

static bool reserve(size_t *total, size_t rows, size_t columns, size_t *at)
{
    size_t n;
    *at = *total;
    return mul_size(rows, columns, &n) && add_size(n, ALIGN_FLOATS - 1, &n) &&
           add_size(*total, n / ALIGN_FLOATS * ALIGN_FLOATS, total);
}

/* false: more than a size_t can count. */
static bool plan_make(const struct transformer *t, size_t n_text, size_t n_image, struct plan *p)
{
    const struct transformer_info *info = &t->info;
    size_t hidden = info->hidden;
    size_t n_tokens;
    if (!add_size(n_text, n_image, &n_tokens) || n_tokens > SIZE_MAX / 2)
        return false;
    size_t n_rows = min_size(n_tokens, ROWS_MAX);
    size_t *total = &p->n_floats;
    *total = 0;
    return reserve(total, n_tokens, hidden, &p->h) &&
           reserve(total, n_tokens, 2 * hidden, &p->kv) &&
           reserve(total, n_rows, hidden, &p->norm) && reserve(total, n_rows, hidden, &p->q) &&
           reserve(total, n_rows, hidden + t->info.mlp, &p->cat) &&
           reserve(total, n_image, info->in_channels, &p->image) &&
           reserve(total, n_image, info->out_channels, &p->velocity) &&
           reserve(total, n_tokens, info->head_dim / 2, &p->cos) &&
           reserve(total, n_tokens, info->head_dim / 2, &p->sin) &&
           reserve(total, 2, t->info.n_sinusoids, &p->sinusoids) &&
           reserve(total, 1, hidden, &p->embed) && reserve(total, 1, hidden, &p->temb) &&
           reserve(total, 1, hidden, &p->silu_temb) && reserve(total, 6, hidden, &p->mod_img) &&
           reserve(total, 6, hidden, &p->mod_txt) && reserve(total, 3, hidden, &p->mod_single) &&
           reserve(total, 1, hidden, &p->final_shift) && reserve(total, 1, hidden, &p->final_scale);
}

size_t transformer_run_bytes(const struct transformer *t, size_t n_text, size_t n_image)
{
    struct plan p;
    size_t text;
    size_t n;
    /* While a run is made, the text as the caller gave it is there too. */
    if (!plan_make(t, n_text, n_image, &p) || !mul_size(n_text, t->info.text_width, &text) ||
        !add_size(p.n_floats, text, &n) || !mul_size(n, sizeof(float), &n))
        return SIZE_MAX;
    return n;
}

/* The angles of one axis, in double precision and then rounded, as upstream. */
static void rope_axis(float *cos_out, float *sin_out, float position, size_t n_channels,
                      double theta)
{
    for (size_t k = 0; k < n_channels / 2; k++) {
        double frequency = 1.0 / pow(theta, (double)(2 * k) / (double)n_channels);
        double angle = (double)position * frequency;
        cos_out[k] = (float)cos(angle);
        sin_out[k] = (float)sin(angle);
    }
}

static enum err upload_rope(struct transformer_run *r, const struct position *positions,
                            struct errmsg *em)
{
    const struct transformer *t = r->t;
    size_t half = t->info.head_dim / 2;
    size_t n_tokens = r->n_text + r->n_image;
    size_t n = n_tokens * half;
    float *table = malloc(2 * n * sizeof *table);
    if (!table)
        return err_nomem(em, 2 * n * sizeof *table);
    for (size_t i = 0; i < n_tokens; i++) {
        const float axes[N_AXES] = {positions[i].t, positions[i].h, positions[i].w, positions[i].l};
        size_t at = i * half;
        for (size_t a = 0; a < N_AXES; a++) {
            rope_axis(table + at, table + n + at, axes[a], t->axes[a], t->rope_theta);
            at += t->axes[a] / 2;
        }
    }
    enum err rc = backend_upload(t->be, r->memory + r->at.cos, table, n, em);
    if (!rc)
        rc = backend_upload(t->be, r->memory + r->at.sin, table + n, n, em);
    free(table);
    return rc;
}

/* Through h, which is free until the first forward. */
static enum err embed_text(struct transformer_run *r, const float *text, struct errmsg *em)
{
    struct backend *be = r->t->be;
    size_t width = r->t->info.text_width;
    size_t hidden = r->t->info.hidden;
    float *h = r->memory + r->at.h;
    float *x = NULL;
    enum err rc = backend_alloc(be, r->n_text * width, &x, em);
    if (rc)
        return rc;
    rc = backend_upload(be, x, text, r->n_text * width, em);
    if (!rc) {
        run_linear(r, r->t->txt_in, x, width, r->n_text, h, hidden);
        rc = backend_download(be, r->text, h, r->n_text * hidden, em);
    }
    backend_dealloc(be, x);
    return rc;
}

static enum err run_fill(struct transformer_run *r, const float *text,
                         const struct position *positions, struct errmsg *em)
{
    const struct transformer *t = r->t;
    r->text = malloc(r->n_text * t->info.hidden * sizeof *r->text);
    r->sinusoids = malloc(2 * t->info.n_sinusoids * sizeof *r->sinusoids);
    if (!r->text || !r->sinusoids)
        return err_nomem(em, r->n_text * t->info.hidden * sizeof *r->text);
    enum err rc = backend_alloc(t->be, r->at.n_floats, &r->memory, em);
    if (!rc)
        rc = upload_rope(r, positions, em);
    if (!rc)
        rc = embed_text(r, text, em);
    return rc;
}

enum err transformer_run_new(struct transformer *t, const float *text, size_t n_text,
                             size_t n_image, size_t n_out, const struct position *positions,
                             struct transformer_run **out, struct errmsg *em)
{
    if (n_text == 0 || n_out == 0 || n_out > n_image)
        return err_set(em, ERR_USAGE,
                       "a run of %zu text tokens and %zu image tokens, %zu of them "
                       "with a velocity, makes no sense",
                       n_text, n_image, n_out);
    if (transformer_run_bytes(t, n_text, n_image) == SIZE_MAX)
        return err_nomem(em, SIZE_MAX);
    struct transformer_run *r = calloc(1, sizeof *r);
    if (!r)
        return err_nomem(em, sizeof *r);
    r->t = t;
    r->n_text = n_text;
    r->n_image = n_image;
    r->n_out = n_out;
    plan_make(t, n_text, n_image, &r->at);
    enum err rc = run_fill(r, text, positions, em);
    if (rc) {
        transformer_run_free(r);
        return rc;
    }
    *out = r;
    return ERR_OK;
}

void transformer_run_free(struct transformer_run *r)
{
    if (!r)
        return;
    backend_dealloc(r->t->be, r->memory);
    free(r->text);
    free(r->sinusoids);
    free(r);
}

void transformer_run_observe(struct transformer_run *r,
                             void (*fn)(void *ctx, const char *stage, const float *data,
                                        size_t rows, size_t channels),
                             void *ctx)
{
    r->observe = fn;
    r->observe_ctx = ctx;
}

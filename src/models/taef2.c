/* SPDX-License-Identifier: MIT */
/* TAEF2, the tiny autoencoder of FLUX.2's latent space: 64 channels throughout,
 * blocks of three convolutions, and at the latent's resolution a norm over the whole
 * picture beside them. The layers and their numbers are those of the published
 * PyTorch modules, under "encoder." and "decoder.".
 *
 * The layers at the picture's full size see only their neighbourhood, so they run in
 * strips: a picture of any size needs little more than its quarter-size stage.
 * Source: madebyollin/taesd, taesd.py. */
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "models/autoencoder_impl.h"

#define WIDTH 64u
#define POOL_WIDTH 256u
#define POOL_GROUPS 4u
#define POOL_EPS 1e-5f
#define LATENT_LIMIT 3.0f
#define N_STAGES 4u
/* Rows at a strip's edge that the layers below it would get wrong: one for each of
 * the five 3x3 convolutions, and even. */
#define HALO_ROWS 6u

struct block {
    struct ae_conv conv[3];
    /* x += pool[1](relu(norm(pool[0](x)))) first, where there is a pool */
    struct ae_conv pool[2];
    struct ae_norm norm;
};

/* A convolution that changes the size (the first stage's: the channels), and blocks. */
struct stage {
    struct ae_conv conv;
    struct block blocks[3];
    size_t n_blocks;
};

struct half {
    struct stage stages[N_STAGES];
    struct ae_conv last;
};

struct taef2 {
    struct half encoder, decoder;
};

/* ---- Loading ---- */

struct stage_plan {
    unsigned conv, first_block, n_blocks;
    bool bias, pool;
};

static const struct stage_plan decoder_plan[N_STAGES] = {{1, 3, 3, true, true},
                                                         {7, 8, 3, false, false},
                                                         {12, 13, 3, false, false},
                                                         {17, 18, 1, false, false}};
static const struct stage_plan encoder_plan[N_STAGES] = {{0, 1, 1, true, false},
                                                         {2, 3, 3, false, false},
                                                         {6, 7, 3, false, false},
                                                         {10, 11, 3, false, true}};

NODISCARD static enum err load_block(struct autoencoder *ae, struct block *b, const char *half,
                                     unsigned i, bool pool, struct errmsg *em)
{
    char name[64];
    enum err rc = ERR_OK;
    for (unsigned j = 0; j < 3 && !rc; j++) {
        snprintf(name, sizeof name, "%s.%u.conv.%u", half, i, 2 * j);
        rc = ae_load_conv(ae, &b->conv[j], name, WIDTH, WIDTH, 3, true, em);
    }
    if (rc || !pool)
        return rc;
    snprintf(name, sizeof name, "%s.%u.pool.0", half, i);
    rc = ae_load_conv(ae, &b->pool[0], name, POOL_WIDTH, WIDTH, 1, false, em);
    snprintf(name, sizeof name, "%s.%u.pool.1", half, i);
    if (!rc)
        rc = ae_load_norm(ae, &b->norm, name, POOL_WIDTH, em);
    snprintf(name, sizeof name, "%s.%u.pool.3", half, i);
    if (!rc)
        rc = ae_load_conv(ae, &b->pool[1], name, WIDTH, POOL_WIDTH, 1, false, em);
    return rc;
}

NODISCARD static enum err load_half(struct autoencoder *ae, struct half *h, const char *half,
                                    const struct stage_plan *plan, size_t c_first, unsigned last,
                                    size_t c_last, struct errmsg *em)
{
    char name[64];
    enum err rc = ERR_OK;
    for (size_t s = 0; s < N_STAGES && !rc; s++) {
        snprintf(name, sizeof name, "%s.%u", half, plan[s].conv);
        rc = ae_load_conv(ae, &h->stages[s].conv, name, WIDTH, s ? WIDTH : c_first, 3, plan[s].bias,
                          em);
        h->stages[s].n_blocks = plan[s].n_blocks;
        for (unsigned i = 0; i < plan[s].n_blocks && !rc; i++)
            rc = load_block(ae, &h->stages[s].blocks[i], half, plan[s].first_block + i,
                            plan[s].pool, em);
    }
    snprintf(name, sizeof name, "%s.%u", half, last);
    if (!rc)
        rc = ae_load_conv(ae, &h->last, name, c_last, WIDTH, 3, true, em);
    return rc;
}

NODISCARD static enum err taef2_open(struct autoencoder *ae, const struct config *c,
                                     struct errmsg *em)
{
    struct taef2 *m = calloc(1, sizeof *m);
    if (!m)
        return err_nomem(em, sizeof *m);
    ae->model = m;
    ae->info.scale = 8;
    ae->info.has_encoder = weights_has(ae->weights, "encoder.0.weight");
    ae->info.has_decoder = weights_has(ae->weights, "decoder.1.weight");
    size_t *z = &ae->info.latent_channels;
    enum err rc = ae_config_common(ae, c, em);
    if (!rc)
        rc = config_size(c, "latent_channels", 1, LIMIT_WIDTH_MAX, 32, z, em);
    if (!rc && !ae->info.has_encoder && !ae->info.has_decoder)
        rc = err_set(em, ERR_FORMAT,
                     "%s: neither an encoder nor a decoder is in it (no tensor decoder.1.weight)",
                     weights_path(ae->weights));
    if (!rc && ae->info.has_encoder)
        rc = load_half(ae, &m->encoder, "encoder", encoder_plan, 3, 14, *z, em);
    if (!rc && ae->info.has_decoder)
        rc = load_half(ae, &m->decoder, "decoder", decoder_plan, *z, 19, 3, em);
    return rc;
}

static void free_half(struct autoencoder *ae, struct half *h)
{
    for (size_t s = 0; s < N_STAGES; s++) {
        ae_free_conv(ae, &h->stages[s].conv);
        for (size_t i = 0; i < h->stages[s].n_blocks; i++) {
            struct block *b = &h->stages[s].blocks[i];
            for (size_t j = 0; j < 3; j++)
                ae_free_conv(ae, &b->conv[j]);
            ae_free_conv(ae, &b->pool[0]);
            ae_free_conv(ae, &b->pool[1]);
            ae_free_norm(ae, &b->norm);
        }
    }
    ae_free_conv(ae, &h->last);
}

static void taef2_close(struct autoencoder *ae)
{
    struct taef2 *m = ae->model;
    free_half(ae, &m->encoder);
    free_half(ae, &m->decoder);
    free(m);
    ae->model = NULL;
}

/* ---- Running ---- */

/* A picture inside a slot. */
struct area {
    unsigned slot;
    size_t offset, h, w;
};

static float *at(struct ae_run *r, const struct area *a)
{
    return ae_slot(r, a->slot, a->offset, a->h * a->w * WIDTH);
}

/* x += pool(x), with the inner picture in the work area. */
NODISCARD static enum err pool(struct ae_run *r, const struct block *b, const struct area *x,
                               unsigned work_slot, size_t work)
{
    size_t n = x->h * x->w;
    float *t = ae_slot(r, work_slot, work, n * POOL_WIDTH);
    enum err rc = ae_linear(r, &b->pool[0], at(r, x), t, n, false);
    if (!rc)
        rc = ae_group_norm(r, &b->norm, t, t, n, POOL_GROUPS, POOL_EPS, ACT_RELU);
    if (!rc)
        rc = ae_linear(r, &b->pool[1], t, at(r, x), n, true);
    return rc;
}

static struct ae_conv_args same_size(const float *x, float *y, size_t h, size_t w,
                                     enum activation act)
{
    return (struct ae_conv_args){.x = x,
                                 .h_in = h,
                                 .w_in = w,
                                 .y = y,
                                 .h_out = h,
                                 .w_out = w,
                                 .stride = 1,
                                 .pad_before = 1,
                                 .upsample = 1,
                                 .act = act};
}

/* x = relu(conv(relu(conv(relu(conv(x))))) + x); the work area begins at floats `work`
 * of work_slot. */
NODISCARD static enum err run_block(struct ae_run *r, const struct block *b, const struct area *x,
                                    unsigned work_slot, size_t work)
{
    size_t n = x->h * x->w * WIDTH, inner = work;
    enum err rc = b->pool[0].w ? pool(r, b, x, work_slot, work) : ERR_OK;
    if (rc)
        return rc;
    struct ae_conv_args a =
        same_size(at(r, x), ae_slot(r, work_slot, work, n), x->h, x->w, ACT_RELU);
    rc = ae_conv(r, &b->conv[0], &a);
    if (!rc)
        rc = ae_conv_in_place(r, &b->conv[1], work_slot, work, x->h, x->w,
                              &(struct ae_conv_args){.act = ACT_RELU}, &inner);
    if (rc)
        return rc;
    a = same_size(ae_slot(r, work_slot, inner, n), at(r, x), x->h, x->w, ACT_RELU);
    a.residual = a.y;
    return ae_conv(r, &b->conv[2], &a);
}

/* The stage's convolution takes the stream to the other slot; its blocks stay there. */
NODISCARD static enum err run_stage(struct ae_run *r, const struct stage *s, size_t h, size_t w,
                                    unsigned stride, unsigned upsample, enum activation act)
{
    struct ae_conv_args a =
        same_size(ae_stream(r), ae_slot(r, r->at ^ 1, 0, h * w * WIDTH), h, w, act);
    a.h_in = r->h;
    a.w_in = r->w;
    a.stride = stride;
    a.upsample = upsample;
    enum err rc = ae_conv(r, &s->conv, &a);
    r->at ^= 1;
    r->h = h;
    r->w = w;
    r->c = WIDTH;
    struct area x = {.slot = r->at, .h = h, .w = w};
    for (size_t i = 0; i < s->n_blocks && !rc; i++)
        rc = run_block(r, &s->blocks[i], &x, r->at ^ 1, 0);
    return rc;
}

/* Rows of the full picture for one strip, an even number. Two strip buffers. */
static size_t strip_rows(const struct ae_run *r, size_t h_px, size_t w_px)
{
    size_t row_bytes = 2 * w_px * WIDTH * sizeof(float);
    size_t rows = max_size(r->ae->strip_bytes / row_bytes, 8 * HALO_ROWS) & ~(size_t)1;
    if (rows >= h_px)
        return h_px;
    /* equal strips */
    size_t n = div_up(h_px, rows);
    return min_size(h_px, (div_up(h_px, n) + 1) & ~(size_t)1);
}

struct job {
    const float *in;
    float *out;
    size_t h, w; /* of the latent (decode) or the picture (encode) */
};

/* The strip of picture rows [row, end) widened to what its layers see. */
struct strip {
    size_t row, end, first, h;
};

static struct strip strip_of(size_t row, size_t end, size_t h_px)
{
    struct strip s = {.row = row, .end = end};
    s.first = row > HALO_ROWS ? row - HALO_ROWS : 0;
    s.h = min_size(end + HALO_ROWS, h_px) - s.first;
    return s;
}

/* The decoder's last stage and the picture, from the stream at half the size. */
NODISCARD static enum err decode_strip(struct ae_run *r, const struct half *d, struct strip s,
                                       const struct job *j)
{
    unsigned other = r->at ^ 1;
    size_t w = 2 * r->w, work = s.h * w * WIDTH;
    struct area x = {.slot = other, .h = s.h, .w = w};
    const float *in = ae_stream(r);
    struct ae_conv_args a =
        same_size(r->planning ? in : in + s.first / 2 * r->w * WIDTH, at(r, &x), s.h, w, ACT_NONE);
    a.h_in = r->h - s.first / 2;
    a.w_in = r->w;
    a.upsample = 2;
    enum err rc = ae_conv(r, &d->stages[3].conv, &a);
    if (!rc)
        rc = run_block(r, &d->stages[3].blocks[0], &x, other, work);
    if (rc)
        return rc;
    float *rgb = ae_slot(r, other, work, s.h * w * 3);
    a = same_size(at(r, &x), rgb, s.h, w, ACT_NONE);
    rc = ae_conv(r, &d->last, &a);
    if (rc || r->planning)
        return rc;
    return backend_download(r->be, j->out + s.row * w * 3, rgb + (s.row - s.first) * w * 3,
                            (s.end - s.row) * w * 3, r->em);
}

NODISCARD static enum err decode_walk(struct ae_run *r, void *ctx)
{
    const struct job *j = ctx;
    const struct half *d = &((const struct taef2 *)r->ae->model)->decoder;
    enum err rc = ERR_OK;
    r->at = 0;
    r->h = j->h;
    r->w = j->w;
    r->c = r->ae->info.latent_channels;
    float *x = ae_stream(r);
    size_t n = r->h * r->w * r->c;
    if (!r->planning) {
        rc = backend_upload(r->be, x, j->in, n, r->em);
        if (rc)
            return rc;
        backend_tanh_scaled(r->be, x, x, LATENT_LIMIT, n);
    }
    rc = run_stage(r, &d->stages[0], j->h, j->w, 1, 1, ACT_RELU);
    for (size_t s = 1; s < 3 && !rc; s++)
        rc = run_stage(r, &d->stages[s], j->h << s, j->w << s, 1, 2, ACT_NONE);
    size_t h_px = 8 * j->h, rows = strip_rows(r, h_px, 8 * j->w);
    for (size_t row = 0; row < h_px && !rc; row += rows)
        rc = decode_strip(r, d, strip_of(row, min_size(row + rows, h_px), h_px), j);
    return rc;
}

/* The encoder's first stage, and the convolution that halves the picture: from the
 * host's picture to rows of the stream in slot 0. The topmost rows of the output are
 * wrong where the strip begins inside the picture; the next strip, further up, puts
 * them right. */
NODISCARD static enum err encode_strip(struct ae_run *r, const struct half *e, struct strip s,
                                       const struct job *j)
{
    size_t n = s.h * j->w * WIDTH, h_half = j->h / 2, w_half = j->w / 2;
    struct area x = {.slot = 1, .h = s.h, .w = j->w};
    float *rgb = ae_slot(r, 1, n, s.h * j->w * 3), *y = ae_slot(r, 0, 0, h_half * w_half * WIDTH);
    enum err rc = ERR_OK;
    if (!r->planning)
        rc = backend_upload(r->be, rgb, j->in + s.first * j->w * 3, s.h * j->w * 3, r->em);
    struct ae_conv_args a = same_size(rgb, at(r, &x), s.h, j->w, ACT_NONE);
    if (!rc)
        rc = ae_conv(r, &e->stages[0].conv, &a);
    if (!rc)
        rc = run_block(r, &e->stages[0].blocks[0], &x, 1, n);
    if (rc)
        return rc;
    a = same_size(at(r, &x), r->planning ? y : y + s.first / 2 * w_half * WIDTH,
                  s.end / 2 - s.first / 2, w_half, ACT_NONE);
    a.h_in = s.h;
    a.w_in = j->w;
    a.stride = 2;
    return ae_conv(r, &e->stages[1].conv, &a);
}

NODISCARD static enum err encode_walk(struct ae_run *r, void *ctx)
{
    const struct job *j = ctx;
    const struct half *e = &((const struct taef2 *)r->ae->model)->encoder;
    size_t rows = strip_rows(r, j->h, j->w), z = r->ae->info.latent_channels;
    enum err rc = ERR_OK;
    for (size_t end = j->h; end > 0 && !rc;) {
        size_t row = end > rows ? end - rows : 0;
        rc = encode_strip(r, e, strip_of(row, end, j->h), j);
        end = row;
    }
    r->at = 0;
    r->h = j->h / 2;
    r->w = j->w / 2;
    r->c = WIDTH;
    struct area x = {.h = r->h, .w = r->w};
    for (size_t i = 0; i < e->stages[1].n_blocks && !rc; i++)
        rc = run_block(r, &e->stages[1].blocks[i], &x, 1, 0);
    for (size_t s = 2; s < N_STAGES && !rc; s++)
        rc = run_stage(r, &e->stages[s], r->h / 2, r->w / 2, 2, 1, ACT_NONE);
    if (rc)
        return rc;
    float *y = ae_slot(r, r->at ^ 1, 0, r->h * r->w * z);
    struct ae_conv_args a = same_size(ae_stream(r), y, r->h, r->w, ACT_NONE);
    rc = ae_conv(r, &e->last, &a);
    if (!rc && !r->planning)
        rc = backend_download(r->be, j->out, y, r->h * r->w * z, r->em);
    return rc;
}

NODISCARD static enum err taef2_decode(struct autoencoder *ae, const float *latent, size_t h,
                                       size_t w, float *rgb, const struct progress *progress,
                                       struct errmsg *em)
{
    struct job j = {.in = latent, .out = rgb, .h = h, .w = w};
    enum err rc = ae_run(ae, decode_walk, &j, progress, em);
    if (!rc)
        rc = ae_finish_picture(ae, rgb, h * w * 64 * 3, 1.0f, 0.0f, em);
    return rc;
}

static size_t taef2_decode_bytes(struct autoencoder *ae, size_t h, size_t w)
{
    struct job j = {.h = h, .w = w};
    return ae_run_bytes(ae, decode_walk, &j);
}

NODISCARD static enum err taef2_encode(struct autoencoder *ae, const float *rgb, size_t h_px,
                                       size_t w_px, float *latent, const struct progress *progress,
                                       struct errmsg *em)
{
    struct job j = {.in = rgb, .out = latent, .h = h_px, .w = w_px};
    return ae_run(ae, encode_walk, &j, progress, em);
}

/* ---- How much arithmetic that is ---- */

static double stage_flops(const struct stage *s, double n_pixels)
{
    double flops = ae_conv_flops(&s->conv, n_pixels);
    for (size_t i = 0; i < s->n_blocks; i++) {
        const struct block *b = &s->blocks[i];
        for (size_t j = 0; j < 3; j++)
            flops += ae_conv_flops(&b->conv[j], n_pixels);
        flops += ae_conv_flops(&b->pool[0], n_pixels) + ae_conv_flops(&b->pool[1], n_pixels);
    }
    return flops;
}

static double taef2_decode_flops(const struct autoencoder *ae, size_t h, size_t w)
{
    const struct half *d = &((const struct taef2 *)ae->model)->decoder;
    double n_pixels = (double)h * (double)w, flops = ae_conv_flops(&d->last, 64 * n_pixels);
    for (size_t s = 0; s < N_STAGES; s++, n_pixels *= 4)
        flops += stage_flops(&d->stages[s], n_pixels);
    return flops;
}

static double taef2_encode_flops(const struct autoencoder *ae, size_t h_px, size_t w_px)
{
    const struct half *e = &((const struct taef2 *)ae->model)->encoder;
    double n_pixels = (double)h_px * (double)w_px, flops = ae_conv_flops(&e->last, n_pixels / 64);
    for (size_t s = 0; s < N_STAGES; s++, n_pixels /= 4)
        flops += stage_flops(&e->stages[s], n_pixels);
    return flops;
}

const struct autoencoder_kind autoencoder_taef2_kind = {
    .class_name = "AutoencoderTAEF2",
    .open = taef2_open,
    .close = taef2_close,
    .decode = taef2_decode,
    .encode = taef2_encode,
    .decode_flops = taef2_decode_flops,
    .encode_flops = taef2_encode_flops,
    .decode_bytes = taef2_decode_bytes,
};

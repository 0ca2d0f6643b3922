/* SPDX-License-Identifier: MIT */
/* AutoencoderKLFlux2: one picture through the encoder or the decoder.
 *
 * Memory is what limits the picture's size. Counting in channels of a whole picture,
 * the last block of FLUX.2's decoder meets 256 and leaves with 128: a plain resnet
 * would hold 512 at once (input, normed input, shortcut, inner). Here it is 256 and a few
 * rows, 0.9 GB at 1024x768: the input is taken in strips from the bottom to the top, each
 * gives its shortcut (128), is normed in place, convolved (128), and its memory given back.
 * Nor do a picture and its double lie there whole at the same time. Less than 256 is not to
 * be had without computing the largest layers twice, since each norm must have seen the
 * whole picture. */
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "models/autoencoder_kl.h"

NODISCARD static enum err norm(struct ae_run *r, const struct ae_norm *n, float *y, const float *x,
                               enum activation act)
{
    const struct kl_model *m = r->ae->model;
    return ae_group_norm(r, n, y, x, r->h * r->w, m->n_groups, KL_NORM_EPS, act);
}

/* x + conv2(norm2(conv1(norm1(x)))), as many channels out as in: the inner picture
 * lives in the other slot, the result takes the stream's place. */
NODISCARD static enum err resnet_equal(struct ae_run *r, const struct kl_resnet *b)
{
    size_t n = r->h * r->w * r->c, inner = 0;
    unsigned other = r->at ^ 1;
    enum err rc = norm(r, &b->norm1, ae_slot(r, other, 0, n), ae_slot(r, r->at, 0, n), ACT_SILU);
    if (!rc)
        rc =
            ae_conv_in_place(r, &b->conv1, other, 0, r->h, r->w, &(struct ae_conv_args){0}, &inner);
    if (rc)
        return rc;
    float *x = ae_slot(r, r->at, 0, n), *h = ae_slot(r, other, inner, n);
    rc = norm(r, &b->norm2, h, h, ACT_SILU);
    if (rc)
        return rc;
    return ae_conv(r, &b->conv2,
                   &(struct ae_conv_args){.x = h,
                                          .h_in = r->h,
                                          .w_in = r->w,
                                          .y = x,
                                          .h_out = r->h,
                                          .w_out = r->w,
                                          .residual = x,
                                          .stride = 1,
                                          .pad_before = 1,
                                          .upsample = 1});
}

/* The end of a resnet whose shortcut is already where the result belongs: the start
 * of the other slot. h: the inner picture before its norm. */
NODISCARD static enum err resnet_join(struct ae_run *r, const struct kl_resnet *b, float *h)
{
    size_t c_out = b->conv2.c_out;
    float *y = ae_slot(r, r->at ^ 1, 0, r->h * r->w * c_out);
    enum err rc = norm(r, &b->norm2, h, h, ACT_SILU);
    if (!rc)
        rc = ae_conv(r, &b->conv2,
                     &(struct ae_conv_args){.x = h,
                                            .h_in = r->h,
                                            .w_in = r->w,
                                            .y = y,
                                            .h_out = r->h,
                                            .w_out = r->w,
                                            .residual = y,
                                            .stride = 1,
                                            .pad_before = 1,
                                            .upsample = 1});
    ae_slot_discard(r, r->at);
    r->at ^= 1;
    r->c = c_out;
    return rc;
}

/* Before rows of the input are convolved in place: their shortcut, then their norm. */
struct shrink {
    const struct kl_resnet *b;
    float *x, *shortcut;
    const float *scale, *shift;
    size_t w;
};

NODISCARD static enum err prepare_rows(struct ae_run *r, void *ctx, size_t first, size_t end)
{
    const struct shrink *s = ctx;
    const struct ae_conv *c = &s->b->shortcut;
    size_t n = (end - first) * s->w, skipped = first * s->w;
    float *x = r->planning ? NULL : s->x + skipped * c->c_in;
    enum err rc =
        ae_linear(r, c, x, r->planning ? NULL : s->shortcut + skipped * c->c_out, n, false);
    if (!rc)
        rc = ae_affine_act(r, x, x, n, c->c_in, s->scale, s->shift, ACT_SILU);
    return rc;
}

/* Fewer channels out than in: everything but the shortcut stays in the stream's slot. The
 * shortcut and the inner picture grow as the input shrinks. */
NODISCARD static enum err resnet_shrink(struct ae_run *r, const struct kl_resnet *b)
{
    const struct kl_model *m = r->ae->model;
    size_t n_pixels = r->h * r->w, inner = 0, c_in = b->conv1.c_in;
    float *scale = ae_slot(r, AE_SLOT_VECTORS, 0, c_in);
    float *shift = ae_slot(r, AE_SLOT_VECTORS, c_in, c_in);
    struct shrink s = {.b = b,
                       .x = ae_stream(r),
                       .shortcut = ae_slot(r, r->at ^ 1, 0, n_pixels * b->shortcut.c_out),
                       .scale = scale,
                       .shift = shift,
                       .w = r->w};
    enum err rc =
        ae_group_norm_affine(r, &b->norm1, scale, shift, s.x, n_pixels, m->n_groups, KL_NORM_EPS);
    if (!rc)
        rc = ae_conv_in_place(r, &b->conv1, r->at, 0, r->h, r->w,
                              &(struct ae_conv_args){.prepare = prepare_rows, .prepare_ctx = &s},
                              &inner);
    if (!rc)
        rc = resnet_join(r, b, ae_slot(r, r->at, inner, n_pixels * b->conv1.c_out));
    return rc;
}

/* More channels out than in (the encoder): the other slot holds the normed input,
 * where the shortcut comes afterwards, and the inner picture. */
NODISCARD static enum err resnet_grow(struct ae_run *r, const struct kl_resnet *b)
{
    size_t n = r->h * r->w * b->conv1.c_out;
    unsigned other = r->at ^ 1;
    float *x = ae_stream(r), *t = ae_slot(r, other, 0, n), *h = ae_slot(r, other, n, n);
    enum err rc = norm(r, &b->norm1, t, x, ACT_SILU);
    if (!rc)
        rc = ae_conv(r, &b->conv1,
                     &(struct ae_conv_args){.x = t,
                                            .h_in = r->h,
                                            .w_in = r->w,
                                            .y = h,
                                            .h_out = r->h,
                                            .w_out = r->w,
                                            .stride = 1,
                                            .pad_before = 1,
                                            .upsample = 1});
    if (!rc)
        rc = ae_linear(r, &b->shortcut, x, t, r->h * r->w, false);
    if (!rc)
        rc = resnet_join(r, b, h);
    return rc;
}

NODISCARD static enum err resnet(struct ae_run *r, const struct kl_resnet *b)
{
    if (b->conv1.c_out < b->conv1.c_in)
        return resnet_shrink(r, b);
    if (b->conv1.c_out > b->conv1.c_in)
        return resnet_grow(r, b);
    return resnet_equal(r, b);
}

NODISCARD static enum err attention(struct ae_run *r, const struct kl_attention *b)
{
    size_t n_pixels = r->h * r->w, n = n_pixels * r->c;
    unsigned other = r->at ^ 1;
    float *x = ae_stream(r), *t = ae_slot(r, other, 0, n);
    float *q = ae_slot(r, other, n, n), *k = ae_slot(r, other, 2 * n, n);
    float *v = ae_slot(r, other, 3 * n, n);
    enum err rc = norm(r, &b->norm, t, x, ACT_NONE);
    if (!rc)
        rc = ae_linear(r, &b->q, t, q, n_pixels, false);
    if (!rc)
        rc = ae_linear(r, &b->k, t, k, n_pixels, false);
    if (!rc)
        rc = ae_linear(r, &b->v, t, v, n_pixels, false);
    if (!rc)
        rc = ae_attention(r, q, k, v, t, n_pixels, r->c);
    if (!rc)
        rc = ae_linear(r, &b->out, t, x, n_pixels, true);
    return rc;
}

NODISCARD static enum err middle(struct ae_run *r, const struct kl_half *half)
{
    enum err rc = resnet(r, &half->mid[0]);
    if (!rc && half->has_attn)
        rc = attention(r, &half->attn);
    if (!rc)
        rc = resnet(r, &half->mid[1]);
    if (!rc)
        rc = ae_observe(r, "mid");
    return rc;
}

/* A convolution that takes the stream to the other slot, at another size perhaps. */
NODISCARD static enum err cross(struct ae_run *r, const struct ae_conv *c, struct ae_conv_args a)
{
    a.h_in = r->h;
    a.w_in = r->w;
    a.x = ae_stream(r);
    a.y = ae_slot(r, r->at ^ 1, 0, a.h_out * a.w_out * c->c_out);
    a.gives_back = true;
    enum err rc = ae_conv(r, c, &a);
    ae_slot_discard(r, r->at);
    r->at ^= 1;
    r->h = a.h_out;
    r->w = a.w_out;
    r->c = c->c_out;
    return rc;
}

NODISCARD static enum err cross_same(struct ae_run *r, const struct ae_conv *c)
{
    return cross(r, c,
                 (struct ae_conv_args){
                     .h_out = r->h, .w_out = r->w, .stride = 1, .pad_before = 1, .upsample = 1});
}

NODISCARD static enum err cross_double(struct ae_run *r, const struct ae_conv *c)
{
    return cross(
        r, c,
        (struct ae_conv_args){
            .h_out = r->h * 2, .w_out = r->w * 2, .stride = 1, .pad_before = 1, .upsample = 2});
}

/* The reference pads one row and column at bottom and right only. */
NODISCARD static enum err cross_halve(struct ae_run *r, const struct ae_conv *c)
{
    return cross(
        r, c,
        (struct ae_conv_args){
            .h_out = r->h / 2, .w_out = r->w / 2, .stride = 2, .pad_before = 0, .upsample = 1});
}

NODISCARD static enum err cross_linear(struct ae_run *r, const struct ae_conv *c)
{
    size_t n_pixels = r->h * r->w;
    enum err rc = ae_linear(r, c, ae_stream(r), ae_slot(r, r->at ^ 1, 0, n_pixels * c->c_out),
                            n_pixels, false);
    r->at ^= 1;
    r->c = c->c_out;
    return rc;
}

NODISCARD static enum err blocks(struct ae_run *r, const struct kl_half *half, const char *name,
                                 enum err (*resample)(struct ae_run *, const struct ae_conv *))
{
    enum err rc = ERR_OK;
    for (size_t i = 0; i < half->n_blocks && !rc; i++) {
        const struct kl_block *b = &half->blocks[i];
        for (size_t j = 0; j < b->n_resnets && !rc; j++)
            rc = resnet(r, &b->resnets[j]);
        if (!rc && b->sampler.w)
            rc = resample(r, &b->sampler);
        char stage[32];
        snprintf(stage, sizeof stage, "%s.%zu", name, i);
        if (!rc)
            rc = ae_observe(r, stage);
    }
    return rc;
}

NODISCARD static enum err finish(struct ae_run *r, const struct kl_half *half)
{
    float *x = ae_stream(r);
    enum err rc = norm(r, &half->norm_out, x, x, ACT_SILU);
    if (!rc)
        rc = cross_same(r, &half->conv_out);
    return rc;
}

/* Between host and stream. */
struct job {
    const float *in;
    float *out;
    size_t h, w;
};

NODISCARD static enum err begin(struct ae_run *r, const struct job *j, size_t channels)
{
    r->at = 0;
    r->h = j->h;
    r->w = j->w;
    r->c = channels;
    float *x = ae_stream(r);
    return r->planning ? ERR_OK : backend_upload(r->be, x, j->in, j->h * j->w * channels, r->em);
}

NODISCARD static enum err end(struct ae_run *r, const struct job *j)
{
    float *x = ae_stream(r);
    return r->planning ? ERR_OK : backend_download(r->be, j->out, x, r->h * r->w * r->c, r->em);
}

NODISCARD static enum err decode_walk(struct ae_run *r, void *ctx)
{
    const struct kl_model *m = r->ae->model;
    const struct kl_half *d = &m->decoder;
    enum err rc = begin(r, ctx, r->ae->info.latent_channels);
    if (!rc && d->quant.w)
        rc = cross_linear(r, &d->quant);
    if (!rc)
        rc = cross_same(r, &d->conv_in);
    if (!rc)
        rc = middle(r, d);
    if (!rc)
        rc = blocks(r, d, "up", cross_double);
    if (!rc)
        rc = finish(r, d);
    if (!rc)
        rc = end(r, ctx);
    return rc;
}

NODISCARD static enum err encode_walk(struct ae_run *r, void *ctx)
{
    const struct kl_model *m = r->ae->model;
    const struct kl_half *e = &m->encoder;
    enum err rc = begin(r, ctx, 3);
    if (!rc)
        rc = cross_same(r, &e->conv_in);
    if (!rc)
        rc = blocks(r, e, "down", cross_halve);
    if (!rc)
        rc = middle(r, e);
    if (!rc)
        rc = finish(r, e);
    if (!rc && e->quant.w)
        rc = cross_linear(r, &e->quant);
    if (!rc)
        rc = end(r, ctx);
    return rc;
}

enum err kl_decode(struct autoencoder *ae, const float *latent, size_t h, size_t w, float *rgb,
                   const struct progress *progress, struct errmsg *em)
{
    struct job j = {.in = latent, .out = rgb, .h = h, .w = w};
    enum err rc = ae_run(ae, decode_walk, &j, progress, em);
    if (!rc)
        rc =
            ae_finish_picture(ae, rgb, h * w * ae->info.scale * ae->info.scale * 3, 0.5f, 0.5f, em);
    return rc;
}

size_t kl_decode_bytes(struct autoencoder *ae, size_t h, size_t w)
{
    struct job j = {.h = h, .w = w};
    return ae_run_bytes(ae, decode_walk, &j);
}

enum err kl_encode(struct autoencoder *ae, const float *rgb, size_t h_px, size_t w_px,
                   float *latent, const struct progress *progress, struct errmsg *em)
{
    size_t n = h_px * w_px * 3;
    float *x = malloc(n * sizeof(float));
    if (!x)
        return err_nomem(em, n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        x[i] = 2.0f * rgb[i] - 1.0f;
    struct job j = {.in = x, .out = latent, .h = h_px, .w = w_px};
    enum err rc = ae_run(ae, encode_walk, &j, progress, em);
    free(x);
    return rc;
}

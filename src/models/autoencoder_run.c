/* SPDX-License-Identifier: MIT */
/* A run through an autoencoder's layers: the plan, the slots, convolutions in
 * strips, progress. See autoencoder_impl.h for the idea. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/size.h"
#include "models/autoencoder_impl.h"

/* A caller hears from a long convolution about every so many million operations: a
 * third of a second on two cores. */
#define TICK_MFLOP 50000u
/* Strips thinner than this lose more to the row that neighbours both compute. */
#define STRIP_ROWS_MIN 16u

enum err ae_tick(struct ae_run *r, uint64_t mflop)
{
    if (r->planning) {
        r->total += mflop;
        return ERR_OK;
    }
    r->done += mflop;
    if (!progress_tick(r->progress, (size_t)r->done, (size_t)r->total))
        return err_set(r->em, ERR_CANCELLED, "cancelled");
    return ERR_OK;
}

enum err ae_run(struct autoencoder *ae, enum err (*walk)(struct ae_run *r, void *ctx), void *ctx,
                const struct progress *progress, struct errmsg *em)
{
    struct ae_run r = {.ae = ae, .be = ae->be, .progress = progress, .em = em, .planning = true};
    enum err rc = walk(&r, ctx);
    r.planning = false;
    for (size_t i = 0; i < AE_SLOTS && !rc; i++)
        rc = backend_alloc(r.be, r.need[i], &r.slot[i], em);
    if (!rc)
        rc = ae_tick(&r, 0);
    if (!rc)
        rc = walk(&r, ctx);
    for (size_t i = 0; i < AE_SLOTS; i++)
        backend_dealloc(r.be, r.slot[i]);
    return rc;
}

size_t ae_run_bytes(struct autoencoder *ae, enum err (*walk)(struct ae_run *r, void *ctx),
                    void *ctx)
{
    struct ae_run r = {.ae = ae, .be = ae->be, .planning = true};
    size_t n = 0;
    if (walk(&r, ctx))
        return 0;
    for (size_t i = 0; i < AE_SLOTS; i++)
        n += r.need[i];
    return n * sizeof(float);
}

static void discard(struct ae_run *r, float *first, const float *end)
{
    if (!r->planning && end > first && (size_t)(end - first) >= r->ae->discard_floats_min)
        backend_discard(r->be, first, (size_t)(end - first));
}

void ae_slot_discard(struct ae_run *r, unsigned slot)
{
    if (!r->planning)
        discard(r, r->slot[slot], r->slot[slot] + r->need[slot]);
}

float *ae_slot(struct ae_run *r, unsigned slot, size_t offset, size_t n)
{
    if (r->planning) {
        r->need[slot] = max_size(r->need[slot], offset + n);
        return NULL;
    }
    assert(offset + n <= r->need[slot]);
    return r->slot[slot] + offset;
}

static uint64_t conv_mflop(const struct ae_conv *c, size_t n_pixels)
{
    return (uint64_t)(1e-6 * ae_conv_flops(c, (double)n_pixels));
}

static struct conv2d_args whole_conv(const struct ae_conv *c, const struct ae_conv_args *a)
{
    return (struct conv2d_args){.x = a->x,
                                .h_in = a->h_in,
                                .w_in = a->w_in,
                                .w = c->w,
                                .bias = c->bias,
                                .residual = a->residual,
                                .y = a->y,
                                .h_out = a->h_out,
                                .w_out = a->w_out,
                                .stride = a->stride,
                                .pad_before = a->pad_before,
                                .upsample = a->upsample,
                                .act = a->act};
}

/* The backend pads a picture's top and left alike, so a strip that begins inside the
 * picture gets its first row wrong. Strips therefore run from the bottom to the top,
 * each beginning a row or two early: the next one puts those rows right. */
static size_t strip_start(const struct ae_conv_args *a, size_t row)
{
    if (row == 0)
        return 0;
    size_t start = a->pad_before ? row - 1 : row;
    return a->upsample == 2 ? start & ~(size_t)1 : start;
}

/* The last row of x that an output row sees, if x is that high. */
static size_t last_in_row(const struct ae_conv *c, const struct ae_conv_args *a, size_t row)
{
    return (row * a->stride + c->k - 1 - a->pad_before) / a->upsample;
}

static size_t strip_in_start(const struct ae_conv_args *a, size_t row)
{
    return strip_start(a, row) * a->stride / a->upsample;
}

static void conv_strip(struct ae_run *r, const struct ae_conv *c, const struct ae_conv_args *a,
                       size_t row, size_t row_end)
{
    struct conv2d_args s = whole_conv(c, a);
    size_t start = strip_start(a, row);
    size_t in_start = strip_in_start(a, row);
    s.x += in_start * a->w_in * c->c_in;
    s.y += start * a->w_out * c->c_out;
    if (s.residual)
        s.residual += start * a->w_out * c->c_out;
    s.h_out = row_end - start;
    s.h_in = min_size(a->h_in - in_start, last_in_row(c, a, s.h_out - 1) + 1);
    backend_conv2d(r->be, &s);
}

/* The rows of x behind those that the strips above row read, up to its end or to where y
 * begins by now: each time from the new beginning, so that what the last ranges left over
 * for not filling a page goes too. */
static void give_back(struct ae_run *r, const struct ae_conv *c, const struct ae_conv_args *a,
                      size_t row)
{
    size_t row_floats = a->w_in * c->c_in;
    size_t needed = row ? min_size(a->h_in, last_in_row(c, a, row - 1) + 1) : 0;
    float *x = (float *)(uintptr_t)a->x, *end = x + a->h_in * row_floats;
    float *y = a->y + strip_start(a, row) * a->w_out * c->c_out;
    if (a->is_in_place && y < end)
        end = y;
    discard(r, x + needed * row_floats, end);
}

enum err ae_conv(struct ae_run *r, const struct ae_conv *c, const struct ae_conv_args *a)
{
    size_t rows = a->max_rows ? a->max_rows : a->h_out;
    size_t raw = a->h_in; /* rows of x that are not prepared */
    uint64_t row_mflop = conv_mflop(c, a->w_out) + 1;
    enum err rc = ERR_OK;
    if (r->planning) {
        rc = a->prepare ? a->prepare(r, a->prepare_ctx, 0, a->h_in) : ERR_OK;
        return rc ? rc : ae_tick(r, conv_mflop(c, a->h_out * a->w_out));
    }
    /* the rows computed twice must not receive the residual twice */
    if (a->residual && a->residual == a->y)
        rows = a->h_out;
    else
        rows = min_size(rows, max_size(STRIP_ROWS_MIN, TICK_MFLOP / row_mflop));
    for (size_t end = a->h_out; end > 0 && !rc;) {
        size_t row = end > rows ? end - rows : 0, in_start = strip_in_start(a, row);
        if (a->prepare && in_start < raw)
            rc = a->prepare(r, a->prepare_ctx, in_start, raw);
        if (rc)
            return rc;
        raw = min_size(raw, in_start);
        conv_strip(r, c, a, row, end);
        if (a->gives_back)
            give_back(r, c, a, row);
        rc = ae_tick(r, conv_mflop(c, end * a->w_out) - conv_mflop(c, row * a->w_out));
        end = row;
    }
    return rc;
}

/* The output ends a few rows after the input's end; strips from the bottom to the top
 * write behind the rows that are still to be read. For the strip [row, end): it reads
 * input rows below end + 1 and writes output rows from row - 1 on; as c_out <= c_in
 * and end <= row + rows, a gap of rows + 2 rows at the end keeps them apart. */
enum err ae_conv_in_place(struct ae_run *r, const struct ae_conv *c, unsigned slot, size_t offset,
                          size_t h, size_t w, const struct ae_conv_args *how, size_t *out_offset)
{
    size_t rows = min_size(h, max_size(STRIP_ROWS_MIN, div_up(h, 16)));
    size_t in_floats = (h + rows + 2) * w * c->c_in, out_floats = h * w * c->c_out;
    assert(c->c_out <= c->c_in);
    *out_offset = offset + in_floats - out_floats;
    struct ae_conv_args a = {.x = ae_slot(r, slot, offset, in_floats),
                             .h_in = h,
                             .w_in = w,
                             .y = ae_slot(r, slot, *out_offset, out_floats),
                             .h_out = h,
                             .w_out = w,
                             .stride = 1,
                             .pad_before = 1,
                             .upsample = 1,
                             .act = how->act,
                             .max_rows = rows,
                             .gives_back = true,
                             .is_in_place = true,
                             .prepare = how->prepare,
                             .prepare_ctx = how->prepare_ctx};
    return ae_conv(r, c, &a);
}

enum err ae_linear(struct ae_run *r, const struct ae_conv *c, const float *x, float *y, size_t n,
                   bool accumulate)
{
    if (!r->planning) {
        struct linear_args l = {.x = x,
                                .ldx = c->c_in,
                                .m = n,
                                .w = c->w,
                                .bias = c->bias,
                                .y = y,
                                .ldy = c->c_out,
                                .accumulate = accumulate};
        backend_linear(r->be, &l);
    }
    return ae_tick(r, conv_mflop(c, n));
}

enum err ae_group_norm(struct ae_run *r, const struct ae_norm *n, float *y, const float *x,
                       size_t n_pixels, size_t n_groups, float eps, enum activation act)
{
    if (!r->planning)
        backend_group_norm(r->be, y, x, n_pixels, n->channels, n_groups, n->w, n->b, eps, act);
    /* bound by memory: about as long as so many multiplications */
    return ae_tick(r, n_pixels * n->channels * 64 / 1000000 + 1);
}

enum err ae_group_norm_affine(struct ae_run *r, const struct ae_norm *n, float *scale, float *shift,
                              const float *x, size_t n_pixels, size_t n_groups, float eps)
{
    if (!r->planning)
        backend_group_norm_affine(r->be, scale, shift, x, n_pixels, n->channels, n_groups, n->w,
                                  n->b, eps);
    return ae_tick(r, n_pixels * n->channels * 20 / 1000000 + 1);
}

enum err ae_affine_act(struct ae_run *r, float *y, const float *x, size_t n_pixels, size_t channels,
                       const float *scale, const float *shift, enum activation act)
{
    if (!r->planning)
        backend_affine_act(r->be, y, x, n_pixels, channels, scale, shift, act);
    return ae_tick(r, n_pixels * channels * 44 / 1000000);
}

enum err ae_attention(struct ae_run *r, const float *q, const float *k, const float *v, float *out,
                      size_t n, size_t channels)
{
    if (!r->planning) {
        struct attention_args a = {.q = q,
                                   .k = k,
                                   .v = v,
                                   .out = out,
                                   .ldq = channels,
                                   .ldk = channels,
                                   .ldv = channels,
                                   .ldo = channels,
                                   .n_q = n,
                                   .n_k = n,
                                   .n_k_valid = n,
                                   .n_heads = 1,
                                   .n_kv_heads = 1,
                                   .head_dim = channels,
                                   .scale = 1.0f / sqrtf((float)channels)};
        backend_attention(r->be, &a);
    }
    return ae_tick(r, (uint64_t)(4.0e-6 * (double)n * (double)n * (double)channels) + 1);
}

enum err ae_observe(struct ae_run *r, const char *stage)
{
    if (r->planning || !r->ae->observe)
        return ERR_OK;
    size_t n = r->h * r->w * r->c;
    float *copy = malloc(n * sizeof(float));
    if (!copy)
        return err_nomem(r->em, n * sizeof(float));
    enum err rc = backend_download(r->be, copy, ae_stream(r), n, r->em);
    if (!rc)
        r->ae->observe(r->ae->observe_ctx, stage, copy, r->h, r->w, r->c);
    free(copy);
    return rc;
}

enum err ae_check_finite(const struct autoencoder *ae, const float *x, size_t n, const char *what,
                         struct errmsg *em)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]))
            return err_set(em, ERR_FORMAT,
                           "%s: %s holds values that are not finite numbers; a weight file is "
                           "damaged",
                           weights_path(ae->weights), what);
    }
    return ERR_OK;
}

enum err ae_finish_picture(const struct autoencoder *ae, float *rgb, size_t n, float scale,
                           float shift, struct errmsg *em)
{
    enum err rc = ae_check_finite(ae, rgb, n, "the decoded picture", em);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        rgb[i] = fminf(fmaxf(rgb[i] * scale + shift, 0.0f), 1.0f);
    return ERR_OK;
}

/* SPDX-License-Identifier: MIT */
/* What is settled before any arithmetic: that the request makes sense, how large
 * everything is, and that there is memory for it. */
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/size.h"
#include "pipeline/drawing.h"
#include "pipeline/prompt.h"

static enum err check_side(const char *name, size_t px, struct errmsg *em)
{
    if (px < LIMIT_SIDE_MIN_PX || px > LIMIT_SIDE_MAX_PX)
        return err_set(em, ERR_USAGE, "the %s is %zu px; it must be from %u to %u", name, px,
                       LIMIT_SIDE_MIN_PX, LIMIT_SIDE_MAX_PX);
    return ERR_OK;
}

static size_t clamp_side(size_t px)
{
    return min_size(max_size(px, LIMIT_OFFERED_SIDE_MIN_PX), LIMIT_SIDE_MAX_PX);
}

/* The reference's size within the limits of a picture, its aspect kept. */
static void size_of_reference(const struct image *ref, size_t *w, size_t *h)
{
    double scale = fmin(1.0, (double)LIMIT_SIDE_MAX_PX /
                                 (double)max_size(ref->width_px, ref->height_px));
    *w = clamp_side((size_t)lround((double)ref->width_px * scale));
    *h = clamp_side((size_t)lround((double)ref->height_px * scale));
}

static enum err resolve_request(struct drawing *d, struct errmsg *em)
{
    const struct draw_request *req = d->req;
    const struct pipeline *p = d->p;
    enum err rc = prompt_check(req->prompt, em);
    if (rc)
        return rc;
    if (req->n_references && !p->dir.references_max)
        return err_set(em, ERR_UNSUPPORTED,
                       "the model %s was not trained to take reference pictures; choose another "
                       "with -m (FLUX.2 klein takes them)",
                       p->dir.name);
    if (req->n_references > p->dir.references_max)
        return err_set(em, ERR_USAGE, "%zu reference pictures, but the model %s takes at most %zu",
                       req->n_references, p->dir.name, p->dir.references_max);
    if (req->n_references && !autoencoder_info(p->autoencoder).has_encoder)
        return err_set(em, ERR_UNSUPPORTED,
                       "%s cannot take reference pictures: its autoencoder has no encoder",
                       p->dir.name);
    if (req->steps > LIMIT_STEPS_MAX)
        return err_set(em, ERR_USAGE, "%zu steps; at most %u are allowed", req->steps,
                       LIMIT_STEPS_MAX);
    if (req->guidance > LIMIT_GUIDANCE_MAX)
        return err_set(em, ERR_USAGE, "the guidance is %g; at most %g is allowed", req->guidance,
                       LIMIT_GUIDANCE_MAX);
    d->steps = req->steps ? req->steps : p->dir.steps;
    d->guidance = req->guidance >= 0 ? req->guidance : p->dir.guidance;
    d->width_px = req->width_px;
    d->height_px = req->height_px;
    size_t default_w = DEFAULT_WIDTH_PX, default_h = DEFAULT_HEIGHT_PX;
    if (req->n_references)
        size_of_reference(&req->references[0], &default_w, &default_h);
    if (!d->width_px)
        d->width_px = default_w;
    if (!d->height_px)
        d->height_px = default_h;
    rc = check_side("width", d->width_px, em);
    return rc ? rc : check_side("height", d->height_px, em);
}

/* Models that draw at their own area see their references at it, too. */
static enum err prepare_reference(const struct pipeline *p, const struct image *in,
                                  size_t px_per_tok, struct image *out, struct errmsg *em)
{
    struct image smaller = {0};
    size_t area = in->width_px * in->height_px;
    enum err rc;
    if (p->dir.native_pixels && area > p->dir.native_pixels) {
        double scale = sqrt((double)p->dir.native_pixels / (double)area);
        size_t w = max_size(LIMIT_REFERENCE_SIDE_MIN_PX,
                            (size_t)lround((double)in->width_px * scale));
        size_t h = max_size(LIMIT_REFERENCE_SIDE_MIN_PX,
                            (size_t)lround((double)in->height_px * scale));
        rc = image_resize_lanczos(in, w, h, &smaller, em);
        if (rc)
            return rc;
        in = &smaller;
    }
    rc = image_prepare_reference(in, px_per_tok, out, em);
    image_deinit(&smaller);
    return rc;
}

/* Sizes of everything: the drawn grid, the references' grids, the buffers. */
static enum err make_buffers(struct drawing *d, struct errmsg *em)
{
    struct autoencoder_info ae = autoencoder_info(d->p->autoencoder);
    size_t px_per_tok = ae.scale * ae.patch;
    size_t n_refs = d->req->n_references;
    d->token_width = ae.latent_channels * ae.patch * ae.patch;
    d->grid = grid_for_size(d->width_px, d->height_px, px_per_tok, d->p->dir.native_pixels);
    d->n_noise = d->grid.w_tok * d->grid.h_tok;
    d->n_image = d->n_noise;
    if (n_refs) {
        d->references = calloc(n_refs, sizeof *d->references);
        d->reference_grids = calloc(n_refs, sizeof *d->reference_grids);
        if (!d->references || !d->reference_grids)
            return err_nomem(em, n_refs * sizeof *d->references);
    }
    for (size_t i = 0; i < n_refs; i++) {
        struct image *ref = &d->references[i];
        enum err rc = prepare_reference(d->p, &d->req->references[i], px_per_tok, ref, em);
        if (rc)
            return err_prefix(em, rc, "reference picture %zu", i + 1);
        d->reference_grids[i] = grid_for_size(ref->width_px, ref->height_px, px_per_tok, 0);
        d->n_image += d->reference_grids[i].w_tok * d->reference_grids[i].h_tok;
    }
    size_t n_floats = d->n_image * d->token_width;
    d->tokens = malloc(n_floats * sizeof *d->tokens);
    d->velocity = malloc(d->n_noise * d->token_width * sizeof *d->velocity);
    d->velocity_negative = malloc(d->n_noise * d->token_width * sizeof *d->velocity);
    d->sigmas = malloc((d->steps + 1) * sizeof *d->sigmas);
    d->positions = malloc((d->p->dir.max_tokens + d->n_image) * sizeof *d->positions);
    if (!d->tokens || !d->velocity || !d->velocity_negative || !d->sigmas || !d->positions)
        return err_nomem(em, 3 * n_floats * sizeof *d->tokens);
    size_t run_bytes = transformer_run_bytes(d->p->transformer, d->p->dir.max_tokens, d->n_image);
    uint64_t available = mem_available_bytes();
    if (run_bytes > available)
        return err_set(em, ERR_NOMEM,
                       "drawing %zux%zu takes %zu MB of memory besides the weights, and %llu MB "
                       "are free; ask for a smaller picture or close other programs",
                       d->width_px, d->height_px, run_bytes >> 20,
                       (unsigned long long)(available >> 20));
    return ERR_OK;
}

enum err drawing_plan(struct drawing *d, struct errmsg *em)
{
    enum err rc = resolve_request(d, em);
    return rc ? rc : make_buffers(d, em);
}

/* SPDX-License-Identifier: MIT */
/* One drawing, from prompt to picture. pipeline_draw below reads like the list of
 * steps of the reference (diffusers, pipeline_flux2_klein.py, __call__). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/size.h"
#include "models/noise.h"
#include "pipeline/drawing.h"
#include "pipeline/prompt.h"

/* Reference image i lies at t = 10 + 10·i on the first RoPE axis. */
#define REFERENCE_T_FIRST 10.0f
#define REFERENCE_T_STEP 10.0f

/* ---- progress -------------------------------------------------------------- */

static bool report(const struct drawing *d, double stage_fraction, const struct image *preview)
{
    if (!d->req->on_progress)
        return true;
    struct stage_progress sp = {
        .stage = d->stage,
        .step = d->step,
        .n_steps = d->steps,
        .fraction = fmin(1.0, (d->work_done + d->work_stage * stage_fraction) / d->work_total),
        .preview = preview,
    };
    return d->req->on_progress(d->req->ctx, &sp);
}

static bool on_tick(void *ctx, size_t done, size_t total)
{
    const struct drawing *d = ctx;
    return report(d, total ? (double)done / (double)total : 0.0, NULL);
}

/* n_valid: tokens that are no padding. */
static double text_work(const struct pipeline *p, size_t n_valid)
{
    struct text_encoder_info te = text_encoder_info(p->text_encoder);
    size_t last = 0;
    for (size_t i = 0; i < p->dir.n_text_layers; i++)
        last = max_size(last, p->dir.text_layers[i]);
    const struct padded_ids prompt = {
        .n = p->dir.max_tokens, .n_valid = n_valid, .side = p->dir.pad_side};
    return text_encoder_flops(&te, &prompt, last);
}

static double step_flops(const struct drawing *d)
{
    struct transformer_info tr = transformer_info(d->p->transformer);
    double passes = d->p->uses_cfg && d->guidance > 1 ? 2 : 1;
    return passes * transformer_flops(&tr, d->p->dir.max_tokens, d->n_image, d->n_noise);
}

static bool shows_previews(const struct drawing *d)
{
    return d->req->previews && drawing_can_preview(d->p);
}

static double step_work(const struct drawing *d)
{
    return step_flops(d) + (shows_previews(d) ? drawing_preview_flops(d) : 0);
}

static double reference_work(const struct drawing *d, size_t i)
{
    const struct image *ref = &d->references[i];
    return autoencoder_encode_flops(d->p->autoencoder, ref->height_px, ref->width_px);
}

static double decode_work(const struct drawing *d)
{
    return autoencoder_decode_flops(d->p->autoencoder, d->grid.h_tok, d->grid.w_tok);
}

/* The work of a stage begins: what came before is done. */
static enum err begin(struct drawing *d, enum stage stage, double work, struct errmsg *em)
{
    d->stage = stage;
    d->work_stage = work;
    return report(d, 0, NULL) ? ERR_OK : err_set(em, ERR_CANCELLED, "cancelled");
}

/* flops: of the work that was really done. */
static void end(struct drawing *d, double started_s, double flops)
{
    d->result->seconds[d->stage] += clock_now_s() - started_s;
    d->result->flops[d->stage] += flops;
    d->work_done += d->work_stage;
    d->work_stage = 0;
}

static void plan_work(struct drawing *d)
{
    double text = text_work(d->p, d->p->dir.max_tokens);
    d->work_total = text + (double)d->steps * step_work(d) + decode_work(d);
    for (size_t i = 0; i < d->req->n_references; i++)
        d->work_total += reference_work(d, i);
    if (d->req->enhance)
        d->work_total += text;
    if (d->p->uses_cfg && d->guidance > 1)
        d->work_total += text;
}

/* ---- the stages ------------------------------------------------------------ */

static struct progress ticker(struct drawing *d)
{
    return (struct progress){.tick = on_tick, .ctx = d};
}

static enum err enhance(struct drawing *d, struct errmsg *em)
{
    if (!d->req->enhance)
        return ERR_OK;
    double started = clock_now_s();
    struct progress progress = ticker(d);
    enum err rc = begin(d, STAGE_ENHANCE, text_work(d->p, d->p->dir.max_tokens), em);
    if (!rc)
        rc = prompt_enhance(&d->p->dir, d->p->tokenizer, d->p->text_encoder, d->req->prompt,
                            d->req->n_references > 0, d->req->seed, &d->enhanced, &progress, em);
    if (!rc)
        end(d, started, 0);
    return rc;
}

/* The embedding of a prompt, from the cache when it was the last one. */
static enum err embed_text(struct drawing *d, const char *prompt, struct text_cache *cache,
                           struct errmsg *em)
{
    struct pipeline *p = d->p;
    double started = clock_now_s(), flops = 0;
    enum err rc = begin(d, STAGE_TEXT, text_work(p, p->dir.max_tokens), em);
    if (rc)
        return rc;
    if (!cache->prompt || strcmp(cache->prompt, prompt)) {
        struct prompt_ids ids = {0};
        struct progress progress = ticker(d);
        text_cache_deinit(cache);
        rc = prompt_tokenize(&p->dir, p->tokenizer, prompt, &ids, em);
        if (!rc)
            rc = prompt_embed(&p->dir, p->text_encoder, &ids, &cache->embedding, &cache->width,
                              &progress, em);
        cache->n_tokens = ids.n;
        cache->n_valid = ids.n_valid;
        cache->n_dropped = ids.n_dropped;
        flops = text_work(p, ids.n_valid);
        prompt_ids_deinit(&ids);
        if (!rc && !(cache->prompt = strdup(prompt)))
            rc = err_nomem(em, strlen(prompt));
        if (rc)
            text_cache_deinit(cache);
    }
    if (!rc)
        end(d, started, flops);
    return rc;
}

/* The parts of a large model are used one after the other. The pages of one that is
 * done go back to the system before the next one's come in: to map them again from the
 * page cache costs a fraction of a second, to swap costs minutes. */
static bool is_large(uint64_t weight_bytes)
{
    return weight_bytes >= LARGE_WEIGHTS_BYTES || weight_bytes > mem_available_bytes();
}

static void release_text(const struct pipeline *p)
{
    if (is_large(text_encoder_info(p->text_encoder).weight_bytes))
        text_encoder_release_pages(p->text_encoder);
}

static void release_transformer(const struct pipeline *p)
{
    if (is_large(transformer_info(p->transformer).weight_bytes))
        transformer_release_pages(p->transformer);
}

static enum err encode_references(struct drawing *d, struct errmsg *em)
{
    if (!d->req->n_references)
        return ERR_OK;
    double started = clock_now_s();
    float *out = d->tokens + d->n_noise * d->token_width;
    for (size_t i = 0; i < d->req->n_references; i++) {
        const struct image *ref = &d->references[i];
        size_t n_values = ref->width_px * ref->height_px * 3;
        struct progress progress = ticker(d);
        double work = reference_work(d, i);
        enum err rc = begin(d, STAGE_REFERENCES, work, em);
        if (rc)
            return rc;
        float *rgb = malloc(n_values * sizeof *rgb);
        if (!rgb)
            return err_nomem(em, n_values * sizeof *rgb);
        for (size_t j = 0; j < n_values; j++)
            rgb[j] = (float)ref->rgb[j] / 255.0f;
        rc = autoencoder_encode(d->p->autoencoder, rgb, ref->height_px, ref->width_px, out,
                                &progress, em);
        free(rgb);
        if (rc)
            return rc;
        out += d->reference_grids[i].w_tok * d->reference_grids[i].h_tok * d->token_width;
        end(d, started, work);
        started = clock_now_s();
    }
    return ERR_OK;
}

/* The noise is drawn channel by channel, as the reference shapes it, then turned
 * into tokens. */
static enum err draw_noise(struct drawing *d, struct errmsg *em)
{
    size_t n = d->n_noise * d->token_width;
    float *planes = malloc(n * sizeof *planes);
    if (!planes)
        return err_nomem(em, n * sizeof *planes);
    noise_randn(d->req->seed, planes, n);
    for (size_t t = 0; t < d->n_noise; t++)
        for (size_t c = 0; c < d->token_width; c++)
            d->tokens[t * d->token_width + c] = planes[c * d->n_noise + t];
    free(planes);
    return ERR_OK;
}

static struct position *grid_positions(struct position *out, const struct grid *g, float t)
{
    for (size_t h = 0; h < g->h_tok; h++)
        for (size_t w = 0; w < g->w_tok; w++)
            *out++ = (struct position){.t = t, .h = (float)h, .w = (float)w};
    return out;
}

static void place_tokens(struct drawing *d)
{
    struct position *out = d->positions;
    for (size_t l = 0; l < d->p->dir.max_tokens; l++)
        *out++ = (struct position){.l = (float)l};
    out = grid_positions(out, &d->grid, 0);
    for (size_t i = 0; i < d->req->n_references; i++)
        out = grid_positions(out, &d->reference_grids[i],
                             REFERENCE_T_FIRST + REFERENCE_T_STEP * (float)i);
}

static enum err new_run(struct drawing *d, const struct text_cache *text,
                        struct transformer_run **out, struct errmsg *em)
{
    return transformer_run_new(d->p->transformer, text->embedding, text->n_tokens, d->n_image,
                               d->n_noise, d->positions, out, em);
}

/* The velocity at the current tokens; with classifier-free guidance, from two passes. */
static enum err velocity(struct drawing *d, float sigma, struct errmsg *em)
{
    struct progress progress = ticker(d);
    float guidance = (float)d->guidance;
    /* the reference's way through float32, which may cost sigma its last bit */
    float timestep = sigma * 1000.0f / 1000.0f;
    enum err rc = transformer_forward(d->run, d->tokens, timestep, guidance, d->velocity,
                                      &progress, em);
    if (rc || !d->run_negative)
        return rc;
    rc = transformer_forward(d->run_negative, d->tokens, timestep, guidance,
                             d->velocity_negative, &progress, em);
    if (rc)
        return rc;
    for (size_t i = 0; i < d->n_noise * d->token_width; i++)
        d->velocity[i] = d->velocity_negative[i] +
                         guidance * (d->velocity[i] - d->velocity_negative[i]);
    return ERR_OK;
}

static enum err show_preview(struct drawing *d, float sigma, struct errmsg *em)
{
    struct image picture = {0};
    enum err rc = drawing_preview(d, sigma, &picture, em);
    if (!rc && !report(d, 1.0, &picture))
        rc = err_set(em, ERR_CANCELLED, "cancelled");
    image_deinit(&picture);
    return rc;
}

static enum err denoise(struct drawing *d, struct errmsg *em)
{
    double started = clock_now_s();
    double work = step_work(d);
    size_t n = d->n_noise * d->token_width;
    d->step = 1;
    enum err rc = begin(d, STAGE_DENOISE, work, em);
    if (!rc)
        rc = draw_noise(d, em);
    if (rc)
        return rc;
    place_tokens(d);
    rc = new_run(d, &d->p->positive, &d->run, em);
    if (!rc && d->p->uses_cfg && d->guidance > 1)
        rc = new_run(d, &d->p->negative, &d->run_negative, em);
    if (rc)
        return rc;
    scheduler_sigmas(&d->p->scheduler, d->steps, d->n_noise, d->sigmas);
    for (size_t i = 0; i < d->steps; i++) {
        float sigma = d->sigmas[i], sigma_next = d->sigmas[i + 1];
        d->step = i + 1;
        rc = begin(d, STAGE_DENOISE, work, em);
        if (!rc)
            rc = velocity(d, sigma, em);
        if (!rc && shows_previews(d))
            rc = show_preview(d, sigma, em);
        if (rc)
            return rc;
        for (size_t j = 0; j < n; j++)
            d->tokens[j] += (sigma_next - sigma) * d->velocity[j];
        if (d->req->on_latent)
            d->req->on_latent(d->req->ctx, i, d->tokens, d->n_noise, d->token_width);
        end(d, started, step_flops(d));
        started = clock_now_s();
    }
    transformer_run_free(d->run);
    transformer_run_free(d->run_negative);
    d->run = d->run_negative = NULL;
    return ERR_OK;
}

static enum err decode(struct drawing *d, struct errmsg *em)
{
    double started = clock_now_s(), work = decode_work(d);
    struct image drawn = {0};
    struct progress progress = ticker(d);
    size_t w = d->grid.drawn_w_px, h = d->grid.drawn_h_px;
    float *rgb = NULL;
    enum err rc = begin(d, STAGE_DECODE, work, em);
    if (rc)
        return rc;
    release_transformer(d->p);
    rgb = malloc(w * h * 3 * sizeof *rgb);
    if (!rgb)
        return err_nomem(em, w * h * 3 * sizeof *rgb);
    rc = autoencoder_decode(d->p->autoencoder, d->tokens, d->grid.h_tok, d->grid.w_tok, rgb,
                            &progress, em);
    if (!rc)
        rc = image_from_floats(rgb, w, h, &drawn, em);
    if (!rc)
        rc = grid_fit_picture(&drawn, d->grid.drawn_w_px / d->grid.w_tok, d->width_px, d->height_px,
                              &d->result->picture, em);
    image_deinit(&drawn);
    free(rgb);
    if (rc)
        return rc;
    end(d, started, work);
    return report(d, 0, NULL) ? ERR_OK : err_set(em, ERR_CANCELLED, "cancelled");
}

static void drawing_deinit(struct drawing *d)
{
    transformer_run_free(d->run);
    transformer_run_free(d->run_negative);
    if (d->references)
        for (size_t i = 0; i < d->req->n_references; i++)
            image_deinit(&d->references[i]);
    free(d->references);
    free(d->reference_grids);
    free(d->tokens);
    free(d->velocity);
    free(d->velocity_negative);
    free(d->sigmas);
    free(d->positions);
    free(d->enhanced);
}

enum err pipeline_draw(struct pipeline *p, const struct draw_request *req,
                       struct draw_result *out, struct errmsg *em)
{
    struct draw_result result = {0};
    struct drawing d = {.p = p, .req = req, .result = &result};
    enum err rc = drawing_plan(&d, em);
    if (rc)
        goto out;
    plan_work(&d);

    rc = enhance(&d, em);
    if (!rc)
        rc = embed_text(&d, d.enhanced ? d.enhanced : req->prompt, &p->positive, em);
    if (!rc && p->uses_cfg && d.guidance > 1)
        rc = embed_text(&d, "", &p->negative, em);
    if (rc)
        goto out;
    release_text(p);
    rc = encode_references(&d, em);
    if (!rc)
        rc = denoise(&d, em);
    if (!rc)
        rc = decode(&d, em);
    if (rc)
        goto out;

    result.drawn_w_px = d.grid.drawn_w_px;
    result.drawn_h_px = d.grid.drawn_h_px;
    result.steps = d.steps;
    result.guidance = d.guidance;
    result.n_tokens = p->positive.n_valid;
    result.n_tokens_dropped = p->positive.n_dropped;
    result.enhanced_prompt = d.enhanced;
    d.enhanced = NULL;
    *out = result;
    result = (struct draw_result){0};
out:
    draw_result_deinit(&result);
    drawing_deinit(&d);
    return rc;
}

void draw_result_deinit(struct draw_result *r)
{
    image_deinit(&r->picture);
    free(r->enhanced_prompt);
    *r = (struct draw_result){0};
}

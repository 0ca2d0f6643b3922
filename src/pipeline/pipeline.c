/* SPDX-License-Identifier: MIT */
/* Opening a model: every part is opened and checked against the others before
 * anything is drawn, so that a wrong file is told at once. */
#include "pipeline/pipeline.h"

#include <stdlib.h>

#include "pipeline/drawing.h"
#include "pipeline/prompt.h"

static enum err check_parts_fit(const struct pipeline *p, struct errmsg *em)
{
    struct text_encoder_info te = text_encoder_info(p->text_encoder);
    struct transformer_info tr = transformer_info(p->transformer);
    struct autoencoder_info ae = autoencoder_info(p->autoencoder);
    size_t text_width = p->dir.n_text_layers * te.hidden;
    size_t token_width = ae.latent_channels * ae.patch * ae.patch;
    for (size_t i = 0; i < p->dir.n_text_layers; i++)
        if (p->dir.text_layers[i] > te.n_layers)
            return err_set(em, ERR_FORMAT,
                           "%s: the text encoder has %zu blocks, but hidden state %zu is asked "
                           "for (text_encoder_out_layers)",
                           p->dir.path, te.n_layers, p->dir.text_layers[i]);
    if (text_width != tr.text_width)
        return err_set(em, ERR_FORMAT,
                       "%s: the text encoder gives %zu channels, the transformer takes %zu: "
                       "these parts are not of one model",
                       p->dir.path, text_width, tr.text_width);
    if (token_width != tr.in_channels || token_width != tr.out_channels)
        return err_set(em, ERR_FORMAT,
                       "%s: the autoencoder's tokens are %zu wide, the transformer's %zu in and "
                       "%zu out: these parts are not of one model",
                       p->dir.path, token_width, tr.in_channels, tr.out_channels);
    if (!ae.has_decoder || !ae.has_bn)
        return err_set(em, ERR_FORMAT, "%s: the autoencoder has no %s", p->dir.path,
                       ae.has_decoder ? "latent statistics (bn.running_mean)" : "decoder");
    if (tokenizer_vocab_size(p->tokenizer) > te.vocab)
        return err_set(em, ERR_FORMAT,
                       "%s: the tokenizer has %zu tokens, the text encoder's embedding %zu rows",
                       p->dir.path, tokenizer_vocab_size(p->tokenizer), te.vocab);
    return ERR_OK;
}

static enum err open_preview(struct pipeline *p, const char *dir, struct errmsg *em)
{
    /* a full autoencoder's previews would take as long as a step; the tiny one's do not */
    if (!dir || autoencoder_is_tiny(p->autoencoder))
        return ERR_OK;
    enum err rc = autoencoder_open(p->be, dir, &p->preview_autoencoder, em);
    if (rc)
        return rc;
    struct autoencoder_info own = autoencoder_info(p->autoencoder);
    struct autoencoder_info tiny = autoencoder_info(p->preview_autoencoder);
    if (own.latent_channels == tiny.latent_channels && own.scale == tiny.scale)
        return ERR_OK;
    /* another latent space: its previews would be noise, so there are none */
    autoencoder_close(p->preview_autoencoder);
    p->preview_autoencoder = NULL;
    return ERR_OK;
}

enum err pipeline_open(struct backend *be, const char *dir, const struct pipeline_options *opts,
                       struct pipeline **out, struct errmsg *em)
{
    static const struct pipeline_options none = {0};
    if (!opts)
        opts = &none;
    struct pipeline *p = calloc(1, sizeof *p);
    if (!p)
        return err_nomem(em, sizeof *p);
    p->be = be;
    enum err rc = model_dir_read(dir, &p->dir, em);
    if (!rc)
        rc = scheduler_open(p->dir.scheduler_path, &p->scheduler, em);
    if (!rc)
        rc = tokenizer_open(p->dir.tokenizer_path, &p->tokenizer, em);
    if (!rc)
        rc = text_encoder_open(be, p->dir.text_encoder_path, &p->text_encoder, em);
    if (!rc)
        rc = transformer_open(
            be, opts->transformer_file ? opts->transformer_file : p->dir.transformer_path,
            &p->transformer, em);
    if (!rc)
        rc = autoencoder_open(
            be, opts->autoencoder_file ? opts->autoencoder_file : p->dir.autoencoder_path,
            &p->autoencoder, em);
    if (!rc)
        rc = check_parts_fit(p, em);
    if (!rc)
        rc = open_preview(p, opts->preview_autoencoder_dir, em);
    if (rc) {
        pipeline_close(p);
        return rc;
    }
    p->uses_cfg = !p->dir.is_distilled && !transformer_info(p->transformer).guidance_embed;
    *out = p;
    return ERR_OK;
}

void text_cache_deinit(struct text_cache *c)
{
    free(c->prompt);
    free(c->embedding);
    *c = (struct text_cache){0};
}

void pipeline_close(struct pipeline *p)
{
    if (!p)
        return;
    text_cache_deinit(&p->positive);
    text_cache_deinit(&p->negative);
    autoencoder_close(p->preview_autoencoder);
    autoencoder_close(p->autoencoder);
    transformer_close(p->transformer);
    text_encoder_close(p->text_encoder);
    tokenizer_close(p->tokenizer);
    model_dir_deinit(&p->dir);
    free(p);
}

/* Of the parts the small ones stay mapped throughout, a large one for its own stage. */
static uint64_t memory_needed(const struct pipeline *p, const struct pipeline_info *info)
{
    size_t px_per_tok = info->autoencoder.scale * info->autoencoder.patch;
    struct grid g =
        grid_for_size(DEFAULT_WIDTH_PX, DEFAULT_HEIGHT_PX, px_per_tok, p->dir.native_pixels);
    size_t run = transformer_run_bytes(p->transformer, p->dir.max_tokens, g.w_tok * g.h_tok);
    const struct {
        uint64_t weights, workspace;
    } stages[] = {
        {info->text_encoder.weight_bytes, 0},
        {info->transformer.weight_bytes, p->uses_cfg ? 2 * run : run},
        {info->autoencoder.weight_bytes,
         autoencoder_decode_bytes(p->autoencoder, g.h_tok, g.w_tok)},
    };
    uint64_t small = 0, most = 0;
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        bool is_large = stages[i].weights >= LARGE_WEIGHTS_BYTES;
        uint64_t stage = stages[i].workspace + (is_large ? stages[i].weights : 0);
        small += is_large ? 0 : stages[i].weights;
        most = stage > most ? stage : most;
    }
    return small + most;
}

struct pipeline_info pipeline_info(const struct pipeline *p)
{
    struct pipeline_info info = {
        .dir = &p->dir,
        .text_encoder = text_encoder_info(p->text_encoder),
        .transformer = transformer_info(p->transformer),
        .autoencoder = autoencoder_info(p->autoencoder),
        .steps = p->dir.steps,
        .guidance = p->dir.guidance,
        .uses_cfg = p->uses_cfg,
    };
    info.memory_bytes = memory_needed(p, &info);
    return info;
}

enum err pipeline_enhance(struct pipeline *p, const char *prompt, bool for_edit, uint64_t seed,
                          char **out, struct errmsg *em)
{
    enum err rc = prompt_check(prompt, em);
    return rc ? rc
              : prompt_enhance(&p->dir, p->tokenizer, p->text_encoder, prompt, for_edit, seed, out,
                               NULL, em);
}

/* SPDX-License-Identifier: MIT */
/* The text encoder as the language model that it is: the prompt in one pass, then
 * a token at a time, with the keys and values of all before in a cache that is
 * sized for the longest answer at the start. */
#include "models/text_encoder_impl.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/size.h"
#include "models/sampler.h"

static enum err check_head(const struct text_encoder *te, struct errmsg *em)
{
    const char *lacks = NULL;
    if (te->n_blocks < te->cfg.n_layers)
        lacks = "the last blocks are";
    else if (!te->final_norm)
        lacks = "the final norm (norm.weight) is";
    else if (!te->head)
        lacks = "the output head (lm_head.weight) is";
    if (!lacks)
        return ERR_OK;
    return err_set(em, ERR_UNSUPPORTED,
                   "%s: this text encoder cannot write text, as %s missing; draw without "
                   "prompt enhancement",
                   weights_path(te->weights), lacks);
}

enum err te_decoder_init(struct te_decoder *d, const struct text_encoder *te, size_t max_prompt,
                         size_t max_tokens, struct errmsg *em)
{
    *d = (struct te_decoder){.te = te};
    enum err rc = check_head(te, em);
    if (!rc)
        rc = te_run_init(&d->run, te, max_prompt, max_tokens, 0, true, em);
    if (rc)
        return rc;
    d->logits = mem_alloc(te->cfg.vocab * sizeof *d->logits);
    if (!d->logits) {
        te_decoder_deinit(d);
        return err_nomem(em, te->cfg.vocab * sizeof *d->logits);
    }
    return ERR_OK;
}

void te_decoder_deinit(struct te_decoder *d)
{
    mem_free(d->logits);
    te_run_deinit(&d->run, d->te);
    d->logits = NULL;
}

/* The logits after row i of run.x. */
static enum err read_logits(struct te_decoder *d, size_t i, struct errmsg *em)
{
    const struct text_encoder *te = d->te;
    const struct te_config *c = &te->cfg;
    backend_rms_norm(te->be, d->run.h, c->hidden, d->run.x + i * c->hidden, c->hidden, 1, c->hidden,
                     te->final_norm, c->rms_eps);
    backend_linear(te->be, &(struct linear_args){
                               .x = d->run.h,
                               .ldx = c->hidden,
                               .m = 1,
                               .w = te->head,
                               .y = d->run.logits,
                               .ldy = c->vocab,
                           });
    enum err rc = backend_download(te->be, d->logits, d->run.logits, c->vocab, em);
    if (!rc && !te_all_finite(d->logits, c->vocab))
        rc = te_not_finite(te, "the next token's logits", em);
    return rc;
}

enum err te_decoder_feed(struct te_decoder *d, const int32_t *ids, size_t n,
                         struct te_ticker *ticker, size_t step, struct errmsg *em)
{
    te_embed(d->te, d->run.x, ids, n);
    for (size_t i = 0; i < d->te->n_blocks; i++) {
        if (!progress_tick(ticker->progress, ticker->done, ticker->total))
            return err_set(em, ERR_CANCELLED, "cancelled");
        te_block_attention(d->te, &d->run, i, d->n_done, n, n);
        te_block_mlp(d->te, &d->run, i, n);
        ticker->done += step;
    }
    d->n_done += n;
    return read_logits(d, n - 1, em);
}

static bool is_stop(const struct generate_options *opts, int32_t id)
{
    for (size_t i = 0; i < opts->n_stop_ids; i++) {
        if (opts->stop_ids[i] == id)
            return true;
    }
    return false;
}

/* out: room for max_new_tokens. The last token is not fed: nobody asks what comes after. */
static enum err decode(struct te_decoder *d, const int32_t *ids, size_t n,
                       const struct generate_options *opts, int32_t *out, size_t *n_out,
                       const struct progress *progress, struct errmsg *em)
{
    struct sampler sampler;
    struct te_ticker ticker = {.progress = progress,
                               .total = d->te->n_blocks + opts->max_new_tokens};
    sampler_init(&sampler, opts->seed);
    enum err rc = te_decoder_feed(d, ids, n, &ticker, 1, em);
    for (size_t i = 0; !rc; i++) {
        int32_t id =
            (int32_t)sampler_pick(&sampler, d->logits, d->te->cfg.vocab, opts->temperature);
        if (is_stop(opts, id))
            break;
        out[(*n_out)++] = id;
        ticker.done++;
        if (i + 1 == opts->max_new_tokens)
            break;
        rc = te_decoder_feed(d, &id, 1, &ticker, 0, em);
    }
    if (!rc && !progress_tick(progress, ticker.total, ticker.total))
        return err_set(em, ERR_CANCELLED, "cancelled");
    return rc;
}

enum err text_encoder_generate(struct text_encoder *te, const int32_t *ids, size_t n,
                               const struct generate_options *opts, int32_t **out, size_t *n_out,
                               const struct progress *progress, struct errmsg *em)
{
    size_t max_new = opts->max_new_tokens;
    size_t max_tokens, out_bytes;
    if (n == 0 || max_new == 0)
        return err_set(em, ERR_USAGE,
                       "%zu new tokens after a prompt of %zu: both must be at "
                       "least 1",
                       max_new, n);
    if (!(opts->temperature >= 0) || !isfinite(opts->temperature))
        return err_set(em, ERR_USAGE, "temperature %g: it must be 0 or more",
                       (double)opts->temperature);
    if (!add_size(n, max_new, &max_tokens) || !mul_size(max_new, sizeof **out, &out_bytes))
        return err_nomem(em, SIZE_MAX);
    enum err rc = te_check_ids(te, ids, n, em);
    if (rc)
        return rc;

    struct te_decoder d;
    rc = te_decoder_init(&d, te, n, max_tokens, em);
    if (rc)
        return rc;
    size_t n_new = 0;
    int32_t *text = malloc(out_bytes);
    if (text)
        rc = decode(&d, ids, n, opts, text, &n_new, progress, em);
    else
        rc = err_nomem(em, out_bytes);
    te_decoder_deinit(&d);
    if (rc) {
        free(text);
        return rc;
    }
    *out = text;
    *n_out = n_new;
    return ERR_OK;
}

/* SPDX-License-Identifier: MIT */
#include "pipeline/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/size.h"
#include "base/utf8.h"

#define ENHANCE_TEMPERATURE 0.15f

enum err prompt_check(const char *prompt, struct errmsg *em)
{
    size_t offset;
    if (!prompt || !prompt[strspn(prompt, " \t\r\n\v\f")])
        return err_set(em, ERR_USAGE, "the prompt is empty; say what to draw");
    size_t len = strlen(prompt);
    if (len > LIMIT_PROMPT_BYTES_MAX)
        return err_set(em, ERR_USAGE, "the prompt has %zu bytes; at most %u are allowed", len,
                       LIMIT_PROMPT_BYTES_MAX);
    if (!utf8_valid(prompt, len, &offset))
        return err_set(em, ERR_FORMAT, "the prompt is not valid UTF-8 at byte %zu (0x%02x)", offset,
                       (unsigned)(uint8_t)prompt[offset]);
    return ERR_OK;
}

/* The prompt without what is taken out of it, in one pass, as Python's replace does. */
static enum err append_prompt(struct buf *text, const char *prompt, const char *removed,
                              struct errmsg *em)
{
    enum err rc = ERR_OK;
    const char *found;
    while (!rc && removed && (found = strstr(prompt, removed))) {
        rc = buf_append(text, prompt, (size_t)(found - prompt), em);
        prompt = found + strlen(removed);
    }
    return rc ? rc : buf_append(text, prompt, strlen(prompt), em);
}

/* prefix + prompt + suffix as tokens; *ids is malloc'ed. */
static enum err encode_in_template(const struct model_dir *d, const struct tokenizer *tok,
                                   const struct prompt_template *t, const char *prompt,
                                   int32_t **ids, size_t *n, struct errmsg *em)
{
    struct buf text = {0};
    enum err rc = buf_append(&text, t->prefix, strlen(t->prefix), em);
    if (!rc)
        rc = append_prompt(&text, prompt, d->removed, em);
    if (!rc)
        rc = buf_append(&text, t->suffix, strlen(t->suffix), em);
    if (!rc)
        rc = tokenizer_encode(tok, (const char *)text.ptr, text.len, ids, n, em);
    buf_deinit(&text);
    return rc;
}

enum err prompt_tokenize(const struct model_dir *d, const struct tokenizer *tok,
                         const char *prompt, struct prompt_ids *out, struct errmsg *em)
{
    int32_t *ids = NULL;
    size_t n = 0;
    int32_t pad = tokenizer_special_id(tok, d->pad_token);
    if (pad < 0)
        return err_set(em, ERR_FORMAT, "%s has no token %s to pad with", d->tokenizer_path,
                       d->pad_token);
    enum err rc = encode_in_template(d, tok, &d->prompt, prompt, &ids, &n, em);
    if (rc)
        return rc;
    int32_t *padded = calloc(d->max_tokens, sizeof *padded);
    if (!padded || !n) {
        rc = n ? err_nomem(em, d->max_tokens * sizeof *padded)
               : err_set(em, ERR_USAGE, "the prompt has no tokens");
        free(padded);
        free(ids);
        return rc;
    }
    size_t n_valid = min_size(n, d->max_tokens);
    size_t first = d->pad_side == PAD_LEFT ? d->max_tokens - n_valid : 0;
    for (size_t i = 0; i < d->max_tokens; i++)
        padded[i] = pad;
    memcpy(padded + first, ids, n_valid * sizeof *ids);
    free(ids);
    *out = (struct prompt_ids){.ids = padded,
                               .n = d->max_tokens,
                               .n_valid = n_valid,
                               .n_dropped = n - n_valid};
    return ERR_OK;
}

void prompt_ids_deinit(struct prompt_ids *p)
{
    free(p->ids);
    *p = (struct prompt_ids){0};
}

enum err prompt_embed(const struct model_dir *d, struct text_encoder *te,
                      const struct prompt_ids *ids, float **out, size_t *width,
                      const struct progress *progress, struct errmsg *em)
{
    size_t w = d->n_text_layers * text_encoder_info(te).hidden;
    float *embedding = malloc(ids->n * w * sizeof *embedding);
    if (!embedding)
        return err_nomem(em, ids->n * w * sizeof *embedding);
    const struct padded_ids prompt = {ids->ids, ids->n, ids->n_valid, d->pad_side};
    enum err rc = text_encoder_hidden_states(te, &prompt, d->text_layers, d->n_text_layers,
                                             embedding, progress, em);
    if (rc) {
        free(embedding);
        return rc;
    }
    *out = embedding;
    *width = w;
    return ERR_OK;
}

/* A language model may stop in the middle of a character, or say control characters:
 * what is no text becomes U+FFFD or a blank, and blanks at both ends go. */
static enum err clean_text(const struct buf *raw, char **out, struct errmsg *em)
{
    struct buf clean = {0};
    enum err rc = buf_reserve(&clean, raw->len, em);
    for (size_t i = 0; !rc && i < raw->len;) {
        size_t n = utf8_decode(raw->ptr + i, raw->len - i, NULL);
        if (!n)
            rc = buf_append(&clean, "\xef\xbf\xbd", 3, em);
        else if (n == 1 && raw->ptr[i] < 0x20)
            rc = clean.len ? buf_append(&clean, " ", 1, em) : ERR_OK;
        else if (n == 1 && raw->ptr[i] == ' ' && !clean.len)
            rc = ERR_OK;
        else
            rc = buf_append(&clean, raw->ptr + i, n, em);
        i += n ? n : 1;
    }
    while (!rc && clean.len && clean.ptr[clean.len - 1] == ' ')
        clean.ptr[--clean.len] = 0;
    if (!rc && !clean.len)
        rc = err_set(em, ERR_FORMAT,
                     "the text encoder wrote an empty prompt; draw without enhancement");
    if (rc) {
        buf_deinit(&clean);
        return rc;
    }
    *out = (char *)clean.ptr;
    return ERR_OK;
}

enum err prompt_enhance(const struct model_dir *d, const struct tokenizer *tok,
                        struct text_encoder *te, const char *prompt, bool for_edit,
                        uint64_t seed, char **out, const struct progress *progress,
                        struct errmsg *em)
{
    int32_t *ids = NULL, *answer = NULL;
    size_t n = 0, n_answer = 0;
    struct buf text = {0};
    int32_t stops[2];
    size_t n_stops = 0;
    const char *const stop_texts[] = {d->end_token, d->pad_token};
    for (size_t i = 0; i < 2; i++) {
        int32_t id = tokenizer_special_id(tok, stop_texts[i]);
        if (id >= 0)
            stops[n_stops++] = id;
    }
    struct generate_options opts = {
        .max_new_tokens = d->enhance_tokens_max,
        .temperature = ENHANCE_TEMPERATURE,
        .seed = seed,
        .stop_ids = stops,
        .n_stop_ids = n_stops,
    };
    enum err rc = encode_in_template(d, tok, for_edit ? &d->enhance_edit : &d->enhance_text, prompt,
                                     &ids, &n, em);
    if (!rc)
        rc = text_encoder_generate(te, ids, n, &opts, &answer, &n_answer, progress, em);
    for (size_t i = 0; !rc && i < n_answer; i++)
        rc = tokenizer_decode(tok, answer[i], &text, em);
    if (!rc)
        rc = clean_text(&text, out, em);
    buf_deinit(&text);
    free(answer);
    free(ids);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* Prompts: into tokens, into the embedding that conditions a picture, and into
 * richer prompts. */
#ifndef EASEL_PIPELINE_PROMPT_H
#define EASEL_PIPELINE_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "models/progress.h"
#include "models/text_encoder.h"
#include "models/tokenizer.h"
#include "pipeline/model_dir.h"

struct prompt_ids {
    int32_t *ids;     /* owned; padded on the model's side */
    size_t n;         /* max_tokens of the model */
    size_t n_valid;   /* without padding */
    size_t n_dropped; /* tokens at the end that did not fit */
};

/* Whether it can be drawn: there is one, not blank, of at most LIMIT_PROMPT_BYTES_MAX, in UTF-8. */
NODISCARD enum err prompt_check(const char *prompt, struct errmsg *em);

/* The template around the prompt, tokenised, padded and cut as the reference does. */
NODISCARD enum err prompt_tokenize(const struct model_dir *d, const struct tokenizer *tok,
                                   const char *prompt, struct prompt_ids *out,
                                   struct errmsg *em);
void prompt_ids_deinit(struct prompt_ids *p);

/* The hidden states that condition the picture: *out [n, *width], malloc'ed. */
NODISCARD enum err prompt_embed(const struct model_dir *d, struct text_encoder *te,
                                const struct prompt_ids *ids, float **out, size_t *width,
                                const struct progress *progress, struct errmsg *em);

/* The prompt rewritten by the language model: *out is malloc'ed UTF-8, never blank.
 * for_edit: the instruction for changing a reference picture. */
NODISCARD enum err prompt_enhance(const struct model_dir *d, const struct tokenizer *tok,
                                  struct text_encoder *te, const char *prompt, bool for_edit,
                                  uint64_t seed, char **out, const struct progress *progress,
                                  struct errmsg *em);

#endif

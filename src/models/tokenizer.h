/* SPDX-License-Identifier: MIT */
/* Byte-level BPE from a Hugging Face tokenizer.json: NFC, the file's own split
 * pattern, its merges, its added tokens (whose text inside a prompt is parsed as
 * that token, as the reference does). Read-only after open: threads may share it. */
#ifndef EASEL_MODELS_TOKENIZER_H
#define EASEL_MODELS_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct tokenizer;

/* path: a tokenizer.json. What the file asks for and this code cannot do
 * (another model type, normalizer, pre-tokenizer) is ERR_UNSUPPORTED, by name. */
NODISCARD enum err tokenizer_open(const char *path, struct tokenizer **out, struct errmsg *em);
NODISCARD enum err tokenizer_parse(const char *json, size_t len, const char *name,
                                   struct tokenizer **out, struct errmsg *em);
void tokenizer_close(struct tokenizer *t);

size_t tokenizer_vocab_size(const struct tokenizer *t); /* highest id + 1 */

/* text: UTF-8, len bytes. *ids is malloc'ed (the caller frees it), *n may be 0.
 * Invalid UTF-8 is ERR_FORMAT and names the byte's offset. No padding or truncation. */
NODISCARD enum err tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                                    int32_t **ids, size_t *n, struct errmsg *em);

/* The token's bytes appended to out (may be a part of a UTF-8 sequence). Added
 * tokens give their text. An id outside the vocabulary is ERR_FORMAT. */
NODISCARD enum err tokenizer_decode(const struct tokenizer *t, int32_t id, struct buf *out,
                                    struct errmsg *em);

/* The id of an added token by its exact text ("<|im_end|>"); -1 if there is none. */
int32_t tokenizer_special_id(const struct tokenizer *t, const char *text);

#endif

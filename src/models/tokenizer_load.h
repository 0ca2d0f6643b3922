/* SPDX-License-Identifier: MIT */
/* What the files that read tokenizer.json share; only for tokenizer_load*.c. */
#ifndef EASEL_MODELS_TOKENIZER_LOAD_H
#define EASEL_MODELS_TOKENIZER_LOAD_H

#include "formats/json.h"
#include "models/tokenizer_impl.h"

#define TOKEN_BYTES_MAX 4096u

struct loader {
    struct tokenizer *t;
    const char *name;
    struct errmsg *em;
    int16_t byte_of[512]; /* the byte that a code point stands for, or -1 */
    uint8_t left[TOKEN_BYTES_MAX], right[TOKEN_BYTES_MAX];
};

/* ERR_FORMAT: the field is not what was expected. */
enum err tok_bad(const struct loader *l, const char *field, const char *expected,
                 const json_t *found);
/* ERR_UNSUPPORTED: the value's type is none that this program can do. */
enum err tok_unsupported(const struct loader *l, const char *field, const json_t *value);
bool tok_has_type(const json_t *object, const char *type);
/* A flag of an object: absent (or null) gives the fallback. */
NODISCARD enum err tok_flag(const struct loader *l, const json_t *object, const char *field,
                            bool fallback, bool *out);

/* ---- tokenizer_load_vocab.c ---- */

/* GPT-2 writes each byte as a printable character: itself where it is one, else
 * U+0100 and up, in the order of the bytes. Fills l->byte_of. */
void tok_alphabet(struct loader *l);
/* The bytes that a token's text stands for; false when it has other characters. */
bool tok_bytes(const struct loader *l, const char *text, size_t len, uint8_t out[TOKEN_BYTES_MAX],
               size_t *n_out);
/* "model": vocabulary and merges. */
NODISCARD enum err tok_load_model(struct loader *l, const json_t *model);

/* ---- tokenizer_load_added.c ---- */

/* "added_tokens", after the model; list may be NULL. */
NODISCARD enum err tok_load_added(struct loader *l, const json_t *list, size_t vocab_size);

#endif

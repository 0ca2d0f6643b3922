/* SPDX-License-Identifier: MIT */
/* The parts of the tokenizer, one file each; only for tokenizer*.c. */
#ifndef EASEL_MODELS_TOKENIZER_IMPL_H
#define EASEL_MODELS_TOKENIZER_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* ---- tokenizer_unicode.c: valid UTF-8, character classes, NFC ---- */

/* The code point at *i, which moves behind it. The text must be valid. */
uint32_t utf8_next(const char *text, size_t *i);
/* The code point that ends before *i, which moves to its start. */
uint32_t utf8_prev(const char *text, size_t *i);

bool unicode_is_space(uint32_t c); /* \s of the reference: White_Space */
bool unicode_is_word(uint32_t c);  /* \w of the reference */

/* Append the NFC form of valid UTF-8, by the tables that the reference has. */
NODISCARD enum err nfc_append(struct buf *out, const char *text, size_t len, struct errmsg *em);
/* True when the text is its own NFC form at a glance (no code point above U+02FF). */
bool nfc_is_plain(const char *text, size_t len);

/* ---- tokenizer_pattern.c: the regular expression that splits text into words ---- */

struct pattern;

/* source: in the reference's dialect (Oniguruma, Ruby syntax). What means
 * something else in PCRE2 is ERR_UNSUPPORTED; name: for messages. */
NODISCARD enum err pattern_new(const char *source, const char *name, struct pattern **out,
                               struct errmsg *em);
void pattern_free(struct pattern *p);

/* Matches of one pattern in one text, in order. Zero it, then set the first three. */
struct pattern_iter {
    const struct pattern *pattern;
    const char *text;
    size_t len;
    size_t at;
    size_t last_end;
    bool any;
    void *match_data; /* kept between texts; pattern_iter_deinit frees it */
};
/* The next match, [*start, *end); *found is false after the last one. */
NODISCARD enum err pattern_next(struct pattern_iter *it, bool *found, size_t *start, size_t *end,
                                struct errmsg *em);
void pattern_iter_restart(struct pattern_iter *it, const struct pattern *p, const char *text,
                          size_t len);
void pattern_iter_deinit(struct pattern_iter *it);

/* ---- tokenizer_bpe.c: vocabulary and merges ---- */

#define BPE_NO_ID (-1)

struct bpe_merge {
    int32_t left, right; /* left < 0: an empty slot */
    uint32_t rank;
    int32_t merged;
};

/* Tokens as the bytes that they stand for. A zeroed struct is an empty one. */
struct bpe {
    uint64_t seed;    /* of the hashes: a file cannot choose collisions */
    struct buf bytes; /* of all tokens, one after the other */
    uint32_t *starts; /* [max_ids] into bytes */
    uint32_t *lens;   /* [max_ids]; UINT32_MAX: no such token */
    size_t max_ids;
    size_t n_ids;   /* highest id + 1 */
    int32_t *slots; /* [n_slots] hash table: bytes -> id */
    size_t n_slots;
    struct bpe_merge *merges; /* [n_merge_slots] hash table: pair -> rank, merged */
    size_t n_merge_slots;
    int32_t byte_ids[256];
    bool ignore_merges;
};

/* Room for so many tokens and merges; ids are below max_ids. */
NODISCARD enum err bpe_init(struct bpe *b, size_t max_ids, size_t n_tokens, size_t n_merges,
                            struct errmsg *em);
void bpe_deinit(struct bpe *b);
/* Add a token. findable: its bytes can be looked up (false: only decoded).
 * ERR_FORMAT for an id that is there already. */
NODISCARD enum err bpe_add_token(struct bpe *b, int32_t id, const uint8_t *bytes, size_t len,
                                 bool findable, struct errmsg *em);
int32_t bpe_find(const struct bpe *b, const uint8_t *bytes, size_t len);
/* A pair that is there already gets the new rank, as in the reference. */
void bpe_add_merge(struct bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t merged);
/* After the last token. */
void bpe_finish(struct bpe *b);

struct bpe_symbol {
    int32_t id; /* BPE_NO_ID: merged into its left neighbour */
    uint32_t prev, next;
};
/* Memory of bpe_encode, reused from word to word. */
struct bpe_scratch {
    struct bpe_symbol *symbols;
    uint64_t *heap;
    size_t cap; /* words of so many bytes */
};
void bpe_scratch_deinit(struct bpe_scratch *s);

/* A list of ids that grows. */
struct id_list {
    int32_t *ids;
    size_t n, cap;
};
NODISCARD enum err id_list_reserve(struct id_list *l, size_t n_more, struct errmsg *em);

/* Append the tokens of one word of len bytes. */
NODISCARD enum err bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *word,
                              size_t len, struct id_list *out, struct errmsg *em);

/* ---- tokenizer_added.c: tokens that are parsed before anything else ---- */

struct added_token {
    char *text; /* what is looked for: normalized, if the token is */
    char *content;
    size_t text_len;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized;
};
struct added_list {
    struct added_token *tokens; /* in the order of their texts, once sorted */
    size_t n;
    bool starts[256]; /* first bytes that occur */
};
/* Sort; two tokens of the same text are ERR_FORMAT. */
NODISCARD enum err added_list_finish(struct added_list *l, const char *name, struct errmsg *em);
void added_list_deinit(struct added_list *l);

/* Cut text into added tokens and what lies between them, in order, and call
 * on_token or on_text for each (neither gets an empty text). */
NODISCARD enum err added_split(const struct added_list *l, const char *text, size_t len,
                               enum err (*on_text)(void *ctx, const char *text, size_t len,
                                                   struct errmsg *em),
                               enum err (*on_token)(void *ctx, int32_t id, struct errmsg *em),
                               void *ctx, struct errmsg *em);

/* ---- tokenizer_load.c: tokenizer.json ---- */

#define TOKENIZER_STAGES_MAX 8u

struct tokenizer {
    struct bpe bpe;
    bool nfc;
    struct pattern *stages[TOKENIZER_STAGES_MAX]; /* each splits the pieces of the one before */
    size_t n_stages;
    struct added_list raw;        /* looked for in the text as it is given */
    struct added_list normalized; /* looked for in the normalized text */
    size_t n_ids;                 /* highest id + 1, added tokens included */
};

NODISCARD enum err tokenizer_load(struct tokenizer *t, const char *json, size_t len,
                                  const char *name, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* What the files of the text encoder share; the tests look in here too.
 *
 * Shapes: hidden is the width of the residual stream, q_dim = n_heads * head_dim,
 * kv_dim = n_kv_heads * head_dim. Every linear is without bias. */
#ifndef EASEL_MODELS_TEXT_ENCODER_IMPL_H
#define EASEL_MODELS_TEXT_ENCODER_IMPL_H

#include "formats/safetensors.h"
#include "models/text_encoder.h"

struct te_config {
    size_t n_layers, hidden, n_heads, n_kv_heads, head_dim, mlp, vocab;
    size_t q_dim, kv_dim;
    double rope_theta;
    float rms_eps;
    bool qk_norm; /* per-head norms of q and k: Qwen3 has them, Mistral not */
    bool tied;    /* the output head is the embedding, unless the files hold one */
};

/* path: config.json of a qwen3, mistral or mistral3 (its text part) model.
 * ERR_FORMAT, ERR_UNSUPPORTED (another architecture, or a feature of these that
 * this code does not compute). */
NODISCARD enum err te_config_open(const char *path, struct te_config *out, struct errmsg *em);

struct te_block {
    struct weight *attn_norm;       /* [hidden] */
    struct weight *q;               /* [q_dim, hidden] */
    struct weight *k, *v;           /* [kv_dim, hidden] */
    struct weight *q_norm, *k_norm; /* [head_dim], NULL without qk_norm */
    struct weight *o;               /* [hidden, q_dim] */
    struct weight *mlp_norm;        /* [hidden] */
    struct weight *gate, *up;       /* [mlp, hidden] */
    struct weight *down;            /* [hidden, mlp] */
};

struct text_encoder {
    struct backend *be;
    struct weights *weights;
    struct te_config cfg;
    struct weight *embed;      /* [vocab, hidden] */
    struct weight *final_norm; /* [hidden], or NULL */
    struct weight *head;       /* [vocab, hidden], or NULL; may be the embedding */
    struct te_block *blocks;
    size_t n_blocks; /* in the files: the first so many of cfg.n_layers */
};

/* The memory of one pass over the blocks, all of it taken at the start: named
 * slices of one allocation. Rows are tokens. */
struct te_run {
    float *arena;
    float *x;             /* [max_rows, hidden]: the residual stream */
    float *h;             /* [max_rows, hidden]: normed */
    float *q;             /* [max_rows, q_dim] */
    float *attn;          /* [max_rows, q_dim] */
    float *mlp;           /* [max_rows, mlp] */
    float *logits;        /* [vocab], with a cache only */
    float *keys, *values; /* [n_blocks or 1, max_keys, kv_dim] */
    float *cos, *sin;     /* [positions, head_dim / 2] */
    size_t cache_stride;  /* from one block's keys to the next's; 0: all use the same */
};

/* max_rows: tokens of the longest pass. max_keys: keys ever attended to. position: of the
 * first row. cache: keep each block's keys and values, and have room for logits. */
NODISCARD enum err te_run_init(struct te_run *run, const struct text_encoder *te, size_t max_rows,
                               size_t max_keys, size_t position, bool cache, struct errmsg *em);
void te_run_deinit(struct te_run *run, const struct text_encoder *te);

/* ERR_USAGE when an id is not in the vocabulary. */
NODISCARD enum err te_check_ids(const struct text_encoder *te, const int32_t *ids, size_t n,
                                struct errmsg *em);
/* x [n, hidden] = the embedding of ids. */
void te_embed(const struct text_encoder *te, float *x, const int32_t *ids, size_t n);
/* Block i is two halves, over run->x. The n rows of the first follow on `first` others,
 * whose keys and values are in the cache; they are made for the first n_keys of them (the
 * rest is padding). */
void te_block_attention(const struct text_encoder *te, const struct te_run *run, size_t i,
                        size_t first, size_t n, size_t n_keys);
void te_block_mlp(const struct text_encoder *te, const struct te_run *run, size_t i, size_t n);

/* A language model in the middle of a text. */
struct te_decoder {
    const struct text_encoder *te;
    struct te_run run;
    float *logits; /* [vocab], host: of the token after the last one fed */
    size_t n_done; /* tokens in the cache */
};

/* Counts the finished parts of a call and asks whether to go on. */
struct te_ticker {
    const struct progress *progress;
    size_t done, total;
};

/* max_prompt: the most tokens fed at once; max_tokens: in all.
 * ERR_UNSUPPORTED: no usable head. */
NODISCARD enum err te_decoder_init(struct te_decoder *d, const struct text_encoder *te,
                                   size_t max_prompt, size_t max_tokens, struct errmsg *em);
void te_decoder_deinit(struct te_decoder *d);
/* Append n tokens (in range, within what init was told) and compute d->logits.
 * The ticker is asked before each block, and done grows by step after it. */
NODISCARD enum err te_decoder_feed(struct te_decoder *d, const int32_t *ids, size_t n,
                                   struct te_ticker *ticker, size_t step, struct errmsg *em);

bool te_all_finite(const float *x, size_t n);
/* ERR_FORMAT: the weights hold NaN or infinity. */
enum err te_not_finite(const struct text_encoder *te, const char *what, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* Qwen3 and Mistral (decoder-only transformers with RMSNorm, GQA, half-split RoPE,
 * SwiGLU, no bias; Qwen3 norms q and k per head), used twice: as the text encoder,
 * whose hidden states condition the picture, and as the language model that it is,
 * to enhance prompts.
 * Source: transformers, models/qwen3/modeling_qwen3.py, models/mistral/modeling_mistral.py. */
#ifndef EASEL_MODELS_TEXT_ENCODER_H
#define EASEL_MODELS_TEXT_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/backend.h"
#include "models/progress.h"

struct text_encoder;

struct text_encoder_info {
    size_t n_layers, hidden, n_heads, n_kv_heads, head_dim, mlp, vocab;
    bool has_head; /* its weights end in a usable output head (tied or own) */
    uint64_t n_params, weight_bytes;
};

/* dir: text_encoder/ with config.json and model*.safetensors. Tensors may be named
 * with or without the prefix "model." (or "language_model."); the config's model_type
 * is qwen3, mistral or mistral3 (its text part). The final norm, the blocks after the
 * last one asked for and the head may be absent: then only what needs them fails.
 * ERR_NOTFOUND (no such file, a tensor is missing), ERR_FORMAT (a wrong shape),
 * ERR_UNSUPPORTED (another architecture). Threads: a text encoder never changes once
 * open, so calls may overlap as far as the backend's do. */
NODISCARD enum err text_encoder_open(struct backend *be, const char *dir,
                                     struct text_encoder **out, struct errmsg *em);
void text_encoder_close(struct text_encoder *te);
struct text_encoder_info text_encoder_info(const struct text_encoder *te);
/* Give the mapped weights' resident pages back to the system; still usable. */
void text_encoder_release_pages(const struct text_encoder *te);

enum padding_side { PAD_RIGHT, PAD_LEFT };

/* A prompt of n_valid tokens (0 < n_valid <= n), padded to n on one side. */
struct padded_ids {
    const int32_t *ids; /* [n] */
    size_t n, n_valid;
    enum padding_side side;
};

/* Hidden states of the given layers (transformers' numbering: 0 is the token
 * embedding, i the output of block i; before any final norm), concatenated along
 * the channel: out [n, n_layers * hidden], host memory, float32.
 * Positions count from 0, padding included. A padded position is a query but never a
 * key, not even its own: on the right it sees the whole prompt, on the left nothing,
 * and its attention is zero (torch's fused kernels; its plain ones give the mean of
 * all values, which no published picture was drawn with).
 * Trap: the last entry of transformers' own list, number n_layers, is after the
 * final norm; here it is before it, like the others.
 * ERR_USAGE: an id or layer out of range, or padding on the left of several kinds.
 * ERR_NOTFOUND: the files hold too few blocks. ERR_FORMAT: the weights hold NaN.
 * ERR_CANCELLED. */
NODISCARD enum err text_encoder_hidden_states(struct text_encoder *te,
                                              const struct padded_ids *prompt,
                                              const size_t *layers, size_t n_layers, float *out,
                                              const struct progress *progress,
                                              struct errmsg *em);

/* Multiplications and additions of text_encoder_hidden_states up to the given layer, all of
 * its matrix products: for each block 2·rows·n·k of each linear layer (rows: those that are
 * computed) and 4·q_dim for each pair of a query and a key that it may see. Of the prompt,
 * the ids are not read. */
double text_encoder_flops(const struct text_encoder_info *info, const struct padded_ids *prompt,
                          size_t last_layer);

struct generate_options {
    size_t max_new_tokens;    /* at least 1 */
    float temperature;        /* 0: greedy; else finite and positive */
    uint64_t seed;            /* of the sampling; the same seed gives the same text */
    const int32_t *stop_ids;  /* generation ends before any of these is emitted */
    size_t n_stop_ids;
};

/* Continue the prompt ids as a language model with a KV cache. *out is malloc'ed
 * (caller frees): the new tokens only, without the stop token.
 * ERR_UNSUPPORTED: the model has no usable output head. ERR_USAGE, ERR_FORMAT and
 * ERR_CANCELLED as above. */
NODISCARD enum err text_encoder_generate(struct text_encoder *te, const int32_t *ids, size_t n,
                                         const struct generate_options *opts, int32_t **out,
                                         size_t *n_out, const struct progress *progress,
                                         struct errmsg *em);

#endif

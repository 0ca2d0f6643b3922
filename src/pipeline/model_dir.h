/* SPDX-License-Identifier: MIT */
/* What a model directory says of itself: where its parts lie, and the defaults that
 * its users should not have to know. From model_index.json (the diffusers layout) and,
 * where they are there, tokenizer_config.json and easel.json (docs/models.md describes
 * its fields). */
#ifndef EASEL_PIPELINE_MODEL_DIR_H
#define EASEL_PIPELINE_MODEL_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "models/text_encoder.h"

#define MODEL_TEXT_LAYERS_MAX 16u

/* What is put around a prompt before it becomes tokens. */
struct prompt_template {
    char *prefix, *suffix;
};

struct model_dir {
    char *name, *path, *licence, *description;
    char *transformer_path, *text_encoder_path, *autoencoder_path, *tokenizer_path,
        *scheduler_path;
    bool is_distilled;      /* drawn without classifier-free guidance */
    size_t steps;
    double guidance;
    size_t native_pixels;   /* drawn at this area, then enlarged; 0: at the asked size */
    size_t references_max;  /* reference pictures that the model was trained to take */
    size_t max_tokens;      /* prompts are padded and cut to this many */
    enum padding_side pad_side;
    char *pad_token;     /* the text of the tokenizer's token to pad with, */
    char *end_token;     /* and of the one that ends an answer */
    const char *removed; /* text that is taken out of prompts; NULL: none */
    size_t text_layers[MODEL_TEXT_LAYERS_MAX];
    size_t n_text_layers;
    struct prompt_template prompt;
    struct prompt_template enhance_text, enhance_edit;
    size_t enhance_tokens_max;
};

/* path: the directory. All strings are owned by *out (model_dir_deinit). Parts that are
 * not there are ERR_NOTFOUND, named; a pipeline of another kind is ERR_UNSUPPORTED. */
NODISCARD enum err model_dir_read(const char *path, struct model_dir *out, struct errmsg *em);
void model_dir_deinit(struct model_dir *d);

#endif

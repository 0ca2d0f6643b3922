/* SPDX-License-Identifier: MIT */
/* Inside pipeline/ only. */
#ifndef EASEL_PIPELINE_PIPELINE_IMPL_H
#define EASEL_PIPELINE_PIPELINE_IMPL_H

#include "models/scheduler.h"
#include "models/tokenizer.h"
#include "pipeline/pipeline.h"

#define DEFAULT_WIDTH_PX 1024
#define DEFAULT_HEIGHT_PX 768
/* Weights from here on are worth giving back between the stages. */
#define LARGE_WEIGHTS_BYTES ((uint64_t)1 << 30)

/* The embedding of the last prompt, so that several pictures of it (other seeds)
 * encode it once. */
struct text_cache {
    char *prompt;
    float *embedding; /* [n_tokens, width] */
    size_t n_tokens, width;
    size_t n_valid, n_dropped;
};

struct pipeline {
    struct backend *be;
    struct model_dir dir;
    struct tokenizer *tokenizer;
    struct text_encoder *text_encoder;
    struct transformer *transformer;
    struct autoencoder *autoencoder;
    struct autoencoder *preview_autoencoder; /* NULL: previews use the model's own, or none */
    struct scheduler scheduler;
    bool uses_cfg;
    struct text_cache positive, negative;
};

void text_cache_deinit(struct text_cache *c);

#endif

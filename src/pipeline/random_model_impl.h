/* SPDX-License-Identifier: MIT */
/* What the files of the random models share: a model's shape, and lists of its tensors. */
#ifndef EASEL_PIPELINE_RANDOM_MODEL_IMPL_H
#define EASEL_PIPELINE_RANDOM_MODEL_IMPL_H

#include "formats/safetensors.h"
#include "pipeline/random_model.h"

struct shape {
    const char *name;
    bool is_dev; /* FLUX.2 [dev]: guidance is an input, and the text encoder a Mistral */
    bool is_distilled;
    size_t hidden, n_heads, head_dim, n_double, n_single;
    /* text encoder */
    size_t te_hidden, te_layers, te_heads, te_kv_heads, te_head_dim, te_mlp, te_vocab;
    bool te_tied;
    size_t text_layers[3];
    size_t max_tokens;
};

/* NULL: there is none of that name. */
const struct shape *random_shape_find(const char *name);

/* Tensors to write. After a failure of any of the functions below, rc tells it. */
struct spec_list {
    struct weights_spec *items;
    float *values; /* standard deviation; negative: the constant -value */
    size_t n, cap;
    enum err rc;
    struct errmsg *em;
};

void random_list_transformer(struct spec_list *l, const struct shape *s);
void random_list_text_encoder(struct spec_list *l, const struct shape *s);
void random_list_autoencoder(struct spec_list *l);
void spec_list_deinit(struct spec_list *l);

/* Every JSON file of the model but the tokenizer's. */
NODISCARD enum err random_write_configs(const struct shape *s, const char *dir, struct errmsg *em);

#endif

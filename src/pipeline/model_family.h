/* SPDX-License-Identifier: MIT */
/* What diffusers keeps in the code of a pipeline, and no file of a model says: how a
 * prompt is put before the text encoder, and what it draws with when nobody asks for
 * anything else. */
#ifndef EASEL_PIPELINE_MODEL_FAMILY_H
#define EASEL_PIPELINE_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

#include "models/text_encoder.h"

#define MODEL_FAMILY_TEXT_LAYERS 3u

struct model_family {
    const char *class_name; /* in model_index.json */
    bool is_distilled;      /* when model_index.json does not say */
    struct {
        size_t steps;
        double guidance;
    } base, distilled;
    size_t text_layers[MODEL_FAMILY_TEXT_LAYERS];
    size_t max_tokens;
    /* of the tokenizer, when its config does not say */
    enum padding_side pad_side;
    const char *pad_token, *end_token;
    const char *removed; /* text that is taken out of prompts; NULL: none */
    struct {
        const char *prefix, *suffix;
    } prompt, enhance_text, enhance_edit;
};

/* NULL: there is none of that class. */
const struct model_family *model_family_find(const char *class_name);

#endif

/* SPDX-License-Identifier: MIT */
/* Sources: diffusers, pipelines/flux2/pipeline_flux2_klein.py and pipeline_flux2.py; the chat
 * templates of Qwen3 and of Mistral Small 3. The instructions for enhancement are ours. */
#include "pipeline/model_family.h"

#include <string.h>

#define ENHANCE_TEXT                                                                               \
    "You rewrite short picture descriptions for an image generator. Keep the subject and the "     \
    "intent exactly as given. Add concrete visual detail: setting, light, colours, materials, "    \
    "composition, style. Keep any text in quotation marks word for word. Answer with the new "     \
    "description alone, one paragraph of at most 120 words, in the language of the original."
#define ENHANCE_EDIT                                                                               \
    "You rewrite instructions for editing a picture. Say precisely what changes, and that "        \
    "everything else stays as it is: subject, pose, framing, light and style, unless the "         \
    "instruction changes them. Keep any text in quotation marks word for word. Answer with the "   \
    "new instruction alone, at most 80 words, in the language of the original."

/* Qwen3: one user message, thinking switched off. */
#define QWEN_USER "<|im_start|>user\n"
#define QWEN_SYSTEM(text) "<|im_start|>system\n" text "<|im_end|>\n" QWEN_USER
#define QWEN_ANSWER "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

/* Mistral Small 3: a system message, one user message, nothing for the answer to begin with.
 * The line break in the message is diffusers'. */
#define MISTRAL_SYSTEM(text) "<s>[SYSTEM_PROMPT]" text "[/SYSTEM_PROMPT][INST]"
#define MISTRAL_ANSWER "[/INST]"
#define MISTRAL_MESSAGE                                                                            \
    "You are an AI that reasons about image descriptions. You give structured responses focusing " \
    "on object relationships, object\nattribution and actions without speculation."

static const struct model_family families[] = {
    {
        .class_name = "Flux2KleinPipeline",
        .is_distilled = false,
        .base = {.steps = 50, .guidance = 4.0},
        .distilled = {.steps = 4, .guidance = 1.0},
        .text_layers = {9, 18, 27},
        .max_tokens = 512,
        .pad_side = PAD_RIGHT,
        .pad_token = "<|endoftext|>",
        .end_token = "<|im_end|>",
        .prompt = {QWEN_USER, QWEN_ANSWER},
        .enhance_text = {QWEN_SYSTEM(ENHANCE_TEXT), QWEN_ANSWER},
        .enhance_edit = {QWEN_SYSTEM(ENHANCE_EDIT), QWEN_ANSWER},
    },
    {
        /* FLUX.2 [dev]: guidance is an input of the transformer, one pass a step */
        .class_name = "Flux2Pipeline",
        .is_distilled = true,
        .base = {.steps = 50, .guidance = 4.0},
        .distilled = {.steps = 50, .guidance = 4.0},
        .text_layers = {10, 20, 30},
        .max_tokens = 512,
        .pad_side = PAD_LEFT,
        .pad_token = "<pad>",
        .end_token = "</s>",
        .removed = "[IMG]", /* it would stand for a picture that the text encoder sees */
        .prompt = {MISTRAL_SYSTEM(MISTRAL_MESSAGE), MISTRAL_ANSWER},
        .enhance_text = {MISTRAL_SYSTEM(ENHANCE_TEXT), MISTRAL_ANSWER},
        .enhance_edit = {MISTRAL_SYSTEM(ENHANCE_EDIT), MISTRAL_ANSWER},
    },
};

const struct model_family *model_family_find(const char *class_name)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (!strcmp(families[i].class_name, class_name))
            return &families[i];
    return NULL;
}

/* SPDX-License-Identifier: MIT */
#include "pipeline/model_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "formats/config.h"

/* Qwen3's chat template with one user message and thinking switched off: what
 * Flux2KleinPipeline feeds to the text encoder. */
#define QWEN_USER "<|im_start|>user\n"
#define QWEN_ANSWER "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

#define ENHANCE_TEXT                                                                              \
    "<|im_start|>system\n"                                                                        \
    "You rewrite short picture descriptions for an image generator. Keep the subject and the "    \
    "intent exactly as given. Add concrete visual detail: setting, light, colours, materials, "   \
    "composition, style. Keep any text in quotation marks word for word. Answer with the new "    \
    "description alone, one paragraph of at most 120 words, in the language of the "              \
    "original.<|im_end|>\n" QWEN_USER
#define ENHANCE_EDIT                                                                              \
    "<|im_start|>system\n"                                                                        \
    "You rewrite instructions for editing a picture. Say precisely what changes, and that "       \
    "everything else stays as it is: subject, pose, framing, light and style, unless the "        \
    "instruction changes them. Keep any text in quotation marks word for word. Answer with the "  \
    "new instruction alone, at most 80 words, in the language of the original."                   \
    "<|im_end|>\n" QWEN_USER

/* hidden_states[9], [18], [27]: the defaults of Flux2KleinPipeline. */
static const size_t klein_text_layers[] = {9, 18, 27};
#define KLEIN_MAX_TOKENS 512
#define ENHANCE_TOKENS_MAX 512

static enum err set_string(char **dst, const char *text, struct errmsg *em)
{
    char *copy = strdup(text);
    if (!copy)
        return err_nomem(em, strlen(text));
    free(*dst);
    *dst = copy;
    return ERR_OK;
}

static enum err set_template(const struct config *c, const char *key, const char *prefix,
                             const char *suffix, struct prompt_template *out, struct errmsg *em)
{
    char field[64];
    snprintf(field, sizeof field, "%s.prefix", key);
    enum err rc = c ? config_string(c, field, prefix, &prefix, em) : ERR_OK;
    snprintf(field, sizeof field, "%s.suffix", key);
    if (!rc && c)
        rc = config_string(c, field, suffix, &suffix, em);
    if (!rc)
        rc = set_string(&out->prefix, prefix, em);
    if (!rc)
        rc = set_string(&out->suffix, suffix, em);
    return rc;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* easel.json, or the defaults of the FLUX.2 klein family when there is none. */
static enum err read_easel_json(const struct config *c, struct model_dir *d, struct errmsg *em)
{
    const char *name = base_name(d->path), *licence = "", *description = "";
    enum err rc = ERR_OK;
    d->max_tokens = KLEIN_MAX_TOKENS;
    d->references_max = LIMIT_REFERENCES_MAX;
    d->enhance_tokens_max = ENHANCE_TOKENS_MAX;
    d->guidance = -1;
    if (c) {
        rc = config_string(c, "name", name, &name, em);
        if (!rc)
            rc = config_string(c, "licence", licence, &licence, em);
        if (!rc)
            rc = config_string(c, "description", description, &description, em);
        if (!rc)
            rc = config_size(c, "steps", 1, LIMIT_STEPS_MAX, 0, &d->steps, em);
        if (!rc && config_has(c, "guidance"))
            rc = config_double(c, "guidance", 0, 100, CONFIG_REQUIRED, &d->guidance, em);
        if (!rc)
            rc = config_size(c, "native_pixels", 64 * 64, LIMIT_PICTURE_PIXELS_MAX, 0,
                             &d->native_pixels, em);
        if (!rc)
            rc = config_size(c, "references_max", 0, LIMIT_REFERENCES_MAX, LIMIT_REFERENCES_MAX,
                             &d->references_max, em);
        if (!rc)
            rc = config_size(c, "max_sequence_length", 1, 8192, KLEIN_MAX_TOKENS, &d->max_tokens,
                             em);
        if (!rc)
            rc = config_sizes(c, "text_encoder_out_layers", 0, LIMIT_LAYERS_MAX, d->text_layers,
                              MODEL_TEXT_LAYERS_MAX, &d->n_text_layers, em);
        if (!rc)
            rc = config_size(c, "enhance.max_new_tokens", 1, 4096, ENHANCE_TOKENS_MAX,
                             &d->enhance_tokens_max, em);
    }
    if (!rc && !d->n_text_layers) {
        memcpy(d->text_layers, klein_text_layers, sizeof klein_text_layers);
        d->n_text_layers = sizeof klein_text_layers / sizeof *klein_text_layers;
    }
    if (!rc)
        rc = set_string(&d->name, name, em);
    if (!rc)
        rc = set_string(&d->licence, licence, em);
    if (!rc)
        rc = set_string(&d->description, description, em);
    if (!rc)
        rc = set_template(c, "prompt_template", QWEN_USER, QWEN_ANSWER, &d->prompt, em);
    if (!rc)
        rc = set_template(c, "enhance.text_to_image", ENHANCE_TEXT, QWEN_ANSWER,
                          &d->enhance_text, em);
    if (!rc)
        rc = set_template(c, "enhance.edit", ENHANCE_EDIT, QWEN_ANSWER, &d->enhance_edit, em);
    return rc;
}

static enum err read_model_index(const char *path, struct model_dir *d, struct errmsg *em)
{
    struct config *c = NULL;
    const char *class_name = NULL;
    enum err rc = config_open(path, &c, em);
    if (rc)
        return rc;
    rc = config_string(c, "_class_name", NULL, &class_name, em);
    if (!rc && strcmp(class_name, "Flux2KleinPipeline"))
        rc = err_set(em, ERR_UNSUPPORTED,
                     "%s: this is a %s; Easel draws with Flux2KleinPipeline models "
                     "(FLUX.2 klein and its kin)",
                     path, class_name);
    if (!rc)
        rc = config_bool(c, "is_distilled", 0, &d->is_distilled, em);
    config_close(c);
    return rc;
}

static enum err find_part(const struct model_dir *d, const char *name, char **out,
                          struct errmsg *em)
{
    *out = path_join(d->path, name);
    if (!*out)
        return err_nomem(em, strlen(name));
    if (!file_exists(*out))
        return err_set(em, ERR_NOTFOUND,
                       "%s is missing: the model in %s is incomplete; download it again", *out,
                       d->path);
    return ERR_OK;
}

enum err model_dir_read(const char *path, struct model_dir *out, struct errmsg *em)
{
    struct model_dir d = {0};
    struct config *easel = NULL;
    char *index_path = NULL, *easel_path = NULL;
    enum err rc = set_string(&d.path, path, em);
    if (rc)
        goto out;
    rc = ERR_NOMEM;
    index_path = path_join(path, "model_index.json");
    easel_path = path_join(path, "easel.json");
    if (!index_path || !easel_path) {
        rc = err_nomem(em, strlen(path));
        goto out;
    }
    if (!file_exists(index_path)) {
        rc = err_set(em, ERR_NOTFOUND,
                     "%s holds no model_index.json; a model is a folder in the diffusers layout",
                     path);
        goto out;
    }
    rc = read_model_index(index_path, &d, em);
    if (!rc && file_exists(easel_path))
        rc = config_open(easel_path, &easel, em);
    if (!rc)
        rc = read_easel_json(easel, &d, em);
    if (!rc)
        rc = find_part(&d, "transformer", &d.transformer_path, em);
    if (!rc)
        rc = find_part(&d, "text_encoder", &d.text_encoder_path, em);
    if (!rc)
        rc = find_part(&d, "vae", &d.autoencoder_path, em);
    if (!rc)
        rc = find_part(&d, "tokenizer/tokenizer.json", &d.tokenizer_path, em);
    if (!rc)
        rc = find_part(&d, "scheduler/scheduler_config.json", &d.scheduler_path, em);
    if (!rc) {
        *out = d;
        d = (struct model_dir){0};
    }
out:
    config_close(easel);
    free(easel_path);
    free(index_path);
    model_dir_deinit(&d);
    return rc;
}

static void template_deinit(struct prompt_template *t)
{
    free(t->prefix);
    free(t->suffix);
}

void model_dir_deinit(struct model_dir *d)
{
    if (!d)
        return;
    free(d->name);
    free(d->path);
    free(d->licence);
    free(d->description);
    free(d->transformer_path);
    free(d->text_encoder_path);
    free(d->autoencoder_path);
    free(d->tokenizer_path);
    free(d->scheduler_path);
    template_deinit(&d->prompt);
    template_deinit(&d->enhance_text);
    template_deinit(&d->enhance_edit);
    *d = (struct model_dir){0};
}

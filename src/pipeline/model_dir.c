/* SPDX-License-Identifier: MIT */
#include "pipeline/model_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "formats/config.h"
#include "pipeline/model_family.h"

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

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* What the family's pipeline would do with a model that says nothing. */
static enum err set_defaults(const struct model_family *f, struct model_dir *d, struct errmsg *em)
{
    d->steps = d->is_distilled ? f->distilled.steps : f->base.steps;
    d->guidance = d->is_distilled ? f->distilled.guidance : f->base.guidance;
    d->max_tokens = f->max_tokens;
    d->references_max = LIMIT_REFERENCES_MAX;
    d->enhance_tokens_max = ENHANCE_TOKENS_MAX;
    d->pad_side = f->pad_side;
    d->removed = f->removed;
    memcpy(d->text_layers, f->text_layers, sizeof f->text_layers);
    d->n_text_layers = MODEL_FAMILY_TEXT_LAYERS;
    const struct {
        char **to;
        const char *text;
    } strings[] = {
        {&d->name, base_name(d->path)},
        {&d->licence, ""},
        {&d->description, ""},
        {&d->pad_token, f->pad_token},
        {&d->end_token, f->end_token},
        {&d->prompt.prefix, f->prompt.prefix},
        {&d->prompt.suffix, f->prompt.suffix},
        {&d->enhance_text.prefix, f->enhance_text.prefix},
        {&d->enhance_text.suffix, f->enhance_text.suffix},
        {&d->enhance_edit.prefix, f->enhance_edit.prefix},
        {&d->enhance_edit.suffix, f->enhance_edit.suffix},
    };
    enum err rc = ERR_OK;
    for (size_t i = 0; !rc && i < sizeof strings / sizeof strings[0]; i++)
        rc = set_string(strings[i].to, strings[i].text, em);
    return rc;
}

static enum err read_string(const struct config *c, const char *key, char **to, struct errmsg *em)
{
    const char *text = NULL;
    enum err rc = config_string(c, key, *to, &text, em);
    return rc || text == *to ? rc : set_string(to, text, em);
}

static enum err read_easel_json(const struct config *c, struct model_dir *d, struct errmsg *em)
{
    const struct {
        const char *key;
        char **to;
    } strings[] = {
        {"name", &d->name},
        {"licence", &d->licence},
        {"description", &d->description},
        {"prompt_template.prefix", &d->prompt.prefix},
        {"prompt_template.suffix", &d->prompt.suffix},
        {"enhance.text_to_image.prefix", &d->enhance_text.prefix},
        {"enhance.text_to_image.suffix", &d->enhance_text.suffix},
        {"enhance.edit.prefix", &d->enhance_edit.prefix},
        {"enhance.edit.suffix", &d->enhance_edit.suffix},
    };
    const struct {
        const char *key;
        size_t min, max;
        size_t *to;
    } sizes[] = {
        {"steps", 1, LIMIT_STEPS_MAX, &d->steps},
        {"native_pixels", 64 * 64, LIMIT_PICTURE_PIXELS_MAX, &d->native_pixels},
        {"references_max", 0, LIMIT_REFERENCES_MAX, &d->references_max},
        {"max_sequence_length", 1, 8192, &d->max_tokens},
        {"enhance.max_new_tokens", 1, 4096, &d->enhance_tokens_max},
    };
    enum err rc = ERR_OK;
    for (size_t i = 0; !rc && i < sizeof strings / sizeof strings[0]; i++)
        rc = read_string(c, strings[i].key, strings[i].to, em);
    for (size_t i = 0; !rc && i < sizeof sizes / sizeof sizes[0]; i++)
        rc = config_size(c, sizes[i].key, sizes[i].min, sizes[i].max, (long long)*sizes[i].to,
                         sizes[i].to, em);
    if (!rc)
        rc = config_double(c, "guidance", 0, 100, d->guidance, &d->guidance, em);
    if (!rc && config_has(c, "text_encoder_out_layers"))
        rc = config_sizes(c, "text_encoder_out_layers", 0, LIMIT_LAYERS_MAX, d->text_layers,
                          MODEL_TEXT_LAYERS_MAX, &d->n_text_layers, em);
    return rc;
}

/* A token is its text or, from transformers 4, an object with it. */
static enum err read_token(const struct config *c, const char *key, char **to, struct errmsg *em)
{
    char field[64];
    snprintf(field, sizeof field, "%s.content", key);
    return read_string(c, config_has(c, field) ? field : key, to, em);
}

static enum err read_tokenizer_config(const struct config *c, const char *path, struct model_dir *d,
                                      struct errmsg *em)
{
    const char *side = d->pad_side == PAD_LEFT ? "left" : "right";
    enum err rc = config_string(c, "padding_side", side, &side, em);
    if (!rc && strcmp(side, "left") != 0 && strcmp(side, "right") != 0)
        rc =
            err_set(em, ERR_FORMAT, "%s: padding_side is \"%.64s\", not left or right", path, side);
    if (rc)
        return rc;
    d->pad_side = strcmp(side, "left") ? PAD_RIGHT : PAD_LEFT;
    rc = read_token(c, "pad_token", &d->pad_token, em);
    return rc ? rc : read_token(c, "eos_token", &d->end_token, em);
}

static enum err read_model_index(const struct config *c, const char *path, struct model_dir *d,
                                 struct errmsg *em)
{
    const char *class_name = NULL;
    enum err rc = config_string(c, "_class_name", NULL, &class_name, em);
    if (rc)
        return rc;
    const struct model_family *family = model_family_find(class_name);
    if (!family)
        return err_set(em, ERR_UNSUPPORTED,
                       "%s: this is a %s; Easel draws with models of Flux2KleinPipeline and "
                       "Flux2Pipeline (FLUX.2 klein, dev and their kin)",
                       path, class_name);
    rc = config_bool(c, "is_distilled", family->is_distilled, &d->is_distilled, em);
    return rc ? rc : set_defaults(family, d, em);
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

/* The configs' files, in the order in which one overrules the other. */
enum { INDEX, TOKENIZER, EASEL, N_CONFIGS };

static enum err read_configs(struct model_dir *d, struct errmsg *em)
{
    static const struct {
        const char *name;
        enum err (*open)(const char *path, struct config **out, struct errmsg *em);
    } files[N_CONFIGS] = {
        [INDEX] = {"model_index.json", config_open},
        [TOKENIZER] = {"tokenizer/tokenizer_config.json", config_open_texts},
        [EASEL] = {"easel.json", config_open},
    };
    struct config *configs[N_CONFIGS] = {NULL};
    char *paths[N_CONFIGS] = {NULL};
    enum err rc = ERR_OK;
    for (size_t i = 0; !rc && i < N_CONFIGS; i++) {
        paths[i] = path_join(d->path, files[i].name);
        if (!paths[i])
            rc = err_nomem(em, strlen(d->path));
        else if (file_exists(paths[i]))
            rc = files[i].open(paths[i], &configs[i], em);
    }
    if (!rc && !configs[INDEX])
        rc = err_set(em, ERR_NOTFOUND,
                     "%s holds no model_index.json; a model is a folder in the diffusers layout",
                     d->path);
    if (!rc)
        rc = read_model_index(configs[INDEX], paths[INDEX], d, em);
    if (!rc && configs[TOKENIZER])
        rc = read_tokenizer_config(configs[TOKENIZER], paths[TOKENIZER], d, em);
    if (!rc && configs[EASEL])
        rc = read_easel_json(configs[EASEL], d, em);
    for (size_t i = 0; i < N_CONFIGS; i++) {
        config_close(configs[i]);
        free(paths[i]);
    }
    return rc;
}

enum err model_dir_read(const char *path, struct model_dir *out, struct errmsg *em)
{
    struct model_dir d = {0};
    const struct {
        const char *name;
        char **path;
    } parts[] = {
        {"transformer", &d.transformer_path},
        {"text_encoder", &d.text_encoder_path},
        {"vae", &d.autoencoder_path},
        {"tokenizer/tokenizer.json", &d.tokenizer_path},
        {"scheduler/scheduler_config.json", &d.scheduler_path},
    };
    enum err rc = set_string(&d.path, path, em);
    if (!rc)
        rc = read_configs(&d, em);
    for (size_t i = 0; !rc && i < sizeof parts / sizeof parts[0]; i++)
        rc = find_part(&d, parts[i].name, parts[i].path, em);
    if (rc)
        model_dir_deinit(&d);
    else
        *out = d;
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
    free(d->pad_token);
    free(d->end_token);
    template_deinit(&d->prompt);
    template_deinit(&d->enhance_text);
    template_deinit(&d->enhance_edit);
    *d = (struct model_dir){0};
}

/* SPDX-License-Identifier: MIT */
/* config.json of a text encoder. What it leaves out means what transformers'
 * Qwen3Config and MistralConfig say; what it asks for beyond that arithmetic is
 * refused, because ignoring it would give a wrong picture without a word. */
#include "models/text_encoder_impl.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "formats/config.h"

/* The fields of one model, which mistral3 keeps one level down. */
struct fields {
    const struct config *json;
    const char *path;
    const char *parent; /* "" or "text_config." */
    char key[96];
};

static const char *at(struct fields *f, const char *name)
{
    snprintf(f->key, sizeof f->key, "%s%s", f->parent, name);
    return f->key;
}

static enum err get_architecture(struct fields *f, struct te_config *c, struct errmsg *em)
{
    const char *type = NULL;
    enum err rc = config_string(f->json, "model_type", NULL, &type, em);
    if (rc)
        return rc;
    if (!strcmp(type, "mistral3")) {
        f->parent = "text_config.";
        rc = config_string(f->json, at(f, "model_type"), "mistral", &type, em);
        if (rc)
            return rc;
    }
    c->qk_norm = !strcmp(type, "qwen3");
    if (!c->qk_norm && strcmp(type, "mistral") != 0)
        return err_set(em, ERR_UNSUPPORTED,
                       "%s: a text encoder of type \"%.64s\" cannot be run, only qwen3 and mistral",
                       f->path, type);
    return ERR_OK;
}

static enum err get_sizes(struct fields *f, struct te_config *c, struct errmsg *em)
{
    const struct {
        const char *name;
        size_t max;
        size_t *out;
    } required[] = {
        {"num_hidden_layers", LIMIT_LAYERS_MAX, &c->n_layers},
        {"hidden_size", LIMIT_WIDTH_MAX, &c->hidden},
        {"num_attention_heads", LIMIT_WIDTH_MAX, &c->n_heads},
        {"intermediate_size", LIMIT_WIDTH_MAX, &c->mlp},
        {"vocab_size", LIMIT_VOCAB_MAX, &c->vocab},
    };
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        enum err rc = config_size(f->json, at(f, required[i].name), 1, required[i].max,
                                  CONFIG_REQUIRED, required[i].out, em);
        if (rc)
            return rc;
    }
    enum err rc = config_size(f->json, at(f, "num_key_value_heads"), 1, LIMIT_WIDTH_MAX,
                              (long long)c->n_heads, &c->n_kv_heads, em);
    if (rc)
        return rc;
    size_t usual = c->qk_norm ? 128 : c->hidden / c->n_heads;
    rc = config_size(f->json, at(f, "head_dim"), 2, LIMIT_WIDTH_MAX, (long long)usual, &c->head_dim,
                     em);
    if (rc)
        return rc;
    if (c->n_heads % c->n_kv_heads != 0)
        return err_set(em, ERR_FORMAT,
                       "%s: num_attention_heads %zu is not a multiple of num_key_value_heads %zu",
                       f->path, c->n_heads, c->n_kv_heads);
    c->q_dim = c->n_heads * c->head_dim;
    c->kv_dim = c->n_kv_heads * c->head_dim;
    if (c->head_dim < 2 || c->head_dim % 2 != 0 || c->q_dim > LIMIT_WIDTH_MAX)
        return err_set(em, ERR_FORMAT,
                       "%s: %zu heads of %zu cannot be: head_dim must be even and their "
                       "product at most %u",
                       f->path, c->n_heads, c->head_dim, LIMIT_WIDTH_MAX);
    return ERR_OK;
}

/* transformers 5 writes rope_parameters, older ones rope_theta and rope_scaling. */
static enum err get_rope(struct fields *f, struct te_config *c, struct errmsg *em)
{
    static const char *const kinds[] = {"rope_parameters.rope_type", "rope_parameters.type",
                                        "rope_scaling.rope_type", "rope_scaling.type"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const char *kind = NULL;
        enum err rc = config_string(f->json, at(f, kinds[i]), "default", &kind, em);
        if (rc)
            return rc;
        if (strcmp(kind, "default") != 0)
            return err_set(em, ERR_UNSUPPORTED,
                           "%s: %s is \"%.64s\": only the default rotary embedding can be run",
                           f->path, kinds[i], kind);
    }
    const char *theta = config_has(f->json, at(f, "rope_parameters.rope_theta"))
                            ? "rope_parameters.rope_theta"
                            : "rope_theta";
    return config_double(f->json, at(f, theta), 1, 1e12, CONFIG_REQUIRED, &c->rope_theta, em);
}

static enum err check_sliding_window(struct fields *f, const struct te_config *c, struct errmsg *em)
{
    const char *kinds[LIMIT_LAYERS_MAX];
    size_t n = 0;
    enum err rc = config_strings(f->json, at(f, "layer_types"), kinds, LIMIT_LAYERS_MAX, &n, em);
    if (rc)
        return rc;
    bool sliding = false;
    for (size_t i = 0; i < n; i++)
        sliding = sliding || strcmp(kinds[i], "full_attention") != 0;
    if (c->qk_norm && !sliding) {
        rc = config_bool(f->json, at(f, "use_sliding_window"), 0, &sliding, em);
        if (rc)
            return rc;
    } else if (!c->qk_norm) {
        size_t window = 0;
        rc = config_size(f->json, at(f, "sliding_window"), 0, SIZE_MAX >> 1, 0, &window, em);
        if (rc)
            return rc;
        sliding = sliding || window > 0;
    }
    if (sliding)
        return err_set(em, ERR_UNSUPPORTED,
                       "%s: sliding-window attention is not supported, only full attention",
                       f->path);
    return ERR_OK;
}

static enum err get_details(struct fields *f, struct te_config *c, struct errmsg *em)
{
    const char *act = NULL;
    bool bias = false;
    double eps = 0;
    enum err rc = config_string(f->json, at(f, "hidden_act"), "silu", &act, em);
    if (rc)
        return rc;
    if (strcmp(act, "silu") != 0)
        return err_set(em, ERR_UNSUPPORTED, "%s: hidden_act is \"%.64s\", only silu can be run",
                       f->path, act);
    rc = config_bool(f->json, at(f, "attention_bias"), 0, &bias, em);
    if (rc)
        return rc;
    if (bias)
        return err_set(em, ERR_UNSUPPORTED, "%s: attention_bias is true, which cannot be run",
                       f->path);
    rc = config_double(f->json, at(f, "rms_norm_eps"), 0, 1, 1e-6, &eps, em);
    if (rc)
        return rc;
    c->rms_eps = (float)eps;
    /* the head of a model that also sees lies beside its text part, and so does this */
    const char *tied = config_has(f->json, "tie_word_embeddings") ? "tie_word_embeddings"
                                                                  : at(f, "tie_word_embeddings");
    return config_bool(f->json, tied, 0, &c->tied, em);
}

enum err te_config_open(const char *path, struct te_config *out, struct errmsg *em)
{
    struct te_config c = {0};
    struct config *json = NULL;
    enum err rc = config_open(path, &json, em);
    if (rc)
        return rc;
    struct fields f = {.json = json, .path = path, .parent = ""};
    rc = get_architecture(&f, &c, em);
    if (!rc)
        rc = get_sizes(&f, &c, em);
    if (!rc)
        rc = get_rope(&f, &c, em);
    if (!rc)
        rc = check_sliding_window(&f, &c, em);
    if (!rc)
        rc = get_details(&f, &c, em);
    config_close(json);
    if (!rc)
        *out = c;
    return rc;
}

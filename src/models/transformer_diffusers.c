/* SPDX-License-Identifier: MIT */
/* A transformer in diffusers' layout: its shape from config.json, its tensors' names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "formats/config.h"
#include "models/transformer_load.h"

#define CLASS_NAME "Flux2Transformer2DModel"

struct stream_names {
    const char *q, *k, *v, *out, *norm_q, *norm_k, *mlp;
};

static enum err load_stream_diffusers(struct loader *ld, struct stream *s, size_t block,
                                      const struct stream_names *names)
{
    size_t hidden = ld->t->info.hidden;
    const struct {
        struct weight **out;
        const char *name;
    } square[] = {{&s->q, names->q}, {&s->k, names->k}, {&s->v, names->v}, {&s->out, names->out}},
      norms[] = {{&s->norm_q, names->norm_q}, {&s->norm_k, names->norm_k}};
    char name[NAME_BYTES_MAX];
    char name_out[NAME_BYTES_MAX];
    for (size_t i = 0; i < 4; i++) {
        tl_name(ld, name, "transformer_blocks.%zu.attn.%s.weight", block, square[i].name);
        enum err rc = tl_matrix(ld, square[i].out, hidden, hidden, name);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < 2; i++) {
        tl_name(ld, name, "transformer_blocks.%zu.attn.%s.weight", block, norms[i].name);
        enum err rc = tl_norm(ld, norms[i].out, name);
        if (rc)
            return rc;
    }
    tl_name(ld, name, "transformer_blocks.%zu.%s.linear_in.weight", block, names->mlp);
    tl_name(ld, name_out, "transformer_blocks.%zu.%s.linear_out.weight", block, names->mlp);
    return tl_mlp(ld, s, name, name_out);
}

/* Weights that config.json knows nothing of are another model's: to leave them out would draw a
 * wrong picture without a word. */
static enum err refuse_rest(const struct loader *ld)
{
    const struct transformer_info *info = &ld->t->info;
    const struct {
        const char *format;
        size_t block;
        const char *field;
    } rest[] = {
        {"transformer_blocks.%zu.attn.to_q.weight", info->n_double, "num_layers"},
        {"single_transformer_blocks.%zu.attn.to_out.weight", info->n_single, "num_single_layers"},
        {"time_guidance_embed.guidance_embedder.linear_1.weight", 0, "guidance_embeds"},
    };
    size_t n = sizeof rest / sizeof *rest - (info->guidance_embed ? 1 : 0);
    char name[NAME_BYTES_MAX];
    for (size_t i = 0; i < n; i++) {
        tl_name(ld, name, rest[i].format, rest[i].block);
        if (weights_has(ld->t->weights, name))
            return err_set(ld->em, ERR_FORMAT,
                           "%s: the weights hold %s, which config.json's %s leaves out: one of the "
                           "two is another model's",
                           weights_path(ld->t->weights), name, rest[i].field);
    }
    return ERR_OK;
}

enum err tl_diffusers(struct loader *ld)
{
    static const struct stream_names img = {"to_q",   "to_k",   "to_v", "to_out.0",
                                            "norm_q", "norm_k", "ff"};
    static const struct stream_names txt = {"add_q_proj", "add_k_proj",   "add_v_proj",
                                            "to_add_out", "norm_added_q", "norm_added_k",
                                            "ff_context"};
    struct transformer *t = ld->t;
    enum err rc = tl_outside(ld, false);
    for (size_t i = 0; !rc && i < t->info.n_double; i++) {
        rc = load_stream_diffusers(ld, &t->doubles[i].img, i, &img);
        if (!rc)
            rc = load_stream_diffusers(ld, &t->doubles[i].txt, i, &txt);
    }
    for (size_t i = 0; !rc && i < t->info.n_single; i++)
        rc = tl_single(ld, &t->singles[i], i,
                       "single_transformer_blocks.%zu.attn.to_qkv_mlp_proj.weight",
                       "single_transformer_blocks.%zu.attn.to_out.weight",
                       "single_transformer_blocks.%zu.attn.norm_q.weight",
                       "single_transformer_blocks.%zu.attn.norm_k.weight");
    return rc ? rc : refuse_rest(ld);
}

static enum err read_axes(struct transformer *t, const struct config *c, const char *path,
                          struct errmsg *em)
{
    size_t axes[LIMIT_TENSOR_DIMS_MAX];
    size_t n = 0;
    enum err rc =
        config_sizes(c, "axes_dims_rope", 0, HEAD_DIM_MAX, axes, LIMIT_TENSOR_DIMS_MAX, &n, em);
    if (rc)
        return rc;
    if (!config_has(c, "axes_dims_rope")) {
        for (n = 0; n < N_AXES; n++)
            axes[n] = 32;
    }
    if (n != N_AXES)
        return err_set(em, ERR_UNSUPPORTED, "%s: axes_dims_rope has %zu axes, FLUX.2 has %d", path,
                       n, N_AXES);
    size_t sum = 0;
    for (size_t i = 0; i < N_AXES; i++) {
        if (axes[i] % 2)
            return err_set(em, ERR_FORMAT, "%s: axes_dims_rope[%zu] is %zu, which is odd", path, i,
                           axes[i]);
        t->axes[i] = axes[i];
        sum += axes[i];
    }
    if (sum != t->info.head_dim)
        return err_set(em, ERR_FORMAT,
                       "%s: axes_dims_rope adds up to %zu, but attention_head_dim is %zu", path,
                       sum, t->info.head_dim);
    return ERR_OK;
}

static enum err check_class(const struct config *c, const char *path, struct errmsg *em)
{
    const char *class_name = NULL;
    enum err rc = config_string(c, "_class_name", NULL, &class_name, em);
    if (rc)
        return rc;
    if (strcmp(class_name, CLASS_NAME))
        return err_set(em, ERR_UNSUPPORTED,
                       "%s: the model is a %.100s; only " CLASS_NAME " is supported", path,
                       class_name);
    return ERR_OK;
}

/* What follows from the fields, and what of them is not supported. */
static enum err settle(struct transformer *t, size_t patch, double mlp_ratio, const char *path,
                       struct errmsg *em)
{
    struct transformer_info *info = &t->info;
    if (patch != 1)
        return err_set(em, ERR_UNSUPPORTED, "%s: patch_size is %zu; only 1 is supported", path,
                       patch);
    if (info->n_sinusoids % 2)
        return err_set(em, ERR_UNSUPPORTED, "%s: timestep_guidance_channels is %zu, which is odd",
                       path, info->n_sinusoids);
    info->hidden = info->n_heads * info->head_dim;
    if (info->hidden > LIMIT_WIDTH_MAX)
        return err_set(em, ERR_FORMAT,
                       "%s: num_attention_heads * attention_head_dim is %zu, the limit is %u", path,
                       info->hidden, LIMIT_WIDTH_MAX);
    double mlp = (double)info->hidden * mlp_ratio;
    if (mlp < 1.0 || mlp > 2.0 * LIMIT_WIDTH_MAX)
        return err_set(em, ERR_FORMAT, "%s: mlp_ratio %g makes an mlp of %g channels", path,
                       mlp_ratio, mlp);
    info->mlp = (size_t)mlp;
    return ERR_OK;
}

/* Defaults as in diffusers. */
static enum err read_config(struct transformer *t, const struct config *c, const char *path,
                            struct errmsg *em)
{
    struct transformer_info *info = &t->info;
    size_t patch = 0;
    double mlp_ratio = 0.0;
    double eps = 0.0;
    enum err rc = check_class(c, path, em);
    if (rc)
        return rc;
    const struct {
        const char *key;
        size_t min, max;
        long long fallback;
        size_t *out;
    } sizes[] = {
        {"patch_size", 1, LIMIT_WIDTH_MAX, 1, &patch},
        {"in_channels", 1, LIMIT_WIDTH_MAX, 128, &info->in_channels},
        {"num_layers", 0, LIMIT_LAYERS_MAX, 8, &info->n_double},
        {"num_single_layers", 0, LIMIT_LAYERS_MAX, 48, &info->n_single},
        {"attention_head_dim", 2, HEAD_DIM_MAX, 128, &info->head_dim},
        {"num_attention_heads", 1, LIMIT_WIDTH_MAX, 48, &info->n_heads},
        {"joint_attention_dim", 1, LIMIT_WIDTH_MAX, 15360, &info->text_width},
        {"timestep_guidance_channels", 2, LIMIT_WIDTH_MAX, 256, &info->n_sinusoids},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rc = config_size(c, sizes[i].key, sizes[i].min, sizes[i].max, sizes[i].fallback,
                         sizes[i].out, em);
        if (rc)
            return rc;
    }
    rc = config_size(c, "out_channels", 1, LIMIT_WIDTH_MAX, (long long)info->in_channels,
                     &info->out_channels, em);
    if (rc)
        return rc;
    rc = config_double(c, "mlp_ratio", 1e-6, 1e6, 3.0, &mlp_ratio, em);
    if (rc)
        return rc;
    rc = config_double(c, "rope_theta", 1.0, 1e12, 2000.0, &t->rope_theta, em);
    if (rc)
        return rc;
    rc = config_double(c, "eps", 0.0, 1.0, 1e-6, &eps, em);
    if (rc)
        return rc;
    rc = config_bool(c, "guidance_embeds", 1, &info->guidance_embed, em);
    if (rc)
        return rc;
    t->eps = (float)eps;
    rc = settle(t, patch, mlp_ratio, path, em);
    return rc ? rc : read_axes(t, c, path, em);
}

enum err tl_diffusers_config(struct transformer *t, const char *dir, struct errmsg *em)
{
    char *path = path_join(dir, "config.json");
    if (!path)
        return err_nomem(em, strlen(dir) + sizeof "/config.json");
    struct config *c = NULL;
    enum err rc = config_open(path, &c, em);
    if (!rc)
        rc = read_config(t, c, path, em);
    config_close(c);
    free(path);
    return rc;
}

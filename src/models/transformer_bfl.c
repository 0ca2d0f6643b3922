/* SPDX-License-Identifier: MIT */
/* A transformer in one file in BFL's layout, which has no configuration: its shape is read
 * off the tensors. */
#include "base/limits.h"
#include "models/transformer_load.h"

#define BFL_PREFIX "model.diffusion_model."

static enum err load_stream_bfl(struct loader *ld, struct stream *s, size_t block,
                                const char *stream)
{
    size_t hidden = ld->t->info.hidden;
    char name[NAME_BYTES_MAX];
    char name_out[NAME_BYTES_MAX];
    tl_name(ld, name, "double_blocks.%zu.%s_attn.qkv.weight", block, stream);
    const struct slice qkv[] = {{&s->q, hidden}, {&s->k, hidden}, {&s->v, hidden}};
    enum err rc = tl_slices(ld, qkv, 3, hidden, name);
    if (rc)
        return rc;
    tl_name(ld, name, "double_blocks.%zu.%s_attn.proj.weight", block, stream);
    rc = tl_matrix(ld, &s->out, hidden, hidden, name);
    if (rc)
        return rc;
    tl_name(ld, name, "double_blocks.%zu.%s_attn.norm.query_norm.scale", block, stream);
    rc = tl_norm(ld, &s->norm_q, name);
    if (rc)
        return rc;
    tl_name(ld, name, "double_blocks.%zu.%s_attn.norm.key_norm.scale", block, stream);
    rc = tl_norm(ld, &s->norm_k, name);
    if (rc)
        return rc;
    tl_name(ld, name, "double_blocks.%zu.%s_mlp.0.weight", block, stream);
    tl_name(ld, name_out, "double_blocks.%zu.%s_mlp.2.weight", block, stream);
    return tl_mlp(ld, s, name, name_out);
}

enum err tl_bfl(struct loader *ld)
{
    struct transformer *t = ld->t;
    enum err rc = tl_outside(ld, true);
    for (size_t i = 0; !rc && i < t->info.n_double; i++) {
        rc = load_stream_bfl(ld, &t->doubles[i].img, i, "img");
        if (!rc)
            rc = load_stream_bfl(ld, &t->doubles[i].txt, i, "txt");
    }
    for (size_t i = 0; !rc && i < t->info.n_single; i++)
        rc =
            tl_single(ld, &t->singles[i], i, "single_blocks.%zu.linear1.weight",
                      "single_blocks.%zu.linear2.weight", "single_blocks.%zu.norm.query_norm.scale",
                      "single_blocks.%zu.norm.key_norm.scale");
    return rc;
}

/* Dimension dim of a tensor that must have n_dims of them. */
static enum err read_dim(const struct loader *ld, const char *short_name, unsigned n_dims,
                         unsigned dim, size_t *out)
{
    const struct weights *w = ld->t->weights;
    char name[NAME_BYTES_MAX];
    struct tensor tensor;
    tl_name(ld, name, "%s", short_name);
    enum err rc = weights_get(w, name, &tensor, ld->em);
    if (rc)
        return rc;
    if (tensor.n_dims != n_dims)
        return err_set(ld->em, ERR_FORMAT, "%s: tensor %s has %u dimensions, not %u",
                       weights_path(w), name, tensor.n_dims, n_dims);
    size_t size = tensor.shape[dim];
    if (size == 0 || size > 4 * LIMIT_WIDTH_MAX)
        return err_set(ld->em, ERR_FORMAT, "%s: tensor %s has a dimension of %zu", weights_path(w),
                       name, size);
    *out = size;
    return ERR_OK;
}

/* How many blocks 0, 1, … there are; fmt makes the name of one of their tensors. */
static size_t count_blocks(const struct loader *ld, const char *fmt)
{
    char name[NAME_BYTES_MAX];
    size_t n = 0;
    for (; n < LIMIT_LAYERS_MAX; n++) {
        tl_name(ld, name, fmt, n);
        if (!weights_has(ld->t->weights, name))
            break;
    }
    return n;
}

static bool has(const struct loader *ld, const char *short_name)
{
    char name[NAME_BYTES_MAX];
    tl_name(ld, name, "%s", short_name);
    return weights_has(ld->t->weights, name);
}

static enum err check_bfl(struct loader *ld)
{
    const char *path = weights_path(ld->t->weights);
    ld->prefix = "";
    if (!has(ld, "img_in.weight"))
        ld->prefix = BFL_PREFIX;
    if (!has(ld, "img_in.weight"))
        return err_set(ld->em, ERR_UNSUPPORTED,
                       "%s: no tensor img_in.weight: this is not a FLUX.2 transformer in one "
                       "file; for a model in several files give its folder",
                       path);
    if (!has(ld, "double_stream_modulation_img.lin.weight"))
        return err_set(ld->em, ERR_UNSUPPORTED,
                       "%s: no tensor double_stream_modulation_img.lin.weight: this is another "
                       "model than FLUX.2",
                       path);
    return ERR_OK;
}

/* What config.json says in the other layout, read off the tensors. */
static enum err read_shapes(struct loader *ld)
{
    struct transformer *t = ld->t;
    struct transformer_info *info = &t->info;
    info->n_double = count_blocks(ld, "double_blocks.%zu.img_attn.qkv.weight");
    info->n_single = count_blocks(ld, "single_blocks.%zu.linear1.weight");
    info->guidance_embed = has(ld, "guidance_in.in_layer.weight");
    bool doubles = info->n_double > 0;
    size_t mlp = 0;
    const struct {
        const char *name;
        unsigned n_dims, dim;
        size_t *out;
    } dims[] = {
        {"img_in.weight", 2, 0, &info->hidden},
        {"img_in.weight", 2, 1, &info->in_channels},
        {"txt_in.weight", 2, 1, &info->text_width},
        {"time_in.in_layer.weight", 2, 1, &info->n_sinusoids},
        {"final_layer.linear.weight", 2, 0, &info->out_channels},
        {doubles ? "double_blocks.0.img_attn.norm.query_norm.scale"
                 : "single_blocks.0.norm.query_norm.scale",
         1, 0, &info->head_dim},
        {doubles ? "double_blocks.0.img_mlp.2.weight" : "single_blocks.0.linear2.weight", 2, 1,
         &mlp},
    };
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        enum err rc = read_dim(ld, dims[i].name, dims[i].n_dims, dims[i].dim, dims[i].out);
        if (rc)
            return rc;
    }
    const char *path = weights_path(t->weights);
    if (info->hidden > LIMIT_WIDTH_MAX || info->head_dim > HEAD_DIM_MAX || info->head_dim % 8 ||
        info->hidden % info->head_dim)
        return err_set(ld->em, ERR_FORMAT,
                       "%s: %zu channels (img_in.weight) do not divide into heads of %zu "
                       "(query_norm.scale)",
                       path, info->hidden, info->head_dim);
    if (!doubles) {
        if (mlp <= info->hidden)
            return err_set(ld->em, ERR_FORMAT,
                           "%s: tensor single_blocks.0.linear2.weight has %zu "
                           "columns, of which %zu are the attention's",
                           path, mlp, info->hidden);
        mlp -= info->hidden;
    }
    if (t->info.n_sinusoids % 2)
        return err_set(ld->em, ERR_FORMAT,
                       "%s: tensor time_in.in_layer.weight has an odd number "
                       "of columns, %zu",
                       path, t->info.n_sinusoids);
    info->n_heads = info->hidden / info->head_dim;
    t->info.mlp = mlp;
    t->rope_theta = 2000.0;
    t->eps = 1e-6f;
    for (size_t i = 0; i < N_AXES; i++)
        t->axes[i] = info->head_dim / N_AXES;
    return ERR_OK;
}

enum err tl_bfl_shape(struct loader *ld)
{
    enum err rc = check_bfl(ld);
    return rc ? rc : read_shapes(ld);
}

/* SPDX-License-Identifier: MIT */
/* Opening a FLUX.2 transformer: its shape from config.json or, for a single file in
 * BFL's layout, from the tensors themselves; then every tensor checked against that
 * shape. The two layouts differ in names, in q, k and v being one matrix or three,
 * and in the order of the final shift and scale; nothing after this file sees which
 * of them a model came in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/size.h"
#include "formats/config.h"
#include "models/transformer_impl.h"

#define CLASS_NAME "Flux2Transformer2DModel"
#define BFL_PREFIX "model.diffusion_model."
#define HEAD_DIM_MAX 256
#define NAME_BYTES_MAX 160
#define WEIGHTS_FIXED 12  /* parameters outside the blocks, guidance included */
#define WEIGHTS_DOUBLE 18 /* of a double block */
#define WEIGHTS_SINGLE 7  /* of a single block */

struct loader {
    struct transformer *t;
    const char *prefix; /* of every tensor's name */
    struct errmsg *em;
};

/* The full name of a tensor in the file. */
static void PRINTF_LIKE(3, 4)
    name_format(const struct loader *ld, char out[NAME_BYTES_MAX], const char *fmt, ...)
{
    int len = snprintf(out, NAME_BYTES_MAX, "%s", ld->prefix);
    va_list args;
    va_start(args, fmt);
    vsnprintf(out + len, NAME_BYTES_MAX - (size_t)len, fmt, args);
    va_end(args);
}

static enum err keep(struct loader *ld, const struct tensor *tensor, size_t first_row,
                     size_t n_rows, struct weight **out)
{
    struct transformer *t = ld->t;
    enum err rc = backend_weight(t->be, tensor, first_row, n_rows, out, ld->em);
    if (!rc)
        t->owned[t->n_owned++] = *out;
    return rc;
}

/* A model that has biases is another architecture: leaving them out would draw a
 * wrong picture without a word. */
static enum err refuse_bias(const struct loader *ld, const char *name)
{
    static const char weight[] = ".weight";
    char bias[NAME_BYTES_MAX];
    size_t len = strlen(name);
    size_t suffix = sizeof weight - 1;
    if (len < suffix || strcmp(name + len - suffix, weight))
        return ERR_OK;
    snprintf(bias, sizeof bias, "%.*s.bias", (int)(len - suffix), name);
    if (!weights_has(ld->t->weights, bias))
        return ERR_OK;
    return err_set(ld->em, ERR_UNSUPPORTED, "%s: tensor %s: FLUX.2's layers have no bias",
                   weights_path(ld->t->weights), bias);
}

/* The tensor of the given name, which must be [rows, cols]. */
static enum err get_matrix(struct loader *ld, const char *name, size_t rows, size_t cols,
                           struct tensor *out)
{
    enum err rc = refuse_bias(ld, name);
    if (rc)
        return rc;
    return weights_get_shaped(ld->t->weights, name, out, ld->em, 2, rows, cols);
}

static enum err load_matrix(struct loader *ld, struct weight **out, size_t rows, size_t cols,
                            const char *name)
{
    struct tensor tensor;
    enum err rc = get_matrix(ld, name, rows, cols, &tensor);
    return rc ? rc : keep(ld, &tensor, 0, 0, out);
}

struct slice {
    struct weight **out;
    size_t n_rows;
};

/* A matrix of which successive rows go to the given weights; together they are all of
 * it. cols: of the matrix. */
static enum err load_slices(struct loader *ld, const struct slice *slices, size_t n_slices,
                            size_t cols, const char *name)
{
    struct tensor tensor;
    size_t rows = 0;
    for (size_t i = 0; i < n_slices; i++)
        rows += slices[i].n_rows;
    enum err rc = get_matrix(ld, name, rows, cols, &tensor);
    size_t first = 0;
    for (size_t i = 0; !rc && i < n_slices; i++) {
        rc = keep(ld, &tensor, first, slices[i].n_rows, slices[i].out);
        first += slices[i].n_rows;
    }
    return rc;
}

static enum err load_norm(struct loader *ld, struct weight **out, const char *name)
{
    struct tensor tensor;
    enum err rc =
        weights_get_shaped(ld->t->weights, name, &tensor, ld->em, 1, ld->t->info.head_dim);
    return rc ? rc : keep(ld, &tensor, 0, 0, out);
}

/* ---- what the two layouts have in common -------------------------------------- */

/* mlp_in, mlp_out: full names. */
static enum err load_mlp(struct loader *ld, struct stream *s, const char *mlp_in,
                         const char *mlp_out)
{
    size_t hidden = ld->t->info.hidden;
    size_t mlp = ld->t->info.mlp;
    const struct slice in[] = {{&s->mlp_gate, mlp}, {&s->mlp_up, mlp}};
    enum err rc = load_slices(ld, in, 2, hidden, mlp_in);
    return rc ? rc : load_matrix(ld, &s->mlp_down, hidden, mlp, mlp_out);
}

/* The names of a single block's tensors are given; both layouts fuse alike. */
static enum err load_single(struct loader *ld, struct single_block *b, size_t i, const char *in,
                            const char *out, const char *norm_q, const char *norm_k)
{
    size_t hidden = ld->t->info.hidden;
    size_t mlp = ld->t->info.mlp;
    char name[NAME_BYTES_MAX];
    const struct slice slices[] = {
        {&b->q, hidden}, {&b->kv, 2 * hidden}, {&b->mlp_gate, mlp}, {&b->mlp_up, mlp}};
    name_format(ld, name, in, i);
    enum err rc = load_slices(ld, slices, 4, hidden, name);
    if (rc)
        return rc;
    name_format(ld, name, out, i);
    rc = load_matrix(ld, &b->out, hidden, hidden + mlp, name);
    if (rc)
        return rc;
    name_format(ld, name, norm_q, i);
    rc = load_norm(ld, &b->norm_q, name);
    if (rc)
        return rc;
    name_format(ld, name, norm_k, i);
    return load_norm(ld, &b->norm_k, name);
}

/* A matrix outside the blocks. */
struct entry {
    struct weight **out;
    size_t rows, cols;
    const char *diffusers, *bfl;
};

static enum err load_outside(struct loader *ld, bool bfl)
{
    struct transformer *t = ld->t;
    const struct transformer_info *info = &t->info;
    size_t hidden = info->hidden;
    const struct entry entries[] = {
        {&t->img_in, hidden, info->in_channels, "x_embedder", "img_in"},
        {&t->txt_in, hidden, info->text_width, "context_embedder", "txt_in"},
        {&t->time.in, hidden, t->info.n_sinusoids, "time_guidance_embed.timestep_embedder.linear_1",
         "time_in.in_layer"},
        {&t->time.out, hidden, hidden, "time_guidance_embed.timestep_embedder.linear_2",
         "time_in.out_layer"},
        {&t->mod_img, 6 * hidden, hidden, "double_stream_modulation_img.linear",
         "double_stream_modulation_img.lin"},
        {&t->mod_txt, 6 * hidden, hidden, "double_stream_modulation_txt.linear",
         "double_stream_modulation_txt.lin"},
        {&t->mod_single, 3 * hidden, hidden, "single_stream_modulation.linear",
         "single_stream_modulation.lin"},
        {&t->final, info->out_channels, hidden, "proj_out", "final_layer.linear"},
        {&t->guidance.in, hidden, t->info.n_sinusoids,
         "time_guidance_embed.guidance_embedder.linear_1", "guidance_in.in_layer"},
        {&t->guidance.out, hidden, hidden, "time_guidance_embed.guidance_embedder.linear_2",
         "guidance_in.out_layer"},
    };
    size_t n = sizeof entries / sizeof *entries - (info->guidance_embed ? 0 : 2);
    char name[NAME_BYTES_MAX];
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &entries[i];
        name_format(ld, name, "%s.weight", bfl ? e->bfl : e->diffusers);
        enum err rc = load_matrix(ld, e->out, e->rows, e->cols, name);
        if (rc)
            return rc;
    }
    /* BFL stores (shift, scale), diffusers (scale, shift). */
    name_format(ld, name, "%s.weight", bfl ? "final_layer.adaLN_modulation.1" : "norm_out.linear");
    const struct slice slices[] = {{bfl ? &t->final_shift : &t->final_scale, hidden},
                                   {bfl ? &t->final_scale : &t->final_shift, hidden}};
    return load_slices(ld, slices, 2, hidden, name);
}

/* ---- diffusers' layout -------------------------------------------------------- */

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
        name_format(ld, name, "transformer_blocks.%zu.attn.%s.weight", block, square[i].name);
        enum err rc = load_matrix(ld, square[i].out, hidden, hidden, name);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < 2; i++) {
        name_format(ld, name, "transformer_blocks.%zu.attn.%s.weight", block, norms[i].name);
        enum err rc = load_norm(ld, norms[i].out, name);
        if (rc)
            return rc;
    }
    name_format(ld, name, "transformer_blocks.%zu.%s.linear_in.weight", block, names->mlp);
    name_format(ld, name_out, "transformer_blocks.%zu.%s.linear_out.weight", block, names->mlp);
    return load_mlp(ld, s, name, name_out);
}

static enum err load_diffusers(struct loader *ld)
{
    static const struct stream_names img = {"to_q",   "to_k",   "to_v", "to_out.0",
                                            "norm_q", "norm_k", "ff"};
    static const struct stream_names txt = {"add_q_proj", "add_k_proj",   "add_v_proj",
                                            "to_add_out", "norm_added_q", "norm_added_k",
                                            "ff_context"};
    struct transformer *t = ld->t;
    enum err rc = load_outside(ld, false);
    for (size_t i = 0; !rc && i < t->info.n_double; i++) {
        rc = load_stream_diffusers(ld, &t->doubles[i].img, i, &img);
        if (!rc)
            rc = load_stream_diffusers(ld, &t->doubles[i].txt, i, &txt);
    }
    for (size_t i = 0; !rc && i < t->info.n_single; i++)
        rc = load_single(ld, &t->singles[i], i,
                         "single_transformer_blocks.%zu.attn.to_qkv_mlp_proj.weight",
                         "single_transformer_blocks.%zu.attn.to_out.weight",
                         "single_transformer_blocks.%zu.attn.norm_q.weight",
                         "single_transformer_blocks.%zu.attn.norm_k.weight");
    return rc;
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

    if (patch != 1)
        return err_set(em, ERR_UNSUPPORTED, "%s: patch_size is %zu; only 1 is supported", path,
                       patch);
    if (t->info.n_sinusoids % 2)
        return err_set(em, ERR_UNSUPPORTED, "%s: timestep_guidance_channels is %zu, which is odd",
                       path, t->info.n_sinusoids);
    info->hidden = info->n_heads * info->head_dim;
    if (info->hidden > LIMIT_WIDTH_MAX)
        return err_set(em, ERR_FORMAT,
                       "%s: num_attention_heads * attention_head_dim is %zu, the limit is %u", path,
                       info->hidden, LIMIT_WIDTH_MAX);
    double mlp = (double)info->hidden * mlp_ratio;
    if (mlp < 1.0 || mlp > 2.0 * LIMIT_WIDTH_MAX)
        return err_set(em, ERR_FORMAT, "%s: mlp_ratio %g makes an mlp of %g channels", path,
                       mlp_ratio, mlp);
    t->info.mlp = (size_t)mlp;
    t->eps = (float)eps;
    return read_axes(t, c, path, em);
}

static enum err open_config(struct transformer *t, const char *dir, struct errmsg *em)
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

/* ---- BFL's layout ------------------------------------------------------------- */

static enum err load_stream_bfl(struct loader *ld, struct stream *s, size_t block,
                                const char *stream)
{
    size_t hidden = ld->t->info.hidden;
    char name[NAME_BYTES_MAX];
    char name_out[NAME_BYTES_MAX];
    name_format(ld, name, "double_blocks.%zu.%s_attn.qkv.weight", block, stream);
    const struct slice qkv[] = {{&s->q, hidden}, {&s->k, hidden}, {&s->v, hidden}};
    enum err rc = load_slices(ld, qkv, 3, hidden, name);
    if (rc)
        return rc;
    name_format(ld, name, "double_blocks.%zu.%s_attn.proj.weight", block, stream);
    rc = load_matrix(ld, &s->out, hidden, hidden, name);
    if (rc)
        return rc;
    name_format(ld, name, "double_blocks.%zu.%s_attn.norm.query_norm.scale", block, stream);
    rc = load_norm(ld, &s->norm_q, name);
    if (rc)
        return rc;
    name_format(ld, name, "double_blocks.%zu.%s_attn.norm.key_norm.scale", block, stream);
    rc = load_norm(ld, &s->norm_k, name);
    if (rc)
        return rc;
    name_format(ld, name, "double_blocks.%zu.%s_mlp.0.weight", block, stream);
    name_format(ld, name_out, "double_blocks.%zu.%s_mlp.2.weight", block, stream);
    return load_mlp(ld, s, name, name_out);
}

static enum err load_bfl(struct loader *ld)
{
    struct transformer *t = ld->t;
    enum err rc = load_outside(ld, true);
    for (size_t i = 0; !rc && i < t->info.n_double; i++) {
        rc = load_stream_bfl(ld, &t->doubles[i].img, i, "img");
        if (!rc)
            rc = load_stream_bfl(ld, &t->doubles[i].txt, i, "txt");
    }
    for (size_t i = 0; !rc && i < t->info.n_single; i++)
        rc = load_single(ld, &t->singles[i], i, "single_blocks.%zu.linear1.weight",
                         "single_blocks.%zu.linear2.weight",
                         "single_blocks.%zu.norm.query_norm.scale",
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
    name_format(ld, name, "%s", short_name);
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
        name_format(ld, name, fmt, n);
        if (!weights_has(ld->t->weights, name))
            break;
    }
    return n;
}

static bool has(const struct loader *ld, const char *short_name)
{
    char name[NAME_BYTES_MAX];
    name_format(ld, name, "%s", short_name);
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

/* ---- open and close ----------------------------------------------------------- */

static enum err alloc_blocks(struct transformer *t, struct errmsg *em)
{
    size_t n_double = t->info.n_double;
    size_t n_single = t->info.n_single;
    size_t n_owned = WEIGHTS_FIXED + n_double * WEIGHTS_DOUBLE + n_single * WEIGHTS_SINGLE;
    t->owned = calloc(n_owned, sizeof *t->owned);
    t->doubles = calloc(n_double ? n_double : 1, sizeof *t->doubles);
    t->singles = calloc(n_single ? n_single : 1, sizeof *t->singles);
    if (!t->owned || !t->doubles || !t->singles)
        return err_nomem(em, n_owned * sizeof *t->owned);
    return ERR_OK;
}

static enum err open_parts(struct transformer *t, const char *path, struct errmsg *em)
{
    struct loader ld = {.t = t, .prefix = "", .em = em};
    bool bfl = !file_is_dir(path);
    enum err rc = ERR_OK;
    if (!bfl)
        rc = open_config(t, path, em);
    if (!rc)
        rc = weights_open(path, &t->weights, em);
    if (!rc && bfl)
        rc = check_bfl(&ld);
    if (!rc && bfl)
        rc = read_shapes(&ld);
    if (!rc)
        rc = alloc_blocks(t, em);
    if (!rc)
        rc = bfl ? load_bfl(&ld) : load_diffusers(&ld);
    return rc;
}

enum err transformer_open(struct backend *be, const char *path, struct transformer **out,
                          struct errmsg *em)
{
    struct transformer *t = calloc(1, sizeof *t);
    if (!t)
        return err_nomem(em, sizeof *t);
    t->be = be;
    enum err rc = open_parts(t, path, em);
    if (rc) {
        transformer_close(t);
        return rc;
    }
    t->info.n_params = weights_n_params(t->weights);
    t->info.weight_bytes = weights_bytes(t->weights);
    *out = t;
    return ERR_OK;
}

void transformer_close(struct transformer *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_owned; i++)
        backend_weight_free(t->be, t->owned[i]);
    free(t->owned);
    free(t->doubles);
    free(t->singles);
    weights_close(t->weights);
    free(t);
}

struct transformer_info transformer_info(const struct transformer *t)
{
    return t->info;
}

void transformer_release_pages(const struct transformer *t)
{
    weights_release_pages(t->weights);
}

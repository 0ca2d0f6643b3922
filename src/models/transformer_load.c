/* SPDX-License-Identifier: MIT */
/* What loading from the two layouts has in common: every tensor checked against the shape. */
#include "models/transformer_load.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tl_name(const struct loader *ld, char out[NAME_BYTES_MAX], const char *fmt, ...)
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

enum err tl_matrix(struct loader *ld, struct weight **out, size_t rows, size_t cols,
                   const char *name)
{
    struct tensor tensor;
    enum err rc = get_matrix(ld, name, rows, cols, &tensor);
    return rc ? rc : keep(ld, &tensor, 0, 0, out);
}

enum err tl_slices(struct loader *ld, const struct slice *slices, size_t n_slices, size_t cols,
                   const char *name)
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

enum err tl_norm(struct loader *ld, struct weight **out, const char *name)
{
    struct tensor tensor;
    enum err rc =
        weights_get_shaped(ld->t->weights, name, &tensor, ld->em, 1, ld->t->info.head_dim);
    return rc ? rc : keep(ld, &tensor, 0, 0, out);
}

enum err tl_mlp(struct loader *ld, struct stream *s, const char *mlp_in, const char *mlp_out)
{
    size_t hidden = ld->t->info.hidden;
    size_t mlp = ld->t->info.mlp;
    const struct slice in[] = {{&s->mlp_gate, mlp}, {&s->mlp_up, mlp}};
    enum err rc = tl_slices(ld, in, 2, hidden, mlp_in);
    return rc ? rc : tl_matrix(ld, &s->mlp_down, hidden, mlp, mlp_out);
}

enum err tl_single(struct loader *ld, struct single_block *b, size_t i, const char *in,
                   const char *out, const char *norm_q, const char *norm_k)
{
    size_t hidden = ld->t->info.hidden;
    size_t mlp = ld->t->info.mlp;
    char name[NAME_BYTES_MAX];
    const struct slice slices[] = {
        {&b->q, hidden}, {&b->kv, 2 * hidden}, {&b->mlp_gate, mlp}, {&b->mlp_up, mlp}};
    tl_name(ld, name, in, i);
    enum err rc = tl_slices(ld, slices, 4, hidden, name);
    if (rc)
        return rc;
    tl_name(ld, name, out, i);
    rc = tl_matrix(ld, &b->out, hidden, hidden + mlp, name);
    if (rc)
        return rc;
    tl_name(ld, name, norm_q, i);
    rc = tl_norm(ld, &b->norm_q, name);
    if (rc)
        return rc;
    tl_name(ld, name, norm_k, i);
    return tl_norm(ld, &b->norm_k, name);
}

/* A matrix outside the blocks. */
struct entry {
    struct weight **out;
    size_t rows, cols;
    const char *diffusers, *bfl;
};

enum err tl_outside(struct loader *ld, bool bfl)
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
        tl_name(ld, name, "%s.weight", bfl ? e->bfl : e->diffusers);
        enum err rc = tl_matrix(ld, e->out, e->rows, e->cols, name);
        if (rc)
            return rc;
    }
    /* BFL stores (shift, scale), diffusers (scale, shift). */
    tl_name(ld, name, "%s.weight", bfl ? "final_layer.adaLN_modulation.1" : "norm_out.linear");
    const struct slice slices[] = {{bfl ? &t->final_shift : &t->final_scale, hidden},
                                   {bfl ? &t->final_scale : &t->final_shift, hidden}};
    return tl_slices(ld, slices, 2, hidden, name);
}

/* SPDX-License-Identifier: MIT */
/* The shapes are those of the published config.json files (docs/models.md). The
 * tensor lists follow diffusers' and transformers' names. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/random_model_impl.h"

#define KLEIN false, true
#define KLEIN_BASE false, false
#define DEV true, false

#define QWEN3_4B 2560, 36, 32, 8, 128, 9728, 151936, true, {9, 18, 27}, 512
#define QWEN3_8B 4096, 36, 32, 8, 128, 12288, 151936, false, {9, 18, 27}, 512
#define MISTRAL_24B 5120, 40, 32, 8, 128, 32768, 131072, false, {10, 20, 30}, 512
#define TINY_TEXT 128, 4, 4, 2, 32, 384, 4096, true, {1, 2, 3}

static const struct shape shapes[] = {
    {"klein-4b", KLEIN, 3072, 24, 128, 5, 20, QWEN3_4B},
    {"klein-base-4b", KLEIN_BASE, 3072, 24, 128, 5, 20, QWEN3_4B},
    {"klein-9b", KLEIN, 4096, 32, 128, 8, 24, QWEN3_8B},
    {"klein-base-9b", KLEIN_BASE, 4096, 32, 128, 8, 24, QWEN3_8B},
    {"dev", DEV, 6144, 48, 128, 8, 48, MISTRAL_24B},
    {"tiny", KLEIN, 256, 4, 64, 1, 2, TINY_TEXT, 64},
    {"tiny-dev", DEV, 256, 4, 64, 1, 2, TINY_TEXT, 320},
};

const char *const *random_model_shapes(void)
{
    static const char *const names[] = {"klein-4b", "klein-base-4b", "klein-9b", "klein-base-9b",
                                        "dev",      "tiny",          "tiny-dev", NULL};
    return names;
}

const struct shape *random_shape_find(const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, name))
            return &shapes[i];
    return NULL;
}

/* ---- lists of tensors -------------------------------------------------------- */

#define CONSTANT_ONE (-1.0f)

static void add(struct spec_list *l, float value, size_t d0, size_t d1, size_t d2, size_t d3,
                const char *fmt, ...) PRINTF_LIKE(7, 8);

/* Sizes of 0 end the shape. */
static void add(struct spec_list *l, float value, size_t d0, size_t d1, size_t d2, size_t d3,
                const char *fmt, ...)
{
    char name[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    if (l->rc)
        return;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 256;
        struct weights_spec *items = realloc(l->items, cap * sizeof *items);
        if (items)
            l->items = items;
        float *values = realloc(l->values, cap * sizeof *values);
        if (values)
            l->values = values;
        if (!items || !values) {
            l->rc = err_nomem(l->em, cap * sizeof *items);
            return;
        }
        l->cap = cap;
    }
    struct weights_spec s = {.name = strdup(name), .dtype = DTYPE_BF16,
                             .shape = {d0, d1, d2, d3}};
    if (!s.name) {
        l->rc = err_nomem(l->em, sizeof name);
        return;
    }
    while (s.n_dims < 4 && s.shape[s.n_dims])
        s.n_dims++;
    l->values[l->n] = value;
    l->items[l->n++] = s;
}

void spec_list_deinit(struct spec_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free((char *)(uintptr_t)l->items[i].name);
    free(l->items);
    free(l->values);
}

/* A linear layer [n_out, n_in], scaled so that activations keep their size. */
static void add_linear(struct spec_list *l, size_t n_out, size_t n_in, const char *prefix,
                       const char *name)
{
    add(l, 1.0f / sqrtf((float)n_in), n_out, n_in, 0, 0, "%s%s.weight", prefix, name);
}

static void add_norm(struct spec_list *l, size_t n, const char *prefix, const char *name)
{
    add(l, CONSTANT_ONE, n, 0, 0, 0, "%s%s.weight", prefix, name);
}

void random_list_transformer(struct spec_list *l, const struct shape *s)
{
    size_t h = s->hidden, mlp = 3 * h;
    char p[64];
    add_linear(l, h, 128, "", "x_embedder");
    add_linear(l, h, 3 * s->te_hidden, "", "context_embedder");
    add_linear(l, h, 256, "", "time_guidance_embed.timestep_embedder.linear_1");
    add_linear(l, h, h, "", "time_guidance_embed.timestep_embedder.linear_2");
    if (s->is_dev) {
        add_linear(l, h, 256, "", "time_guidance_embed.guidance_embedder.linear_1");
        add_linear(l, h, h, "", "time_guidance_embed.guidance_embedder.linear_2");
    }
    add_linear(l, 6 * h, h, "", "double_stream_modulation_img.linear");
    add_linear(l, 6 * h, h, "", "double_stream_modulation_txt.linear");
    add_linear(l, 3 * h, h, "", "single_stream_modulation.linear");
    for (size_t i = 0; i < s->n_double; i++) {
        static const char *const square[] = {"attn.to_q", "attn.to_k", "attn.to_v",
                                             "attn.to_out.0", "attn.add_q_proj",
                                             "attn.add_k_proj", "attn.add_v_proj",
                                             "attn.to_add_out"};
        static const char *const norms[] = {"attn.norm_q", "attn.norm_k", "attn.norm_added_q",
                                            "attn.norm_added_k"};
        snprintf(p, sizeof p, "transformer_blocks.%zu.", i);
        for (size_t j = 0; j < 8; j++)
            add_linear(l, h, h, p, square[j]);
        for (size_t j = 0; j < 4; j++)
            add_norm(l, s->head_dim, p, norms[j]);
        add_linear(l, 2 * mlp, h, p, "ff.linear_in");
        add_linear(l, h, mlp, p, "ff.linear_out");
        add_linear(l, 2 * mlp, h, p, "ff_context.linear_in");
        add_linear(l, h, mlp, p, "ff_context.linear_out");
    }
    for (size_t i = 0; i < s->n_single; i++) {
        snprintf(p, sizeof p, "single_transformer_blocks.%zu.", i);
        add_linear(l, 3 * h + 2 * mlp, h, p, "attn.to_qkv_mlp_proj");
        add_linear(l, h, h + mlp, p, "attn.to_out");
        add_norm(l, s->head_dim, p, "attn.norm_q");
        add_norm(l, s->head_dim, p, "attn.norm_k");
    }
    add_linear(l, 2 * h, h, "", "norm_out.linear");
    add_linear(l, 128, h, "", "proj_out");
}

void random_list_text_encoder(struct spec_list *l, const struct shape *s)
{
    size_t h = s->te_hidden, q = s->te_heads * s->te_head_dim, kv = s->te_kv_heads * s->te_head_dim;
    const char *outer = s->is_dev ? "language_model." : "";
    char p[96];
    snprintf(p, sizeof p, "%smodel.", outer);
    add(l, 1.0f, s->te_vocab, h, 0, 0, "%sembed_tokens.weight", p);
    add_norm(l, h, p, "norm");
    for (size_t i = 0; i < s->te_layers; i++) {
        snprintf(p, sizeof p, "%smodel.layers.%zu.", outer, i);
        add_norm(l, h, p, "input_layernorm");
        add_norm(l, h, p, "post_attention_layernorm");
        if (!s->is_dev) {
            add_norm(l, s->te_head_dim, p, "self_attn.q_norm");
            add_norm(l, s->te_head_dim, p, "self_attn.k_norm");
        }
        add_linear(l, q, h, p, "self_attn.q_proj");
        add_linear(l, kv, h, p, "self_attn.k_proj");
        add_linear(l, kv, h, p, "self_attn.v_proj");
        add_linear(l, h, q, p, "self_attn.o_proj");
        add_linear(l, s->te_mlp, h, p, "mlp.gate_proj");
        add_linear(l, s->te_mlp, h, p, "mlp.up_proj");
        add_linear(l, h, s->te_mlp, p, "mlp.down_proj");
    }
    if (!s->te_tied)
        add_linear(l, s->te_vocab, h, outer, "lm_head");
}

static void add_conv(struct spec_list *l, size_t c_out, size_t c_in, size_t k, const char *prefix,
                     const char *name)
{
    add(l, 1.0f / sqrtf((float)(c_in * k * k)), c_out, c_in, k, k, "%s%s.weight", prefix, name);
    add(l, 0.01f, c_out, 0, 0, 0, "%s%s.bias", prefix, name);
}

static void add_group_norm(struct spec_list *l, size_t n, const char *prefix, const char *name)
{
    add_norm(l, n, prefix, name);
    add(l, 0.01f, n, 0, 0, 0, "%s%s.bias", prefix, name);
}

static void add_resnet(struct spec_list *l, size_t c_in, size_t c_out, const char *prefix)
{
    add_group_norm(l, c_in, prefix, "norm1");
    add_conv(l, c_out, c_in, 3, prefix, "conv1");
    add_group_norm(l, c_out, prefix, "norm2");
    add_conv(l, c_out, c_out, 3, prefix, "conv2");
    if (c_in != c_out)
        add_conv(l, c_out, c_in, 1, prefix, "conv_shortcut");
}

static void add_middle(struct spec_list *l, size_t c, const char *half)
{
    char p[96];
    static const char *const linears[] = {"to_q", "to_k", "to_v", "to_out.0"};
    for (int i = 0; i < 2; i++) {
        snprintf(p, sizeof p, "%s.mid_block.resnets.%d.", half, i);
        add_resnet(l, c, c, p);
    }
    snprintf(p, sizeof p, "%s.mid_block.attentions.0.", half);
    add_group_norm(l, c, p, "group_norm");
    for (size_t i = 0; i < 4; i++) {
        add_linear(l, c, c, p, linears[i]);
        add(l, 0.01f, c, 0, 0, 0, "%s%s.bias", p, linears[i]);
    }
}

#define VAE_LATENT 32u
#define VAE_LEVELS 4u

void random_list_autoencoder(struct spec_list *l)
{
    static const size_t channels[VAE_LEVELS] = {128, 256, 512, 512};
    char p[96];
    size_t c = channels[0], top = channels[VAE_LEVELS - 1];
    add_conv(l, c, 3, 3, "", "encoder.conv_in");
    for (size_t i = 0; i < VAE_LEVELS; i++) {
        for (size_t j = 0; j < 2; j++) {
            snprintf(p, sizeof p, "encoder.down_blocks.%zu.resnets.%zu.", i, j);
            add_resnet(l, c, channels[i], p);
            c = channels[i];
        }
        snprintf(p, sizeof p, "encoder.down_blocks.%zu.downsamplers.0.", i);
        if (i + 1 < VAE_LEVELS)
            add_conv(l, c, c, 3, p, "conv");
    }
    add_middle(l, top, "encoder");
    add_group_norm(l, top, "", "encoder.conv_norm_out");
    add_conv(l, 2 * VAE_LATENT, top, 3, "", "encoder.conv_out");
    add_conv(l, 2 * VAE_LATENT, 2 * VAE_LATENT, 1, "", "quant_conv");

    add_conv(l, VAE_LATENT, VAE_LATENT, 1, "", "post_quant_conv");
    add_conv(l, top, VAE_LATENT, 3, "", "decoder.conv_in");
    add_middle(l, top, "decoder");
    c = top;
    for (size_t i = 0; i < VAE_LEVELS; i++) {
        size_t c_out = channels[VAE_LEVELS - 1 - i];
        for (size_t j = 0; j < 3; j++) {
            snprintf(p, sizeof p, "decoder.up_blocks.%zu.resnets.%zu.", i, j);
            add_resnet(l, c, c_out, p);
            c = c_out;
        }
        snprintf(p, sizeof p, "decoder.up_blocks.%zu.upsamplers.0.", i);
        if (i + 1 < VAE_LEVELS)
            add_conv(l, c, c, 3, p, "conv");
    }
    add_group_norm(l, c, "", "decoder.conv_norm_out");
    add_conv(l, 3, c, 3, "", "decoder.conv_out");
    add(l, 0.1f, 4 * VAE_LATENT, 0, 0, 0, "bn.running_mean");
    add(l, CONSTANT_ONE, 4 * VAE_LATENT, 0, 0, 0, "bn.running_var");
}

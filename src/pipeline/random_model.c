/* SPDX-License-Identifier: MIT */
/* The shapes are those of the published config.json files (docs/models.md). The
 * tensor lists follow diffusers' and transformers' names. */
#include "pipeline/random_model.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "formats/safetensors.h"

#define SHARD_BYTES ((uint64_t)4 << 30)
#define TABLE_SIZE 4096u

struct shape {
    const char *name, *licence;
    size_t hidden, n_heads, head_dim, n_double, n_single;
    bool guidance_embed, is_distilled;
    /* text encoder */
    size_t te_hidden, te_layers, te_heads, te_kv_heads, te_head_dim, te_mlp, te_vocab;
    bool te_tied;
    size_t text_layers[3];
    size_t max_tokens;
};

#define QWEN3_4B 2560, 36, 32, 8, 128, 9728, 151936, true, {9, 18, 27}, 512
#define QWEN3_8B 4096, 36, 32, 8, 128, 12288, 151936, false, {9, 18, 27}, 512
/* dev's own text encoder is a Mistral of 24 B parameters; a Qwen3 of the same width and
 * depth stands in for it, so that the transformer can be timed. */
#define DEV_TEXT 5120, 40, 32, 8, 128, 32768, 131072, false, {10, 20, 30}, 512

static const struct shape shapes[] = {
    {"klein-4b", "random", 3072, 24, 128, 5, 20, false, true, QWEN3_4B},
    {"klein-base-4b", "random", 3072, 24, 128, 5, 20, false, false, QWEN3_4B},
    {"klein-9b", "random", 4096, 32, 128, 8, 24, false, true, QWEN3_8B},
    {"klein-base-9b", "random", 4096, 32, 128, 8, 24, false, false, QWEN3_8B},
    {"dev", "random", 6144, 48, 128, 8, 48, true, true, DEV_TEXT},
    {"tiny", "random", 256, 4, 64, 1, 2, false, true,
     128, 4, 4, 2, 32, 384, 4096, true, {1, 2, 3}, 64},
};

const char *const *random_model_shapes(void)
{
    static const char *const names[] = {"klein-4b", "klein-base-4b", "klein-9b",
                                        "klein-base-9b", "dev", "tiny", NULL};
    return names;
}

/* ---- a list of tensors ----------------------------------------------------- */

struct spec_list {
    struct weights_spec *items;
    float *values; /* standard deviation; negative: the constant -value */
    size_t n, cap;
    enum err rc;
    struct errmsg *em;
};

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

static void spec_list_deinit(struct spec_list *l)
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

static void list_transformer(struct spec_list *l, const struct shape *s)
{
    size_t h = s->hidden, mlp = 3 * h;
    char p[64];
    add_linear(l, h, 128, "", "x_embedder");
    add_linear(l, h, 3 * s->te_hidden, "", "context_embedder");
    add_linear(l, h, 256, "", "time_guidance_embed.timestep_embedder.linear_1");
    add_linear(l, h, h, "", "time_guidance_embed.timestep_embedder.linear_2");
    if (s->guidance_embed) {
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

static void list_text_encoder(struct spec_list *l, const struct shape *s)
{
    size_t h = s->te_hidden, q = s->te_heads * s->te_head_dim, kv = s->te_kv_heads * s->te_head_dim;
    char p[64];
    add(l, 1.0f, s->te_vocab, h, 0, 0, "model.embed_tokens.weight");
    for (size_t i = 0; i < s->te_layers; i++) {
        snprintf(p, sizeof p, "model.layers.%zu.", i);
        add_norm(l, h, p, "input_layernorm");
        add_norm(l, h, p, "post_attention_layernorm");
        add_norm(l, s->te_head_dim, p, "self_attn.q_norm");
        add_norm(l, s->te_head_dim, p, "self_attn.k_norm");
        add_linear(l, q, h, p, "self_attn.q_proj");
        add_linear(l, kv, h, p, "self_attn.k_proj");
        add_linear(l, kv, h, p, "self_attn.v_proj");
        add_linear(l, h, q, p, "self_attn.o_proj");
        add_linear(l, s->te_mlp, h, p, "mlp.gate_proj");
        add_linear(l, s->te_mlp, h, p, "mlp.up_proj");
        add_linear(l, h, s->te_mlp, p, "mlp.down_proj");
    }
    add_norm(l, h, "", "model.norm");
    if (!s->te_tied)
        add_linear(l, s->te_vocab, h, "", "lm_head");
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

static void list_autoencoder(struct spec_list *l)
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

/* ---- writing --------------------------------------------------------------- */

struct fill_ctx {
    const struct spec_list *list;
    uint64_t state;
    float normals[TABLE_SIZE];
    uint16_t table[TABLE_SIZE]; /* the normals, scaled for one tensor, in bf16 */
    size_t table_of;
    uint64_t done_bytes, total_bytes;
    bool (*on_progress)(void *ctx, double fraction);
    void *ctx;
    struct errmsg *em;
};

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void make_normals(struct fill_ctx *f)
{
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        double u = ((double)(next_random(&f->state) >> 11) + 0.5) * 0x1p-53;
        double v = (double)(next_random(&f->state) >> 11) * 0x1p-53;
        f->normals[i] = (float)(sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v));
    }
}

static enum err fill(void *ctx, size_t i, size_t first, size_t n, void *out)
{
    struct fill_ctx *f = ctx;
    float value = f->list->values[i];
    uint16_t *p = out;
    (void)first;
    if (f->table_of != i) {
        for (size_t j = 0; j < TABLE_SIZE; j++)
            f->table[j] = bf16_from_f32(value < 0 ? -value : value * f->normals[j]);
        f->table_of = i;
    }
    for (size_t j = 0; j < n;) {
        uint64_t r = next_random(&f->state);
        for (int k = 0; k < 5 && j < n; k++, r >>= 12)
            p[j++] = f->table[r % TABLE_SIZE];
    }
    f->done_bytes += n * sizeof *p;
    if (f->on_progress && !f->on_progress(f->ctx, (double)f->done_bytes / (double)f->total_bytes))
        return err_set(f->em, ERR_CANCELLED, "cancelled");
    return ERR_OK;
}

static enum err write_text(const char *dir, const char *name, struct errmsg *em, const char *fmt,
                           ...) PRINTF_LIKE(4, 5);

static enum err write_text(const char *dir, const char *name, struct errmsg *em, const char *fmt,
                           ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char *path = path_join(dir, name);
    if (!path || n < 0 || (size_t)n >= sizeof text) {
        free(path);
        return err_nomem(em, sizeof text);
    }
    enum err rc = file_write_atomic(path, text, (size_t)n, em);
    free(path);
    return rc;
}

static enum err write_configs(const struct shape *s, const char *dir, struct errmsg *em)
{
    enum err rc = write_text(dir, "model_index.json", em,
                             "{\"_class_name\": \"Flux2KleinPipeline\", \"is_distilled\": %s}\n",
                             s->is_distilled ? "true" : "false");
    if (!rc)
        rc = write_text(dir, "easel.json", em,
                        "{\"name\": \"random-%s\", \"licence\": \"none\",\n"
                        " \"description\": \"Random weights in the shape of %s: for timing; its "
                        "pictures are noise.\",\n"
                        " \"max_sequence_length\": %zu, \"text_encoder_out_layers\": "
                        "[%zu, %zu, %zu]}\n",
                        s->name, s->name, s->max_tokens, s->text_layers[0], s->text_layers[1],
                        s->text_layers[2]);
    if (!rc)
        rc = write_text(dir, "scheduler/scheduler_config.json", em,
                        "{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", "
                        "\"num_train_timesteps\": 1000, \"shift\": 3.0, "
                        "\"use_dynamic_shifting\": true, \"time_shift_type\": "
                        "\"exponential\"}\n");
    if (!rc)
        rc = write_text(dir, "transformer/config.json", em,
                        "{\"_class_name\": \"Flux2Transformer2DModel\", \"patch_size\": 1, "
                        "\"in_channels\": 128, \"num_layers\": %zu, \"num_single_layers\": %zu, "
                        "\"attention_head_dim\": %zu, \"num_attention_heads\": %zu, "
                        "\"joint_attention_dim\": %zu, \"timestep_guidance_channels\": 256, "
                        "\"mlp_ratio\": 3.0, \"axes_dims_rope\": [%zu, %zu, %zu, %zu], "
                        "\"rope_theta\": 2000, \"eps\": 1e-06, \"guidance_embeds\": %s}\n",
                        s->n_double, s->n_single, s->head_dim, s->n_heads, 3 * s->te_hidden,
                        s->head_dim / 4, s->head_dim / 4, s->head_dim / 4, s->head_dim / 4,
                        s->guidance_embed ? "true" : "false");
    if (!rc)
        rc = write_text(dir, "text_encoder/config.json", em,
                        "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", "
                        "\"hidden_size\": %zu, \"num_hidden_layers\": %zu, "
                        "\"num_attention_heads\": %zu, \"num_key_value_heads\": %zu, "
                        "\"head_dim\": %zu, \"intermediate_size\": %zu, \"vocab_size\": %zu, "
                        "\"rms_norm_eps\": 1e-06, \"rope_theta\": 1000000, "
                        "\"hidden_act\": \"silu\", \"attention_bias\": false, "
                        "\"tie_word_embeddings\": %s}\n",
                        s->te_hidden, s->te_layers, s->te_heads, s->te_kv_heads, s->te_head_dim,
                        s->te_mlp, s->te_vocab, s->te_tied ? "true" : "false");
    if (!rc)
        rc = write_text(dir, "vae/config.json", em,
                        "{\"_class_name\": \"AutoencoderKLFlux2\", \"in_channels\": 3, "
                        "\"out_channels\": 3, \"down_block_types\": [\"DownEncoderBlock2D\", "
                        "\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", "
                        "\"DownEncoderBlock2D\"], \"up_block_types\": [\"UpDecoderBlock2D\", "
                        "\"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\"], "
                        "\"block_out_channels\": [128, 256, 512, 512], \"layers_per_block\": 2, "
                        "\"act_fn\": \"silu\", \"latent_channels\": 32, \"norm_num_groups\": 32, "
                        "\"use_quant_conv\": true, \"use_post_quant_conv\": true, "
                        "\"mid_block_add_attention\": true, \"batch_norm_eps\": 0.0001, "
                        "\"patch_size\": [2, 2]}\n");
    return rc;
}

static uint64_t list_bytes(const struct spec_list *l)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < l->n; i++) {
        uint64_t n = 2;
        for (unsigned d = 0; d < l->items[i].n_dims; d++)
            n *= l->items[i].shape[d];
        sum += n;
    }
    return sum;
}

static const struct part {
    const char *folder, *stem;
} parts[] = {{"transformer", "diffusion_pytorch_model"},
             {"text_encoder", "model"},
             {"vae", "diffusion_pytorch_model"}};
#define N_PARTS (sizeof parts / sizeof *parts)

static enum err write_weights(const struct spec_list *lists, struct fill_ctx *f, const char *dir,
                              struct errmsg *em)
{
    for (size_t i = 0; i < N_PARTS; i++) {
        char *sub = path_join(dir, parts[i].folder);
        if (!sub)
            return err_nomem(em, strlen(dir));
        f->list = &lists[i];
        f->table_of = SIZE_MAX;
        enum err rc = weights_write(sub, parts[i].stem, lists[i].items, lists[i].n, SHARD_BYTES,
                                    fill, f, em);
        free(sub);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static enum err make_dirs(const char *dir, struct errmsg *em)
{
    static const char *const folders[] = {"", "scheduler", "transformer", "text_encoder", "vae",
                                          "tokenizer"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *path = path_join(dir, folders[i]);
        if (!path)
            return err_nomem(em, strlen(dir));
        int failed = mkdir(path, 0777);
        free(path);
        if (failed)
            return err_set(em, ERR_IO, "cannot make the folder %s: %s", dir, strerror(errno));
    }
    return ERR_OK;
}

static enum err copy_tokenizer(const char *from, const char *dir, struct errmsg *em)
{
    struct buf text = {0};
    char *to = path_join(dir, "tokenizer/tokenizer.json");
    enum err rc = to ? file_read(from, LIMIT_TOKENIZER_BYTES_MAX, &text, em)
                     : err_nomem(em, strlen(dir));
    if (!rc)
        rc = file_write_atomic(to, text.ptr, text.len, em);
    free(to);
    buf_deinit(&text);
    return rc;
}

static enum err check_room(const char *dir, uint64_t need, struct errmsg *em)
{
    struct statvfs fs;
    if (statvfs(dir, &fs))
        return ERR_OK; /* a system that cannot tell: writing will */
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room < need)
        return err_set(em, ERR_IO, "%s needs %llu MB; its disk has %llu MB left", dir,
                       (unsigned long long)(need >> 20), (unsigned long long)(room >> 20));
    return ERR_OK;
}

/* Take back what was written, part by part: nothing that was there before is touched,
 * for the folder was made by us. */
static void remove_model(const char *dir)
{
    static const char *const files[] = {"model_index.json", "easel.json",
                                        "scheduler/scheduler_config.json",
                                        "transformer/config.json", "text_encoder/config.json",
                                        "vae/config.json", "tokenizer/tokenizer.json"};
    static const char *const folders[] = {"scheduler", "transformer", "text_encoder", "vae",
                                          "tokenizer", ""};
    char path[4096];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    for (size_t i = 0; i < N_PARTS; i++) {
        snprintf(path, sizeof path, "%s/%s/%s.safetensors", dir, parts[i].folder, parts[i].stem);
        unlink(path);
        snprintf(path, sizeof path, "%s/%s/%s.safetensors.index.json", dir, parts[i].folder,
                 parts[i].stem);
        unlink(path);
        for (unsigned of = 1; of < 64; of++)
            for (unsigned k = 1; k <= of; k++) {
                snprintf(path, sizeof path, "%s/%s/%s-%05u-of-%05u.safetensors", dir,
                         parts[i].folder, parts[i].stem, k, of);
                unlink(path);
            }
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        rmdir(path);
    }
}

enum err random_model_write(const char *shape, const char *dir, const char *tokenizer_path,
                            bool (*on_progress)(void *ctx, double fraction), void *ctx,
                            struct errmsg *em)
{
    const struct shape *s = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, shape))
            s = &shapes[i];
    if (!s)
        return err_set(em, ERR_USAGE,
                       "unknown shape \"%s\"; known: klein-4b, klein-base-4b, klein-9b, "
                       "klein-base-9b, dev, tiny",
                       shape);
    if (file_exists(dir))
        return err_set(em, ERR_USAGE, "%s is there already; give a new folder", dir);

    struct spec_list lists[N_PARTS] = {{0}};
    struct fill_ctx *f = calloc(1, sizeof *f);
    enum err rc = f ? ERR_OK : err_nomem(em, sizeof *f);
    for (size_t i = 0; i < N_PARTS; i++)
        lists[i].em = em;
    list_transformer(&lists[0], s);
    list_text_encoder(&lists[1], s);
    list_autoencoder(&lists[2]);
    uint64_t total = 0;
    for (size_t i = 0; i < N_PARTS; i++) {
        total += list_bytes(&lists[i]);
        if (!rc)
            rc = lists[i].rc;
    }
    if (!rc)
        rc = make_dirs(dir, em);
    if (!rc) {
        f->state = 1;
        f->total_bytes = total;
        f->on_progress = on_progress;
        f->ctx = ctx;
        f->em = em;
        make_normals(f);
        rc = check_room(dir, total, em);
        if (!rc)
            rc = write_configs(s, dir, em);
        if (!rc)
            rc = copy_tokenizer(tokenizer_path, dir, em);
        if (!rc)
            rc = write_weights(lists, f, dir, em);
        if (rc)
            remove_model(dir);
    }
    for (size_t i = 0; i < N_PARTS; i++)
        spec_list_deinit(&lists[i]);
    free(f);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* AutoencoderKLFlux2: its configuration and its weights, from a diffusers folder or
 * from a single file in BFL's layout, which has no configuration: there the shape is
 * read off the tensors. The two layouts hold the same tensors under other names; BFL
 * counts the decoder's blocks from the picture's end.
 * Sources: diffusers, autoencoder_kl_flux2.py, vae.py; BFL, flux2/autoencoder.py. */
#include "models/autoencoder_kl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 160

struct kl_config {
    bool bfl;
    size_t n_blocks, n_layers, n_groups, latent;
    size_t encoder_channels[KL_BLOCKS_MAX], decoder_channels[KL_BLOCKS_MAX];
    bool attn, quant, post_quant;
};

/* ---- Names ---- */

struct name {
    char text[NAME_BYTES];
};

static struct name dotted(const char *base, const char *part)
{
    struct name n;
    snprintf(n.text, sizeof n.text, "%s.%s", base, part);
    return n;
}

static struct name block_name(const struct kl_config *c, bool decoder, size_t i)
{
    struct name n;
    if (!c->bfl)
        snprintf(n.text, sizeof n.text,
                 decoder ? "decoder.up_blocks.%zu" : "encoder.down_blocks.%zu", i);
    else
        snprintf(n.text, sizeof n.text, decoder ? "decoder.up.%zu" : "encoder.down.%zu",
                 decoder ? c->n_blocks - 1 - i : i);
    return n;
}

static struct name resnet_name(const struct kl_config *c, bool decoder, size_t i, size_t j)
{
    struct name n, block = block_name(c, decoder, i);
    snprintf(n.text, sizeof n.text, c->bfl ? "%.96s.block.%zu" : "%.96s.resnets.%zu", block.text,
             j);
    return n;
}

static struct name mid_name(const struct kl_config *c, const char *half, size_t j)
{
    struct name n;
    if (c->bfl)
        snprintf(n.text, sizeof n.text, "%s.mid.block_%zu", half, j + 1);
    else
        snprintf(n.text, sizeof n.text, "%s.mid_block.resnets.%zu", half, j);
    return n;
}

/* BFL keeps the quantising convolutions inside the halves; others move them out. */
static struct name quant_name(const struct autoencoder *ae, bool decoder)
{
    const char *base = decoder ? "post_quant_conv" : "quant_conv";
    struct name inside = dotted(decoder ? "decoder" : "encoder", base), n;
    if (weights_has(ae->weights, dotted(inside.text, "weight").text))
        return inside;
    snprintf(n.text, sizeof n.text, "%s", base);
    return n;
}

/* ---- Configuration ---- */

/* The field lists n times the only kind of block that there is. */
NODISCARD static enum err check_blocks(const struct config *c, const char *key, const char *type,
                                       size_t n_blocks, const char *path, struct errmsg *em)
{
    const char *types[KL_BLOCKS_MAX];
    size_t n = 0;
    enum err rc = config_strings(c, key, types, KL_BLOCKS_MAX, &n, em);
    if (rc)
        return rc;
    if (n && n != n_blocks)
        return err_set(em, ERR_FORMAT, "%s: %s lists %zu blocks, block_out_channels %zu", path, key,
                       n, n_blocks);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(types[i], type) != 0)
            return err_set(em, ERR_UNSUPPORTED, "%s: %s: this program has no %s (only %s)", path,
                           key, types[i], type);
    }
    return ERR_OK;
}

NODISCARD static enum err read_channels(const struct config *c, struct kl_config *out,
                                        const char *path, struct errmsg *em)
{
    static const size_t usual[] = {128, 256, 512, 512};
    size_t n = 0;
    enum err rc = config_sizes(c, "block_out_channels", 1, LIMIT_WIDTH_MAX, out->encoder_channels,
                               KL_BLOCKS_MAX, &out->n_blocks, em);
    if (rc)
        return rc;
    if (!out->n_blocks) {
        out->n_blocks = 4;
        memcpy(out->encoder_channels, usual, sizeof usual);
    }
    rc = config_sizes(c, "decoder_block_out_channels", 1, LIMIT_WIDTH_MAX, out->decoder_channels,
                      KL_BLOCKS_MAX, &n, em);
    if (rc)
        return rc;
    if (!n)
        memcpy(out->decoder_channels, out->encoder_channels, sizeof out->encoder_channels);
    else if (n != out->n_blocks)
        return err_set(em, ERR_FORMAT,
                       "%s: decoder_block_out_channels lists %zu blocks, block_out_channels %zu",
                       path, n, out->n_blocks);
    return ERR_OK;
}

/* What the class can do and this code cannot, or is always so. */
NODISCARD static enum err check_fixed(const struct config *c, const struct kl_config *k,
                                      const char *path, struct errmsg *em)
{
    const char *act = NULL;
    size_t in = 3, out = 3;
    enum err rc = config_string(c, "act_fn", "silu", &act, em);
    if (!rc && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        rc = err_set(em, ERR_UNSUPPORTED, "%s: act_fn %s (this program has silu)", path, act);
    if (!rc)
        rc = config_size(c, "in_channels", 3, 3, 3, &in, em);
    if (!rc)
        rc = config_size(c, "out_channels", 3, 3, 3, &out, em);
    if (!rc)
        rc = check_blocks(c, "down_block_types", "DownEncoderBlock2D", k->n_blocks, path, em);
    if (!rc)
        rc = check_blocks(c, "up_block_types", "UpDecoderBlock2D", k->n_blocks, path, em);
    return rc;
}

NODISCARD static enum err read_config(struct autoencoder *ae, const struct config *c,
                                      struct kl_config *out, struct errmsg *em)
{
    const char *path = weights_path(ae->weights);
    enum err rc = ae_config_common(ae, c, em);
    if (!rc)
        rc = read_channels(c, out, path, em);
    if (!rc)
        rc = check_fixed(c, out, path, em);
    if (!rc)
        rc = config_size(c, "layers_per_block", 1, KL_LAYERS_MAX - 1, 2, &out->n_layers, em);
    if (!rc)
        rc = config_size(c, "latent_channels", 1, LIMIT_WIDTH_MAX, 32, &out->latent, em);
    if (!rc)
        rc = config_size(c, "norm_num_groups", 1, LIMIT_WIDTH_MAX, 32, &out->n_groups, em);
    if (!rc)
        rc = config_bool(c, "mid_block_add_attention", 1, &out->attn, em);
    if (!rc)
        rc = config_bool(c, "use_quant_conv", 1, &out->quant, em);
    if (!rc)
        rc = config_bool(c, "use_post_quant_conv", 1, &out->post_quant, em);
    return rc;
}

/* ---- BFL's layout: the shape from the tensors ---- */

static bool has_tensor(const struct autoencoder *ae, const char *base, const char *part)
{
    return weights_has(ae->weights, dotted(base, part).text);
}

/* Channels of block i of a half (in the order of the run), from its first resnet. */
NODISCARD static enum err infer_channels(struct autoencoder *ae, const struct kl_config *c,
                                         bool decoder, size_t *channels, struct errmsg *em)
{
    for (size_t i = 0; i < c->n_blocks; i++) {
        struct tensor t;
        struct name n = dotted(resnet_name(c, decoder, i, 0).text, "conv1.weight");
        enum err rc = weights_get(ae->weights, n.text, &t, em);
        if (rc)
            return rc;
        if (t.n_dims != 4 || !t.shape[0] || t.shape[0] > LIMIT_WIDTH_MAX)
            return err_set(em, ERR_FORMAT, "%s: tensor %s is not a convolution's kernel",
                           weights_path(ae->weights), n.text);
        channels[decoder ? c->n_blocks - 1 - i : i] = t.shape[0];
    }
    return ERR_OK;
}

/* The patch's side from the number of packed channels that the statistics have. */
NODISCARD static enum err infer_patch(struct autoencoder *ae, size_t latent, struct errmsg *em)
{
    struct tensor t;
    enum err rc = weights_get(ae->weights, "bn.running_mean", &t, em);
    if (rc)
        return rc;
    for (size_t p = 1; p <= 16; p++) {
        if (t.n_elems == p * p * latent) {
            ae->info.patch = p;
            return ERR_OK;
        }
    }
    return err_set(em, ERR_FORMAT, "%s: bn.running_mean has %zu channels, not a square times %zu",
                   weights_path(ae->weights), t.n_elems, latent);
}

/* How many of STEM.0…, or of STEM.0.block.0…, there are. */
static size_t count_blocks(const struct autoencoder *ae, const char *stem)
{
    size_t n = 0;
    struct name name;
    do {
        snprintf(name.text, sizeof name.text, "%s.%zu.block.0.conv1.weight", stem, n);
    } while (weights_has(ae->weights, name.text) && ++n <= KL_BLOCKS_MAX);
    return n;
}

static size_t count_resnets(const struct autoencoder *ae, const char *stem)
{
    size_t n = 0;
    struct name name;
    do {
        snprintf(name.text, sizeof name.text, "%s.0.block.%zu.conv1.weight", stem, n);
    } while (weights_has(ae->weights, name.text) && ++n <= KL_LAYERS_MAX);
    return n;
}

NODISCARD static enum err infer_latent(struct autoencoder *ae, bool decoder, size_t *out,
                                       struct errmsg *em)
{
    const char *name = decoder ? "decoder.conv_in.weight" : "encoder.conv_out.weight";
    struct tensor t;
    enum err rc = weights_get(ae->weights, name, &t, em);
    if (rc)
        return rc;
    *out = t.n_dims != 4 ? 0 : decoder ? t.shape[1] : t.shape[0] / 2;
    if (*out && *out <= LIMIT_WIDTH_MAX)
        return ERR_OK;
    return err_set(em, ERR_FORMAT, "%s: tensor %s is not a convolution's kernel",
                   weights_path(ae->weights), name);
}

NODISCARD static enum err infer_config(struct autoencoder *ae, struct kl_config *out,
                                       struct errmsg *em)
{
    bool decoder = has_tensor(ae, "decoder.up.0.block.0.conv1", "weight");
    bool encoder = has_tensor(ae, "encoder.down.0.block.0.conv1", "weight");
    if (!decoder && !encoder)
        return err_set(em, ERR_UNSUPPORTED,
                       "%s: no autoencoder in BFL's layout (it has neither decoder.up.0.block.0 "
                       "nor encoder.down.0.block.0); give one in diffusers' layout as its "
                       "folder, with config.json",
                       weights_path(ae->weights));
    *out = (struct kl_config){.bfl = true, .n_groups = 32};
    out->n_blocks = count_blocks(ae, decoder ? "decoder.up" : "encoder.down");
    out->n_layers =
        decoder ? count_resnets(ae, "decoder.up") - 1 : count_resnets(ae, "encoder.down");
    if (out->n_blocks > KL_BLOCKS_MAX || !out->n_layers || out->n_layers >= KL_LAYERS_MAX)
        return err_set(em, ERR_UNSUPPORTED, "%s: %zu blocks of %zu layers are too many or too few",
                       weights_path(ae->weights), out->n_blocks, out->n_layers);
    out->attn = has_tensor(ae, decoder ? "decoder.mid.attn_1.q" : "encoder.mid.attn_1.q", "weight");
    out->quant = has_tensor(ae, quant_name(ae, false).text, "weight");
    out->post_quant = has_tensor(ae, quant_name(ae, true).text, "weight");
    enum err rc = infer_latent(ae, decoder, &out->latent, em);
    if (!rc)
        rc = infer_patch(ae, out->latent, em);
    if (!rc && encoder)
        rc = infer_channels(ae, out, false, out->encoder_channels, em);
    if (!rc && decoder)
        rc = infer_channels(ae, out, true, out->decoder_channels, em);
    return rc;
}

/* ---- Weights ---- */

NODISCARD static enum err load_resnet(struct autoencoder *ae, const struct kl_config *c,
                                      struct kl_resnet *b, struct name base, size_t c_in,
                                      size_t c_out, struct errmsg *em)
{
    enum err rc = ae_load_norm(ae, &b->norm1, dotted(base.text, "norm1").text, c_in, em);
    if (!rc)
        rc = ae_load_conv(ae, &b->conv1, dotted(base.text, "conv1").text, c_out, c_in, 3, true, em);
    if (!rc)
        rc = ae_load_norm(ae, &b->norm2, dotted(base.text, "norm2").text, c_out, em);
    if (!rc)
        rc =
            ae_load_conv(ae, &b->conv2, dotted(base.text, "conv2").text, c_out, c_out, 3, true, em);
    if (!rc && c_in != c_out)
        rc = ae_load_conv(ae, &b->shortcut,
                          dotted(base.text, c->bfl ? "nin_shortcut" : "conv_shortcut").text, c_out,
                          c_in, 1, true, em);
    return rc;
}

NODISCARD static enum err load_attention(struct autoencoder *ae, const struct kl_config *c,
                                         struct kl_attention *b, const char *half, size_t channels,
                                         struct errmsg *em)
{
    static const char *const parts[2][4] = {{"to_q", "to_k", "to_v", "to_out.0"},
                                            {"q", "k", "v", "proj_out"}};
    struct ae_conv *convs[4] = {&b->q, &b->k, &b->v, &b->out};
    struct name base = dotted(half, c->bfl ? "mid.attn_1" : "mid_block.attentions.0");
    enum err rc = ae_load_norm(ae, &b->norm, dotted(base.text, c->bfl ? "norm" : "group_norm").text,
                               channels, em);
    for (size_t i = 0; i < 4 && !rc; i++) {
        struct name n = dotted(base.text, parts[c->bfl][i]);
        if (c->bfl)
            rc = ae_load_conv(ae, convs[i], n.text, channels, channels, 1, true, em);
        else
            rc = ae_load_linear(ae, convs[i], n.text, channels, channels, em);
    }
    return rc;
}

NODISCARD static enum err load_mid(struct autoencoder *ae, const struct kl_config *c,
                                   struct kl_half *h, const char *half, size_t channels,
                                   struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (size_t j = 0; j < 2 && !rc; j++)
        rc = load_resnet(ae, c, &h->mid[j], mid_name(c, half, j), channels, channels, em);
    h->has_attn = c->attn;
    if (!rc && c->attn)
        rc = load_attention(ae, c, &h->attn, half, channels, em);
    return rc;
}

/* channels: of the blocks in the order in which they run; c_in: what enters the first. */
NODISCARD static enum err load_blocks(struct autoencoder *ae, const struct kl_config *c,
                                      struct kl_half *h, bool decoder, size_t c_in,
                                      const size_t *channels, struct errmsg *em)
{
    enum err rc = ERR_OK;
    h->n_blocks = c->n_blocks;
    for (size_t i = 0; i < c->n_blocks && !rc; i++) {
        struct kl_block *b = &h->blocks[i];
        b->n_resnets = c->n_layers + decoder;
        for (size_t j = 0; j < b->n_resnets && !rc; j++) {
            rc = load_resnet(ae, c, &b->resnets[j], resnet_name(c, decoder, i, j), c_in,
                             channels[i], em);
            c_in = channels[i];
        }
        if (rc || i + 1 == c->n_blocks)
            break;
        const char *part = c->bfl    ? decoder ? "upsample.conv" : "downsample.conv"
                           : decoder ? "upsamplers.0.conv"
                                     : "downsamplers.0.conv";
        rc = ae_load_conv(ae, &b->sampler, dotted(block_name(c, decoder, i).text, part).text, c_in,
                          c_in, 3, true, em);
    }
    return rc;
}

/* The encoder gives mean and variance; only the mean is ever asked for, so the last
 * layer is cut down to it. */
NODISCARD static enum err load_encoder(struct autoencoder *ae, const struct kl_config *c,
                                       struct kl_half *h, struct errmsg *em)
{
    size_t first = c->encoder_channels[0], last = c->encoder_channels[c->n_blocks - 1];
    size_t z2 = 2 * c->latent;
    enum err rc = ae_load_conv(ae, &h->conv_in, "encoder.conv_in", first, 3, 3, true, em);
    if (!rc)
        rc = load_blocks(ae, c, h, false, first, c->encoder_channels, em);
    if (!rc)
        rc = load_mid(ae, c, h, "encoder", last, em);
    if (!rc)
        rc = ae_load_norm(ae, &h->norm_out, c->bfl ? "encoder.norm_out" : "encoder.conv_norm_out",
                          last, em);
    if (!rc)
        rc = ae_load_conv_rows(ae, &h->conv_out, "encoder.conv_out", z2, last, 3,
                               c->quant ? z2 : c->latent, em);
    if (!rc && c->quant)
        rc = ae_load_conv_rows(ae, &h->quant, quant_name(ae, false).text, z2, z2, 1, c->latent, em);
    return rc;
}

NODISCARD static enum err load_decoder(struct autoencoder *ae, const struct kl_config *c,
                                       struct kl_half *h, struct errmsg *em)
{
    size_t channels[KL_BLOCKS_MAX], n = c->n_blocks;
    for (size_t i = 0; i < n; i++)
        channels[i] = c->decoder_channels[n - 1 - i];
    enum err rc =
        ae_load_conv(ae, &h->conv_in, "decoder.conv_in", channels[0], c->latent, 3, true, em);
    if (!rc && c->post_quant)
        rc = ae_load_conv(ae, &h->quant, quant_name(ae, true).text, c->latent, c->latent, 1, true,
                          em);
    if (!rc)
        rc = load_mid(ae, c, h, "decoder", channels[0], em);
    if (!rc)
        rc = load_blocks(ae, c, h, true, channels[0], channels, em);
    if (!rc)
        rc = ae_load_norm(ae, &h->norm_out, c->bfl ? "decoder.norm_out" : "decoder.conv_norm_out",
                          channels[n - 1], em);
    if (!rc)
        rc = ae_load_conv(ae, &h->conv_out, "decoder.conv_out", 3, channels[n - 1], 3, true, em);
    return rc;
}

NODISCARD static enum err check_groups(struct autoencoder *ae, const struct kl_config *c,
                                       const size_t *channels, struct errmsg *em)
{
    for (size_t i = 0; i < c->n_blocks; i++) {
        if (channels[i] % c->n_groups)
            return err_set(em, ERR_FORMAT, "%s: %zu channels cannot be normed in %zu groups",
                           weights_path(ae->weights), channels[i], c->n_groups);
    }
    return ERR_OK;
}

NODISCARD static enum err kl_open(struct autoencoder *ae, const struct config *config,
                                  struct errmsg *em)
{
    struct kl_config c = {0};
    struct kl_model *m = calloc(1, sizeof *m);
    if (!m)
        return err_nomem(em, sizeof *m);
    ae->model = m;
    ae->bn_required = true;
    enum err rc = config ? read_config(ae, config, &c, em) : infer_config(ae, &c, em);
    if (rc)
        return rc;
    m->n_groups = c.n_groups;
    ae->info.latent_channels = c.latent;
    ae->info.scale = (size_t)1 << (c.n_blocks - 1);
    /* either end's presence makes the half; the rest of it must then be there */
    ae->info.has_encoder =
        has_tensor(ae, "encoder.conv_in", "weight") || has_tensor(ae, "encoder.conv_out", "weight");
    ae->info.has_decoder =
        has_tensor(ae, "decoder.conv_in", "weight") || has_tensor(ae, "decoder.conv_out", "weight");
    if (!ae->info.has_encoder && !ae->info.has_decoder)
        return err_set(em, ERR_FORMAT,
                       "%s: neither an encoder nor a decoder is in it (no tensor "
                       "decoder.conv_in.weight)",
                       weights_path(ae->weights));
    if (ae->info.has_encoder)
        rc = check_groups(ae, &c, c.encoder_channels, em);
    if (!rc && ae->info.has_encoder)
        rc = load_encoder(ae, &c, &m->encoder, em);
    if (!rc && ae->info.has_decoder)
        rc = check_groups(ae, &c, c.decoder_channels, em);
    if (!rc && ae->info.has_decoder)
        rc = load_decoder(ae, &c, &m->decoder, em);
    return rc;
}

static void free_resnet(struct autoencoder *ae, struct kl_resnet *b)
{
    ae_free_norm(ae, &b->norm1);
    ae_free_norm(ae, &b->norm2);
    ae_free_conv(ae, &b->conv1);
    ae_free_conv(ae, &b->conv2);
    ae_free_conv(ae, &b->shortcut);
}

static void free_half(struct autoencoder *ae, struct kl_half *h)
{
    ae_free_conv(ae, &h->quant);
    ae_free_conv(ae, &h->conv_in);
    ae_free_conv(ae, &h->conv_out);
    ae_free_norm(ae, &h->norm_out);
    ae_free_norm(ae, &h->attn.norm);
    ae_free_conv(ae, &h->attn.q);
    ae_free_conv(ae, &h->attn.k);
    ae_free_conv(ae, &h->attn.v);
    ae_free_conv(ae, &h->attn.out);
    for (size_t j = 0; j < 2; j++)
        free_resnet(ae, &h->mid[j]);
    for (size_t i = 0; i < h->n_blocks; i++) {
        for (size_t j = 0; j < h->blocks[i].n_resnets; j++)
            free_resnet(ae, &h->blocks[i].resnets[j]);
        ae_free_conv(ae, &h->blocks[i].sampler);
    }
}

static void kl_close(struct autoencoder *ae)
{
    struct kl_model *m = ae->model;
    free_half(ae, &m->encoder);
    free_half(ae, &m->decoder);
    free(m);
    ae->model = NULL;
}

const struct autoencoder_kind autoencoder_kl_kind = {
    .class_name = "AutoencoderKLFlux2",
    .open = kl_open,
    .close = kl_close,
    .decode = kl_decode,
    .encode = kl_encode,
    .decode_flops = kl_decode_flops,
    .encode_flops = kl_encode_flops,
    .decode_bytes = kl_decode_bytes,
};

/* SPDX-License-Identifier: MIT */
/* The layers of AutoencoderKLFlux2, between the file that loads them and the file
 * that runs them. Only for autoencoder_kl*.c. */
#ifndef EASEL_MODELS_AUTOENCODER_KL_H
#define EASEL_MODELS_AUTOENCODER_KL_H

#include "models/autoencoder_impl.h"

#define KL_BLOCKS_MAX 8
#define KL_LAYERS_MAX 16
#define KL_NORM_EPS 1e-6f

struct kl_resnet {
    struct ae_norm norm1, norm2;
    struct ae_conv conv1, conv2;
    struct ae_conv shortcut; /* 1x1; only where the number of channels changes */
};

/* Single-head attention over all pixels. */
struct kl_attention {
    struct ae_norm norm;
    struct ae_conv q, k, v, out;
};

struct kl_block {
    struct kl_resnet resnets[KL_LAYERS_MAX];
    size_t n_resnets;
    struct ae_conv sampler; /* doubles or halves the picture after the resnets; w NULL: none */
};

/* Encoder: conv_in, blocks, mid, norm_out, conv_out, quant.
 * Decoder: quant, conv_in, mid, blocks, norm_out, conv_out. */
struct kl_half {
    struct ae_conv quant; /* 1x1 at the latent's end; w NULL: none */
    struct ae_conv conv_in, conv_out;
    struct kl_resnet mid[2];
    struct kl_attention attn;
    bool has_attn;
    struct kl_block blocks[KL_BLOCKS_MAX]; /* in the order in which they run */
    size_t n_blocks;
    struct ae_norm norm_out;
};

struct kl_model {
    struct kl_half encoder, decoder;
    size_t n_groups;
};

NODISCARD enum err kl_decode(struct autoencoder *ae, const float *latent, size_t h, size_t w,
                             float *rgb, const struct progress *progress, struct errmsg *em);
NODISCARD enum err kl_encode(struct autoencoder *ae, const float *rgb, size_t h_px, size_t w_px,
                             float *latent, const struct progress *progress, struct errmsg *em);
size_t kl_decode_bytes(struct autoencoder *ae, size_t h, size_t w);
double kl_decode_flops(const struct autoencoder *ae, size_t h, size_t w);
double kl_encode_flops(const struct autoencoder *ae, size_t h_px, size_t w_px);

#endif

/* SPDX-License-Identifier: MIT */
/* Pictures <-> latents: AutoencoderKLFlux2 and the tiny TAEF2 behind one interface.
 * Which one it is says `_class_name` in config.json.
 * Sources: diffusers, models/autoencoders/autoencoder_kl_flux2.py; madebyollin/taesd. */
#ifndef EASEL_MODELS_AUTOENCODER_H
#define EASEL_MODELS_AUTOENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/backend.h"
#include "models/progress.h"

struct autoencoder;

struct autoencoder_info {
    const char *kind;       /* "AutoencoderKLFlux2", "AutoencoderTAEF2" */
    size_t latent_channels; /* 32 */
    size_t scale;           /* pixels per latent cell and side: 8 */
    size_t patch;           /* latent cells per token and side: 2 (patch_size) */
    bool has_encoder, has_decoder, has_bn;
    uint64_t n_params, weight_bytes;
};

/* path: vae/ in the diffusers layout, or a single .safetensors file in BFL's layout. */
NODISCARD enum err autoencoder_open(struct backend *be, const char *path,
                                    struct autoencoder **out, struct errmsg *em);
void autoencoder_close(struct autoencoder *ae);
struct autoencoder_info autoencoder_info(const struct autoencoder *ae);
void autoencoder_release_pages(const struct autoencoder *ae);

/* Tokens are what the transformer sees: [h_tok * w_tok, latent_channels * patch²],
 * row-major over (h, w), channel order c·patch² + i·patch + j, normalised by the
 * batch-norm statistics. Pictures are [height, width, 3] floats, 0…1; a side is a
 * multiple of scale * patch. Host memory throughout. */
NODISCARD enum err autoencoder_decode(struct autoencoder *ae, const float *tokens, size_t h_tok,
                                      size_t w_tok, float *rgb, const struct progress *progress,
                                      struct errmsg *em);
NODISCARD enum err autoencoder_encode(struct autoencoder *ae, const float *rgb, size_t h_px,
                                      size_t w_px, float *tokens,
                                      const struct progress *progress, struct errmsg *em);

/* Multiplications and additions of the calls above: 2·k²·c_in·c_out for each output pixel of
 * each convolution as if done directly (3x3 ones in fact take a quarter of it, by Winograd's
 * method), 4·pixels²·channels for an attention. Norms and activations are not counted. */
double autoencoder_decode_flops(const struct autoencoder *ae, size_t h_tok, size_t w_tok);
double autoencoder_encode_flops(const struct autoencoder *ae, size_t h_px, size_t w_px);

/* Memory that autoencoder_decode works in, without the weights and the picture. */
size_t autoencoder_decode_bytes(struct autoencoder *ae, size_t h_tok, size_t w_tok);

/* Denormalised and unpacked latent [h_tok * patch, w_tok * patch, latent_channels]
 * from tokens, and back: what lies between the two halves above. */
void autoencoder_unpack(const struct autoencoder *ae, const float *tokens, size_t h_tok,
                        size_t w_tok, float *latent);
void autoencoder_pack(const struct autoencoder *ae, const float *latent, size_t h_tok,
                      size_t w_tok, float *tokens);
/* Decode a latent that another autoencoder of the same latent space unpacked: the
 * previews of a model with the full autoencoder, made with TAEF2.
 * latent: [h, w, latent_channels]; rgb [h * scale, w * scale, 3]. */
NODISCARD enum err autoencoder_decode_latent(struct autoencoder *ae, const float *latent,
                                             size_t h, size_t w, float *rgb,
                                             const struct progress *progress,
                                             struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* The FLUX.2 transformer: noisy image tokens, reference tokens and text tokens
 * -> velocity. With and without guidance embedding, any size, from config.json.
 * Source: diffusers, models/transformers/transformer_flux2.py. */
#ifndef EASEL_MODELS_TRANSFORMER_H
#define EASEL_MODELS_TRANSFORMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/backend.h"
#include "models/progress.h"

struct transformer;

struct transformer_info {
    size_t in_channels, out_channels, hidden, n_heads, head_dim, n_double, n_single, text_width;
    size_t mlp;         /* width of the mlp's activation */
    size_t n_sinusoids; /* of the timestep's embedding, cosines first */
    bool guidance_embed;
    uint64_t n_params, weight_bytes;
};

/* path: transformer/ in the diffusers layout, or a single .safetensors file in BFL's
 * own layout (its shape is then read off the tensors). */
NODISCARD enum err transformer_open(struct backend *be, const char *path,
                                    struct transformer **out, struct errmsg *em);
void transformer_close(struct transformer *t);
struct transformer_info transformer_info(const struct transformer *t);
void transformer_release_pages(const struct transformer *t);

/* A token's place: the four RoPE axes. */
struct position {
    float t, h, w, l;
};

/* Everything that one picture's denoising loop needs, planned once: workspace,
 * RoPE tables, the embedded text. forward allocates nothing. */
struct transformer_run;

/* text: [n_text, text_width] host memory; positions of the text tokens, then of the
 * n_image image tokens (noisy first, references after).
 * n_out: how many of the first image tokens have a velocity. */
NODISCARD enum err transformer_run_new(struct transformer *t, const float *text, size_t n_text,
                                       size_t n_image, size_t n_out,
                                       const struct position *positions,
                                       struct transformer_run **out, struct errmsg *em);
void transformer_run_free(struct transformer_run *r);
/* Bytes of device memory that such a run takes. */
size_t transformer_run_bytes(const struct transformer *t, size_t n_text, size_t n_image);

/* image: [n_image, in_channels] host memory -> velocity [n_out, out_channels], host.
 * timestep: sigma in 0…1 (the model multiplies by 1000). guidance: as given by the
 * user (4.0); ignored by models without guidance embedding. */
NODISCARD enum err transformer_forward(struct transformer_run *r, const float *image,
                                       float timestep, float guidance, float *velocity,
                                       const struct progress *progress, struct errmsg *em);

/* Multiplications and additions of one transformer_forward, all of its matrix products:
 * 2·m·n·k for each linear layer over m rows, 4·queries·keys·hidden for each attention. A
 * block over n tokens comes to n·(8·hidden² + 6·hidden·mlp) + 4·n²·hidden, of which the last
 * single block does only keys and values for rows without a velocity. Norms, softmax,
 * rotations and the text's embedding (made once, in run_new) are not counted. */
double transformer_flops(const struct transformer_info *info, size_t n_text, size_t n_image,
                         size_t n_out);

/* For tests: called with every block's output on the host.
 * stage: "temb", "double.N.img", "double.N.txt", "single.N"; data [rows, channels]. */
void transformer_run_observe(struct transformer_run *r,
                             void (*fn)(void *ctx, const char *stage, const float *data,
                                        size_t rows, size_t channels),
                             void *ctx);

#endif

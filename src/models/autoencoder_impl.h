/* SPDX-License-Identifier: MIT */
/* What the two autoencoders share: loading of checked layers, and a run through
 * them. Only for autoencoder*.c, taef2.c and their tests.
 *
 * A run has two blocks of device memory, "slots". The picture in work (the stream)
 * begins one of them, the other is free for the next layer's output; layers that
 * change the size move the stream across. What a layer is done with it gives back, so
 * that the slots never hold as much at once as they have room for. The same code walks the layers
 * twice: first to plan (how much each slot must hold, how much work there is), then to compute. So
 * the plan cannot disagree with the run, and nothing can run out of memory half-way. */
#ifndef EASEL_MODELS_AUTOENCODER_IMPL_H
#define EASEL_MODELS_AUTOENCODER_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "formats/config.h"
#include "formats/safetensors.h"
#include "kernels/backend.h"
#include "models/autoencoder.h"
#include "models/progress.h"

/* One kind of autoencoder. Latents are [h, w, latent_channels] and pictures
 * [h * scale, w * scale, 3], 0…1, in host memory; sizes are checked. */
struct autoencoder_kind {
    const char *class_name;
    /* Fill ae->info, ae->bn_eps and ae->model. c is NULL for a single file in BFL's
     * layout. On failure close is called all the same. */
    enum err (*open)(struct autoencoder *ae, const struct config *c, struct errmsg *em);
    void (*close)(struct autoencoder *ae);
    enum err (*decode)(struct autoencoder *ae, const float *latent, size_t h, size_t w, float *rgb,
                       const struct progress *progress, struct errmsg *em);
    enum err (*encode)(struct autoencoder *ae, const float *rgb, size_t h_px, size_t w_px,
                       float *latent, const struct progress *progress, struct errmsg *em);
    /* See autoencoder_decode_flops. h, w: of the latent, for the encoder of the picture. */
    double (*decode_flops)(const struct autoencoder *ae, size_t h, size_t w);
    double (*encode_flops)(const struct autoencoder *ae, size_t h_px, size_t w_px);
    /* See autoencoder_decode_bytes. h, w: of the latent. */
    size_t (*decode_bytes)(struct autoencoder *ae, size_t h, size_t w);
};

extern const struct autoencoder_kind autoencoder_kl_kind;
extern const struct autoencoder_kind autoencoder_taef2_kind;

struct autoencoder {
    struct backend *be;
    struct weights *weights;
    const struct autoencoder_kind *kind;
    struct autoencoder_info info;
    bool bn_required;
    double bn_eps;
    float *bn_mean, *bn_std; /* [latent_channels * patch²] in packed order, or NULL */
    void *model;
    /* Work on a whole picture is cut into strips of about so many bytes where the
     * layers allow it; tests make it small. */
    size_t strip_bytes;
    /* Less than this is not given back while a picture is in work: to have the pages again
     * would cost more than they are worth. Tests make it small. */
    size_t discard_floats_min;
    /* For tests: called with the stream after each stage, on the host. */
    void (*observe)(void *ctx, const char *stage, const float *data, size_t h, size_t w,
                    size_t channels);
    void *observe_ctx;
};

/* patch_size and batch_norm_eps, the same for both kinds. */
NODISCARD enum err ae_config_common(struct autoencoder *ae, const struct config *c,
                                    struct errmsg *em);

/* ---- Layers ---- */

/* A convolution of k by k taps with its bias (NULL: none). k 1 is a matrix. */
struct ae_conv {
    struct weight *w, *bias;
    size_t c_in, c_out, k;
};

struct ae_norm {
    struct weight *w, *b;
    size_t channels;
};

/* Multiplications and additions for so many output pixels; 0 where there is no weight. */
double ae_conv_flops(const struct ae_conv *c, double n_pixels);

/* Load NAME.weight and NAME.bias, their shapes as given, every value finite.
 * Missing or misshapen tensors are named in the message. */
NODISCARD enum err ae_load_conv(struct autoencoder *ae, struct ae_conv *out, const char *name,
                                size_t c_out, size_t c_in, size_t k, bool has_bias,
                                struct errmsg *em);
/* The same, but only the first n_rows of c_out output channels are kept. */
NODISCARD enum err ae_load_conv_rows(struct autoencoder *ae, struct ae_conv *out, const char *name,
                                     size_t c_out, size_t c_in, size_t k, size_t n_rows,
                                     struct errmsg *em);
/* A matrix with bias: [c_out, c_in] in the file. */
NODISCARD enum err ae_load_linear(struct autoencoder *ae, struct ae_conv *out, const char *name,
                                  size_t c_out, size_t c_in, struct errmsg *em);
NODISCARD enum err ae_load_norm(struct autoencoder *ae, struct ae_norm *out, const char *name,
                                size_t channels, struct errmsg *em);
void ae_free_conv(struct autoencoder *ae, struct ae_conv *c);
void ae_free_norm(struct autoencoder *ae, struct ae_norm *n);

/* ---- Runs ---- */

#define AE_SLOTS 3
#define AE_SLOT_VECTORS 2u /* a third, small one: vectors of as many floats as channels */

struct ae_run {
    struct autoencoder *ae;
    struct backend *be;
    const struct progress *progress;
    struct errmsg *em;
    bool planning;
    size_t need[AE_SLOTS]; /* floats */
    float *slot[AE_SLOTS];
    /* Work, in millions of operations: what progress counts. */
    uint64_t done, total;
    /* The stream: slot[at], [h, w, c]. */
    unsigned at;
    size_t h, w, c;
};

/* Walk twice: plan, allocate, compute, free. */
NODISCARD enum err ae_run(struct autoencoder *ae, enum err (*walk)(struct ae_run *r, void *ctx),
                          void *ctx, const struct progress *progress, struct errmsg *em);
/* The memory that a run would allocate: the plan alone. */
size_t ae_run_bytes(struct autoencoder *ae, enum err (*walk)(struct ae_run *r, void *ctx),
                    void *ctx);

/* The floats [offset, offset + n) of a slot; NULL while planning. */
float *ae_slot(struct ae_run *r, unsigned slot, size_t offset, size_t n);
static inline float *ae_stream(struct ae_run *r)
{
    return ae_slot(r, r->at, 0, r->h * r->w * r->c);
}

/* How a convolution is applied. Pictures are [h_in, w_in, c_in] -> [h_out, w_out, c_out]
 * with stride, zero padding and doubling as in struct conv2d_args. */
struct ae_conv_args {
    const float *x;
    size_t h_in, w_in;
    float *y;
    size_t h_out, w_out;
    const float *residual;
    unsigned stride, pad_before, upsample;
    enum activation act;
    size_t max_rows; /* of a strip; 0: as many as are good for progress */
    bool is_in_place; /* y lies in the same slot, behind x */
    bool gives_back;  /* x is not needed afterwards: rows that have been read are given back */
    /* Called with rows of x [first, end) before they are read, from the bottom to the top;
     * once with all of them while planning. NULL: x is there. */
    enum err (*prepare)(struct ae_run *r, void *ctx, size_t first, size_t end);
    void *prepare_ctx;
};
NODISCARD enum err ae_conv(struct ae_run *r, const struct ae_conv *c, const struct ae_conv_args *a);
/* A 3x3 convolution whose output takes the place of its input, in one block that is
 * a few rows larger: returns the offset of the output within the block. c_out <= c_in.
 * x [h, w, c_in] begins the block at floats `offset` of `slot`. how: act and prepare. */
NODISCARD enum err ae_conv_in_place(struct ae_run *r, const struct ae_conv *c, unsigned slot,
                                    size_t offset, size_t h, size_t w,
                                    const struct ae_conv_args *how, size_t *out_offset);
/* Give back what a slot holds. */
void ae_slot_discard(struct ae_run *r, unsigned slot);
/* Rows of n pixels through a 1x1 convolution: y = or y += x · wᵀ + bias. */
NODISCARD enum err ae_linear(struct ae_run *r, const struct ae_conv *c, const float *x, float *y,
                             size_t n, bool accumulate);
NODISCARD enum err ae_group_norm(struct ae_run *r, const struct ae_norm *n, float *y,
                                 const float *x, size_t n_pixels, size_t n_groups, float eps,
                                 enum activation act);
/* The two halves of it: scale and shift [channels] from the whole picture, and their use on
 * any of its pixels. */
NODISCARD enum err ae_group_norm_affine(struct ae_run *r, const struct ae_norm *n, float *scale,
                                        float *shift, const float *x, size_t n_pixels,
                                        size_t n_groups, float eps);
NODISCARD enum err ae_affine_act(struct ae_run *r, float *y, const float *x, size_t n_pixels,
                                 size_t channels, const float *scale, const float *shift,
                                 enum activation act);
NODISCARD enum err ae_attention(struct ae_run *r, const float *q, const float *k, const float *v,
                                float *out, size_t n, size_t channels);
/* Count work that is done: ERR_CANCELLED when the caller has had enough. */
NODISCARD enum err ae_tick(struct ae_run *r, uint64_t mflop);
/* Show the stream to a test's observer. */
NODISCARD enum err ae_observe(struct ae_run *r, const char *stage);

/* Host side: pictures are checked and clamped to 0…1 after x * scale + shift. */
NODISCARD enum err ae_finish_picture(const struct autoencoder *ae, float *rgb, size_t n,
                                     float scale, float shift, struct errmsg *em);
NODISCARD enum err ae_check_finite(const struct autoencoder *ae, const float *x, size_t n,
                                   const char *what, struct errmsg *em);

#endif

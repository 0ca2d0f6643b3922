/* SPDX-License-Identifier: MIT */
/* The arithmetic that models are made of, behind one table of functions, so that
 * a CPU or a GPU can do it. Models call these and nothing else; they never touch
 * device memory themselves.
 *
 * Activations are float32, row-major, tokens (or pixels) as rows: [n, channels]
 * with a row stride `ld*` in elements. Pictures inside autoencoders are
 * [height, width, channels]. `float *` arguments named x, y, q, k, v, out, shift,
 * scale, gate, … are device pointers from backend_alloc (plus an offset); on the
 * CPU they are ordinary memory.
 *
 * Sums run in a fixed order that does not depend on the number of threads: the
 * same inputs give the same bytes.
 *
 * Operations cannot run out of memory (what they need is reserved when the
 * backend is made) and do not check shapes: that is the models' duty, when they
 * load. On a GPU they are queued; backend_sync reports what failed.
 * One backend serves one thread at a time: its scratch memory is shared. */
#ifndef EASEL_KERNELS_BACKEND_H
#define EASEL_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"
#include "base/err.h"
#include "base/pool.h"
#include "formats/tensor.h"

struct backend;

/* A parameter in the form that the backend's kernels read. On the CPU a matrix
 * stays where it is mapped and is unpacked tile by tile; so the weights file must
 * outlive it. Opaque; each model owns its own. */
struct weight;

enum activation { ACT_NONE, ACT_SILU, ACT_RELU };

/* y = act(x · wᵀ + bias), then optionally gated and added to what y holds.
 *   w      [n, k]
 *   w_up   [n, k] or NULL: SwiGLU, y = silu(x · wᵀ) * (x · w_upᵀ) (no bias, no act)
 *   bias   [n] or NULL
 *   gate   [n] or NULL: y += gate * (x · wᵀ + bias)   (implies accumulate)
 *   accumulate: y += instead of y =
 * y must not overlap x. m may be 1 (matrix times vector, memory bound). */
struct linear_args {
    const float *x;
    size_t ldx;
    size_t m;
    const struct weight *w;
    const struct weight *w_up;
    const struct weight *bias;
    const float *gate;
    float *y;
    size_t ldy;
    enum activation act;
    bool accumulate;
};

/* out = softmax(scale · q · kᵀ + mask) · v per head; the scores are never stored
 * whole. q: [n_q, n_heads, head_dim], k, v: [n_k, n_kv_heads, head_dim], out as q,
 * with row strides. n_heads is a multiple of n_kv_heads (grouped-query attention:
 * head h reads k/v head h / (n_heads / n_kv_heads)).
 * Keys from n_k_valid on are padding: never attended to (0 < n_k_valid <= n_k).
 * causal: query i sees keys j <= i + q_offset only. */
struct attention_args {
    const float *q;
    const float *k;
    const float *v;
    float *out;
    size_t ldq, ldk, ldv, ldo;
    size_t n_q, n_k, n_k_valid;
    size_t n_heads, n_kv_heads, head_dim;
    size_t q_offset;
    float scale;
    bool causal;
};

/* Rotary embedding: which two channels of a head turn together. */
enum rope_style {
    ROPE_NONE,
    ROPE_INTERLEAVED, /* (2k, 2k+1): FLUX */
    ROPE_HALVES,      /* (k, k + head_dim/2): Qwen, Llama */
};

/* In place over x [n, n_heads, head_dim]: x = rmsnorm(x) * w per head (w [head_dim],
 * NULL: no norm), then the rotation by cos, sin [n, head_dim/2]:
 * (a, b) -> (a cos - b sin, a sin + b cos). */
struct head_norm_rope_args {
    float *x;
    size_t ldx;
    size_t n, n_heads, head_dim;
    const struct weight *w;
    float eps;
    enum rope_style style;
    const float *cos, *sin;
};

/* A 2-D convolution over [h_in, w_in, c_in] -> [h_out, w_out, c_out]:
 *   y = act(conv(upsample(x)) + bias + residual)
 * w: from backend_weight_conv2d ([c_out, c_in, kh, kw] in the file).
 * upsample: 1, or 2 for nearest-neighbour doubling before the convolution.
 * Zero padding of pad_before rows/columns at top and left; what is missing at
 * bottom and right is zero too. h_out, w_out decide how much is computed.
 * residual: [h_out, w_out, c_out] or NULL; y may be the residual, but not x. */
struct conv2d_args {
    const float *x;
    size_t h_in, w_in;
    const struct weight *w;
    const struct weight *bias;
    const float *residual;
    float *y;
    size_t h_out, w_out;
    unsigned stride, pad_before, upsample;
    enum activation act;
};

struct backend_ops {
    const char *name;
    void (*close)(struct backend *be);

    enum err (*alloc)(struct backend *be, size_t size_bytes, void **out, struct errmsg *em);
    void (*free)(struct backend *be, void *p);
    void (*discard)(struct backend *be, void *p, size_t size_bytes);
    enum err (*upload)(struct backend *be, void *dst, const void *src, size_t size_bytes,
                       struct errmsg *em);
    enum err (*download)(struct backend *be, void *dst, const void *src, size_t size_bytes,
                         struct errmsg *em);
    enum err (*sync)(struct backend *be, struct errmsg *em);

    enum err (*weight_new)(struct backend *be, const struct tensor *t, size_t first_row,
                           size_t n_rows, struct weight **out, struct errmsg *em);
    enum err (*weight_conv2d)(struct backend *be, const struct tensor *t, struct weight **out,
                              struct errmsg *em);
    void (*weight_free)(struct backend *be, struct weight *w);

    void (*linear)(struct backend *be, const struct linear_args *a);
    void (*attention)(struct backend *be, const struct attention_args *a);
    void (*conv2d)(struct backend *be, const struct conv2d_args *a);
    void (*head_norm_rope)(struct backend *be, const struct head_norm_rope_args *a);
    void (*rms_norm)(struct backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                     size_t n, size_t channels, const struct weight *w, float eps);
    void (*layer_norm_mod)(struct backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                           size_t n, size_t channels, const float *shift, const float *scale,
                           float eps);
    void (*group_norm_affine)(struct backend *be, float *scale, float *shift, const float *x,
                              size_t n, size_t channels, size_t n_groups, const struct weight *w,
                              const struct weight *b, float eps);
    void (*affine_act)(struct backend *be, float *y, const float *x, size_t n, size_t channels,
                       const float *scale, const float *shift, enum activation act);
    void (*group_norm)(struct backend *be, float *y, const float *x, size_t n, size_t channels,
                       size_t n_groups, const struct weight *w, const struct weight *b,
                       float eps, enum activation act);
    void (*embed)(struct backend *be, float *y, size_t ldy, const struct weight *table,
                  const int32_t *ids, size_t n);
    void (*silu)(struct backend *be, float *y, const float *x, size_t n);
    void (*axpy)(struct backend *be, float *y, float a, const float *x, size_t n);
    void (*tanh_scaled)(struct backend *be, float *y, const float *x, float limit, size_t n);
};

/* The CPU backend. pool: borrowed, must outlive it. */
NODISCARD enum err backend_cpu_new(struct pool *pool, enum cpu_level level, struct backend **out,
                                   struct errmsg *em);
/* Every backend begins with this, so that the wrappers below can reach its table. */
struct backend {
    const struct backend_ops *ops;
};

static inline void backend_free(struct backend *be)
{
    if (be)
        be->ops->close(be);
}

/* n_floats of device memory, 64-byte aligned, content undefined. */
NODISCARD static inline enum err backend_alloc(struct backend *be, size_t n_floats, float **out,
                                               struct errmsg *em)
{
    void *p = NULL;
    size_t size_bytes;
    if (__builtin_mul_overflow(n_floats, sizeof(float), &size_bytes))
        return err_nomem(em, n_floats);
    enum err rc = be->ops->alloc(be, size_bytes, &p, em);
    if (!rc)
        *out = p;
    return rc;
}

static inline void backend_dealloc(struct backend *be, float *p)
{
    if (p)
        be->ops->free(be, p);
}

/* What n_floats at p hold is not needed any more (it is undefined from now on): the memory
 * may serve others until it is written again. */
static inline void backend_discard(struct backend *be, float *p, size_t n_floats)
{
    be->ops->discard(be, p, n_floats * sizeof(float));
}

NODISCARD static inline enum err backend_upload(struct backend *be, float *dst, const float *src,
                                                size_t n_floats, struct errmsg *em)
{
    return be->ops->upload(be, dst, src, n_floats * sizeof(float), em);
}

/* Waits for what was queued before. */
NODISCARD static inline enum err backend_download(struct backend *be, float *dst,
                                                  const float *src, size_t n_floats,
                                                  struct errmsg *em)
{
    return be->ops->download(be, dst, src, n_floats * sizeof(float), em);
}

NODISCARD static inline enum err backend_sync(struct backend *be, struct errmsg *em)
{
    return be->ops->sync(be, em);
}

/* Rows [first_row, first_row + n_rows) of a matrix [rows, cols], or of a vector
 * (then each element is a row and cols = 1). n_rows 0: all of them. */
NODISCARD static inline enum err backend_weight(struct backend *be, const struct tensor *t,
                                                size_t first_row, size_t n_rows,
                                                struct weight **out, struct errmsg *em)
{
    return be->ops->weight_new(be, t, first_row, n_rows, out, em);
}

/* A convolution's kernel [c_out, c_in, kh, kw], reordered for conv2d (a copy). */
NODISCARD static inline enum err backend_weight_conv2d(struct backend *be, const struct tensor *t,
                                                       struct weight **out, struct errmsg *em)
{
    return be->ops->weight_conv2d(be, t, out, em);
}

static inline void backend_weight_free(struct backend *be, struct weight *w)
{
    if (w)
        be->ops->weight_free(be, w);
}

static inline void backend_linear(struct backend *be, const struct linear_args *a)
{
    be->ops->linear(be, a);
}

static inline void backend_attention(struct backend *be, const struct attention_args *a)
{
    be->ops->attention(be, a);
}

static inline void backend_conv2d(struct backend *be, const struct conv2d_args *a)
{
    be->ops->conv2d(be, a);
}

static inline void backend_head_norm_rope(struct backend *be, const struct head_norm_rope_args *a)
{
    be->ops->head_norm_rope(be, a);
}

/* y = x / sqrt(mean(x²) + eps) * w per row; y may be x. w: [channels]. */
static inline void backend_rms_norm(struct backend *be, float *y, size_t ldy, const float *x,
                                    size_t ldx, size_t n, size_t channels,
                                    const struct weight *w, float eps)
{
    be->ops->rms_norm(be, y, ldy, x, ldx, n, channels, w, eps);
}

/* y = layernorm(x) * (1 + scale) + shift per row, no weights of its own; y may be x.
 * shift, scale: [channels]. */
static inline void backend_layer_norm_mod(struct backend *be, float *y, size_t ldy,
                                          const float *x, size_t ldx, size_t n, size_t channels,
                                          const float *shift, const float *scale, float eps)
{
    be->ops->layer_norm_mod(be, y, ldy, x, ldx, n, channels, shift, scale, eps);
}

/* y = act(groupnorm(x) * w + b) over a whole picture [n pixels, channels], groups of
 * neighbouring channels; act: ACT_NONE, ACT_SILU or ACT_RELU; y may be x. */
static inline void backend_group_norm(struct backend *be, float *y, const float *x, size_t n,
                                      size_t channels, size_t n_groups, const struct weight *w,
                                      const struct weight *b, float eps, enum activation act)
{
    be->ops->group_norm(be, y, x, n, channels, n_groups, w, b, eps, act);
}

/* The two halves of it, for pictures that are not normed all at once:
 * scale, shift [channels] so that groupnorm(x) * w + b = x * scale + shift, … */
static inline void backend_group_norm_affine(struct backend *be, float *scale, float *shift,
                                             const float *x, size_t n, size_t channels,
                                             size_t n_groups, const struct weight *w,
                                             const struct weight *b, float eps)
{
    be->ops->group_norm_affine(be, scale, shift, x, n, channels, n_groups, w, b, eps);
}

/* … and y = act(x * scale + shift) for any n of its pixels; y may be x. */
static inline void backend_affine_act(struct backend *be, float *y, const float *x, size_t n,
                                      size_t channels, const float *scale, const float *shift,
                                      enum activation act)
{
    be->ops->affine_act(be, y, x, n, channels, scale, shift, act);
}

/* Rows of a table as float32: y[i] = table[ids[i]]. ids: host memory, in range. */
static inline void backend_embed(struct backend *be, float *y, size_t ldy,
                                 const struct weight *table, const int32_t *ids, size_t n)
{
    be->ops->embed(be, y, ldy, table, ids, n);
}

/* y = x * sigmoid(x); y may be x. */
static inline void backend_silu(struct backend *be, float *y, const float *x, size_t n)
{
    be->ops->silu(be, y, x, n);
}

/* y += a * x. */
static inline void backend_axpy(struct backend *be, float *y, float a, const float *x, size_t n)
{
    be->ops->axpy(be, y, a, x, n);
}

/* y = limit * tanh(x / limit); y may be x. */
static inline void backend_tanh_scaled(struct backend *be, float *y, const float *x, float limit,
                                       size_t n)
{
    be->ops->tanh_scaled(be, y, x, limit, n);
}

#endif

/* SPDX-License-Identifier: MIT */
/* Loading a transformer's weights from either layout: diffusers' (a folder) and BFL's (one
 * file). They differ in names, in q, k and v being one matrix or three, and in the order of
 * the final shift and scale; nothing but these files sees which of them a model came in.
 * Only for transformer*.c. */
#ifndef EASEL_MODELS_TRANSFORMER_LOAD_H
#define EASEL_MODELS_TRANSFORMER_LOAD_H

#include "models/transformer_impl.h"

#define HEAD_DIM_MAX 256
#define NAME_BYTES_MAX 160

struct loader {
    struct transformer *t;
    const char *prefix; /* of every tensor's name */
    struct errmsg *em;
};

struct slice {
    struct weight **out;
    size_t n_rows;
};

/* The full name of a tensor in the file. */
void tl_name(const struct loader *ld, char out[NAME_BYTES_MAX], const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Each takes full names, checks the shape, and keeps the weight in ld->t->owned. A layer
 * with a bias is ERR_UNSUPPORTED. */
NODISCARD enum err tl_matrix(struct loader *ld, struct weight **out, size_t rows, size_t cols,
                             const char *name);
/* A matrix of which successive rows go to the given weights; together they are all of
 * it. cols: of the matrix. */
NODISCARD enum err tl_slices(struct loader *ld, const struct slice *slices, size_t n_slices,
                             size_t cols, const char *name);
NODISCARD enum err tl_norm(struct loader *ld, struct weight **out, const char *name);
NODISCARD enum err tl_mlp(struct loader *ld, struct stream *s, const char *mlp_in,
                          const char *mlp_out);
/* Formats of the names of single block i's tensors; both layouts fuse alike. */
NODISCARD enum err tl_single(struct loader *ld, struct single_block *b, size_t i, const char *in,
                             const char *out, const char *norm_q, const char *norm_k);
/* Everything outside the blocks. */
NODISCARD enum err tl_outside(struct loader *ld, bool bfl);

/* ---- transformer_diffusers.c ---- */

/* The shape, from dir/config.json. */
NODISCARD enum err tl_diffusers_config(struct transformer *t, const char *dir, struct errmsg *em);
NODISCARD enum err tl_diffusers(struct loader *ld);

/* ---- transformer_bfl.c ---- */

/* Find the names' prefix, and the shape from the tensors. ERR_UNSUPPORTED: another model. */
NODISCARD enum err tl_bfl_shape(struct loader *ld);
NODISCARD enum err tl_bfl(struct loader *ld);

#endif

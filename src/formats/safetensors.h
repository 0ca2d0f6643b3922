/* SPDX-License-Identifier: MIT */
/* Weight files: one safetensors file, or the shards that an index lists, mapped
 * read-only. Every header is checked before a byte of it is believed: sizes,
 * offsets inside the file, no overlap, shape times element size = byte range.
 * Source: the safetensors format description. */
#ifndef EASEL_FORMATS_SAFETENSORS_H
#define EASEL_FORMATS_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "formats/tensor.h"

struct weights;

/* Open the weights of one component. path is a .safetensors file, or a directory
 * with STEM.safetensors, or STEM.safetensors.index.json and its shards, where
 * STEM is "model" or "diffusion_pytorch_model" (whichever is there).
 * Tensors of element types other than F32, F16 and BF16 are listed by
 * weights_get as ERR_UNSUPPORTED, not refused here. Threads: read-only after open. */
NODISCARD enum err weights_open(const char *path, struct weights **out, struct errmsg *em);
/* The same from bytes in memory, borrowed (tests, fuzzing). name: for messages. */
NODISCARD enum err weights_open_memory(const void *bytes, size_t len, const char *name,
                                       struct weights **out, struct errmsg *em);
void weights_close(struct weights *w);

/* The tensor of that name. ERR_NOTFOUND names the file and the tensor. */
NODISCARD enum err weights_get(const struct weights *w, const char *name, struct tensor *out,
                               struct errmsg *em);
/* The same, and the shape must be the given one: n_dims sizes follow, each a size_t. */
NODISCARD enum err weights_get_shaped(const struct weights *w, const char *name, struct tensor *out,
                                      struct errmsg *em, unsigned n_dims, ...);
bool weights_has(const struct weights *w, const char *name);

/* What the files hold, for `easel model show`. */
size_t weights_n_tensors(const struct weights *w);
/* Tensor i in the order of names; unsupported element types give ERR_UNSUPPORTED. */
NODISCARD enum err weights_at(const struct weights *w, size_t i, struct tensor *out,
                              struct errmsg *em);
uint64_t weights_n_params(const struct weights *w);
uint64_t weights_bytes(const struct weights *w); /* of the tensors, in the files */
/* The file or folder as given to weights_open, for messages. */
const char *weights_path(const struct weights *w);

/* Give the resident pages back to the system; the weights stay usable. */
void weights_release_pages(const struct weights *w);

/* Writing, for random models, conversions and tests. Tensors are written in the
 * order given, in shards of at most shard_bytes (0: one file). fill is called for
 * one tensor at a time and writes its elements in pieces, so that a model larger
 * than memory can be made. */
struct weights_spec {
    const char *name;
    enum dtype dtype;
    unsigned n_dims;
    size_t shape[LIMIT_TENSOR_DIMS_MAX];
};
/* dir/STEM.safetensors, or shards and index. fill: write elements [first,
 * first + n) of tensor i to out (n elements of its type). */
NODISCARD enum err
weights_write(const char *dir, const char *stem, const struct weights_spec *specs, size_t n_specs,
              uint64_t shard_bytes,
              enum err (*fill)(void *ctx, size_t i, size_t first, size_t n, void *out), void *ctx,
              struct errmsg *em);

#endif

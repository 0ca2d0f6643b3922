/* SPDX-License-Identifier: MIT */
/* Shared by the reader of one file and the table over several; only for formats/. */
#ifndef EASEL_FORMATS_WEIGHTS_IMPL_H
#define EASEL_FORMATS_WEIGHTS_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"
#include "base/limits.h"

/* One tensor of a checked header. */
struct weights_entry {
    char *name; /* in its header's block of names */
    const uint8_t *data;
    size_t size_bytes;
    size_t n_elems;
    size_t shape[LIMIT_TENSOR_DIMS_MAX];
    uint8_t n_dims;
    bool supported;     /* the element type is an enum dtype */
    enum dtype dtype;   /* if it is */
    char type_name[16]; /* as the file calls it */
    uint32_t file;      /* which file it lies in: the caller's number */
};

/* The entries of one file, in the order of its header; their names in one block. */
struct safetensors_header {
    struct weights_entry *entries;
    size_t n_entries;
    char *names;
};

/* Read and check the header of a safetensors file of len bytes at bytes; the
 * entries point into it. name: for messages. file: kept in the entries. */
NODISCARD enum err safetensors_header_parse(const uint8_t *bytes, size_t len, const char *name,
                                            uint32_t file, struct safetensors_header *out,
                                            struct errmsg *em);
void safetensors_header_deinit(struct safetensors_header *h);

/* True for a name that can be written to and read from a file: not empty, not
 * the reserved one, no control characters (it is printed to terminals). */
bool safetensors_name_valid(const char *name);

#endif

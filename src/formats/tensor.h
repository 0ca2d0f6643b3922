/* SPDX-License-Identifier: MIT */
/* A named tensor as it lies in a mapped weight file. */
#ifndef EASEL_FORMATS_TENSOR_H
#define EASEL_FORMATS_TENSOR_H

#include <stddef.h>

#include "base/dtype.h"
#include "base/limits.h"

/* Row-major, little-endian, borrowed from the file that it was found in. The
 * data need not be aligned to its element size. */
struct tensor {
    const char *name;
    const void *data;
    enum dtype dtype;
    unsigned n_dims;
    size_t shape[LIMIT_TENSOR_DIMS_MAX];
    size_t n_elems;
};

#endif

/* SPDX-License-Identifier: MIT */
/* Inside lib/ only: from the house's own errors to the public ones. */
#ifndef EASEL_LIB_LIB_IMPL_H
#define EASEL_LIB_LIB_IMPL_H

#include "base/buf.h"
#include "base/err.h"
#include "easel.h"
#include "kernels/backend.h"

/* Copies the message; rc keeps its number (the two enumerations are the same). */
enum easel_status lib_status(enum err rc, const struct errmsg *em, struct easel_error *error);
/* Hand a buffer to the caller, who frees it with easel_free. */
void lib_give_buf(struct buf *b, void **bytes, size_t *len);
/* Borrowed; for use while the model does not draw, or from its progress callback. */
struct backend *lib_model_backend(struct easel_model *model);

#endif

/* SPDX-License-Identifier: MIT */
/* A model directory of any known shape with random weights in bf16: the same work as
 * the real model, none of its knowledge. For timing, without a download. */
#ifndef EASEL_PIPELINE_RANDOM_MODEL_H
#define EASEL_PIPELINE_RANDOM_MODEL_H

#include <stdbool.h>

#include "base/err.h"

/* Names of the known shapes, NULL-terminated. */
const char *const *random_model_shapes(void);

/* dir must not exist; its parent must. tokenizer_path: a tokenizer.json to copy.
 * on_progress may be NULL; false stops (ERR_CANCELLED). What was written stays only on
 * success. */
NODISCARD enum err random_model_write(const char *shape, const char *dir,
                                      const char *tokenizer_path,
                                      bool (*on_progress)(void *ctx, double fraction), void *ctx,
                                      struct errmsg *em);

#endif

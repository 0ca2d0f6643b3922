/* SPDX-License-Identifier: MIT */
/* How a model tells its caller that it is getting on, and learns that it should
 * stop: called between blocks, so a stop takes effect well within a step. */
#ifndef EASEL_MODELS_PROGRESS_H
#define EASEL_MODELS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

struct progress {
    /* done of total parts of this call are finished; return false to stop it:
     * the model then returns ERR_CANCELLED. */
    bool (*tick)(void *ctx, size_t done, size_t total);
    void *ctx;
};

/* p may be NULL. */
static inline bool progress_tick(const struct progress *p, size_t done, size_t total)
{
    return !p || !p->tick || p->tick(p->ctx, done, total);
}

#endif

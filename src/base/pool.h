/* SPDX-License-Identifier: MIT */
/* A pool of threads, made once. Work is a range of tasks; which thread runs a
 * task is not fixed, so a task's result must depend on its index alone: that is
 * what makes a picture the same for any number of threads. */
#ifndef EASEL_BASE_POOL_H
#define EASEL_BASE_POOL_H

#include <stddef.h>

#include "base/err.h"

struct pool;

/* n_threads: the calling thread counts, so n_threads - 1 are started.
 * 0: one for each processor that this process may use. */
NODISCARD enum err pool_new(unsigned n_threads, struct pool **out, struct errmsg *em);
void pool_free(struct pool *p);
unsigned pool_n_threads(const struct pool *p);

/* Run fn(ctx, task, worker) for task = 0 … n_tasks - 1 and return when all are
 * done. worker < pool_n_threads tells which scratch memory to use. Calls from
 * several threads at once take turns; a task must not call pool_run. */
void pool_run(struct pool *p, size_t n_tasks,
              void (*fn)(void *ctx, size_t task, unsigned worker), void *ctx);

/* Processors that this process may use (affinity and cgroup quota). */
unsigned pool_usable_processors(void);

#endif

/* SPDX-License-Identifier: MIT */
/* Which workers live: each holds a lock on a file of its name. A process that dies, in
 * whatever way, lets go of its lock, so that a server, also one that has only just started,
 * knows at once whose tasks to take back. */
#ifndef EASEL_SERVICE_PRESENCE_H
#define EASEL_SERVICE_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define WORKER_NAME_CHARS_MAX 64u

/* "HOST-PID-RANDOM": a name that nobody had or will have. */
NODISCARD enum err presence_new_name(char out[WORKER_NAME_CHARS_MAX + 1], struct errmsg *em);

/* Be there, until presence_leave or the process's end. ERR_USAGE: no name for a file;
 * ERR_CONFLICT: it is taken. *fd: for presence_leave. */
NODISCARD enum err presence_enter(const char *dir, const char *name, int *fd, struct errmsg *em);
void presence_leave(const char *dir, const char *name, int fd);

/* fn for each worker that is gone; it is forgotten if fn returns true. *n_alive: the others. */
NODISCARD enum err presence_call_roll(const char *dir, bool (*fn)(void *ctx, const char *name),
                                      void *ctx, size_t *n_alive, struct errmsg *em);

#endif

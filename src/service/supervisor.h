/* SPDX-License-Identifier: MIT */
/* Keeps the worker processes running: starts them, hears how they are, starts a dead one again
 * (after 0.2 s, and twice as long each time up to 30 s; from 0.2 s again once it has been well
 * for a minute), kills one that has been silent for too long.
 *
 * To be used from one thread, the one that ends last: the workers die with it. Only
 * supervisor_n_ready and supervisor_wake may be called from others. */
#ifndef EASEL_SERVICE_SUPERVISOR_H
#define EASEL_SERVICE_SUPERVISOR_H

#include <poll.h>
#include <stddef.h>

#include "service/log.h"
#include "service/service.h"

struct supervisor;

struct supervisor_options {
    const struct service_options *service; /* borrowed, as everything here */
    struct log *log;
    double silent_max_s;         /* 0: 60; then a worker is stopped or stuck */
    void (*on_death)(void *ctx); /* a worker is gone: its task must go back */
    void *ctx;
};
NODISCARD enum err supervisor_new(const struct supervisor_options *o, struct supervisor **out,
                                  struct errmsg *em);
/* Kills what still runs. */
void supervisor_free(struct supervisor *s);

/* What to wait for before the next supervisor_tend, and how long at most. fds has room for
 * WORKERS_MAX; returns how many. */
size_t supervisor_poll_fds(const struct supervisor *s, struct pollfd *fds);
int supervisor_timeout_ms(const struct supervisor *s);
/* Do all that is due. Fails if no worker has ever been ready and none can be: the message is
 * the worker's. */
NODISCARD enum err supervisor_tend(struct supervisor *s, struct errmsg *em);

unsigned supervisor_n_ready(const struct supervisor *s);
/* A task was queued: a worker that waits looks now, not in a few milliseconds. Any thread. */
void supervisor_wake(const struct supervisor *s);
/* All workers that run. */
void supervisor_signal(struct supervisor *s, int number);
/* No more restarts: let the running pictures finish for grace_s; then have them handed back,
 * and kill whoever does not. */
void supervisor_stop(struct supervisor *s, unsigned grace_s);

#endif

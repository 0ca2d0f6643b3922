/* SPDX-License-Identifier: MIT */
/* Start a worker process: fork, exec, and the ends that keep it on a leash. */
#ifndef EASEL_SERVICE_SPAWN_H
#define EASEL_SERVICE_SPAWN_H

#include <signal.h>
#include <sys/types.h>

#include "service/service.h"

/* The descriptor on which a worker tells its supervisor how it is, in lines: "ready" once the
 * model is open, "alive" every WORKER_PULSE_S, "error MESSAGE" before it gives up. */
#define WORKER_READY_FD 3
#define WORKER_PULSE_S 5u
/* To a supervised worker SIGINT and SIGTERM say: finish the picture and end; this one says: hand
 * its task back and end. */
#define WORKER_HAND_BACK_SIGNAL SIGUSR1

/* `easel worker` with these options under this name. Its standard input is wake_fd, an event that
 * becomes readable when a task is queued. It dies (SIGKILL) when the calling thread
 * ends; it has none of our descriptors but standard error, and of our EASEL_ variables only
 * those that say where models are and which kernels to use. *pipe_fd: what it tells, does not
 * block; the caller closes it. */
NODISCARD enum err spawn_worker(const struct service_options *o, const char *name, int wake_fd,
                                pid_t *pid, int *pipe_fd, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* Inside worker/ only: the worker, and what its parts share. */
#ifndef EASEL_WORKER_WORKER_IMPL_H
#define EASEL_WORKER_WORKER_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "easel.h"
#include "worker/worker.h"

/* How often the worker looks whether it is to end, and at a drawing under way. */
#define WORKER_TICK_MS 50u

struct worker {
    const struct worker_options *o;
    struct easel_model *model; /* NULL: the stub draws */
    char name[128];
    int64_t lease_ms;
    double stall_s, patience_s;
    int wake_fd;        /* -1: none */
    unsigned idle_ms;   /* the pause between looks at the store, longer as it stays empty */
    size_t probe_bytes; /* size of a result that could not be written; 0: all could */
    bool abandoned;     /* a thread that hangs still uses the model */
};

bool worker_must_stop(const struct worker *w);
bool worker_must_end(const struct worker *w); /* stop or finish */
void worker_log(const struct worker *w, const char *level, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Until the time is over or stop is set. */
void worker_pause(const struct worker *w, unsigned ms);
/* May the same call work later? */
bool worker_is_passing(enum err rc);

/* Run a claimed task to its end, whatever that is. Takes the task (zeroed here). What it returns
 * is that the worker cannot go on. */
NODISCARD enum err worker_run_task(struct worker *w, struct task *take, struct errmsg *em);

#endif

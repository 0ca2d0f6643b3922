/* SPDX-License-Identifier: MIT */
/* Claims tasks, draws them with libeasel, reports progress, completes them. A process of its
 * own (`easel worker`), so that a crash in a codec or a model takes no connection with it.
 *
 * The drawing runs on a thread of its own; all that concerns the store and the blobs is done by
 * the caller's. So the lease is renewed every third of its time however long a stage is silent,
 * and a drawing never waits for the database.
 *
 * How a task ends:
 *   drawn                               COMPLETED
 *   a bad reference, too little memory  FAILED with the library's message
 *   a reference that cannot be read     tried again for patience_ms, then FAILED
 *   cancelled by its user               FAILED "cancelled", within one step
 *   stop is set                         handed back, within one step
 *   the lease was lost                  left to whoever has it now; the picture is dropped
 *   the disk is full                    tried again until there is room
 *   the result cannot be stored otherwise (disk fails, store locked)
 *                                       tried again for patience_ms, then handed back; the next
 *                                       task is claimed when results can be stored again
 *   nothing is heard of the drawing for stall_ms, or an accelerator failed
 *                                       left to its lease: worker_run returns, and whoever has
 *                                       seen the worker end sweeps the lease
 * If even handing back fails, the lease runs out by itself: a task is never lost. */
#ifndef EASEL_WORKER_WORKER_H
#define EASEL_WORKER_WORKER_H

#include <stdbool.h>
#include <signal.h>

#include "blobs/blobs.h"
#include "store/store.h"

struct worker_options {
    struct store *store; /* borrowed */
    struct blobs *blobs; /* borrowed */
    const char *model;   /* as easel_model_open takes it; NULL: the embedded one */
    unsigned n_threads;  /* 0: all */
    const char *cpu;        /* processor level, as easel_model_options has it; NULL: the best */
    bool previews;       /* store a JPEG after each step */
    /* Open no model and draw a plain picture of the asked size at once, its colours a function
     * of the seed: for load tests. Encoding is what it costs: 1.2 ms for a PNG of 256x256,
     * 20 ms for 1024x768. */
    bool stub;
    int64_t lease_ms;                    /* 0: 15000 */
    int64_t stall_ms;                    /* 0: 600000; without a sign of the drawing: it hangs */
    int64_t patience_ms;                 /* 0: 60000; with a store or a disk that refuses */
    const char *name;                    /* unique; NULL: host, pid and time */
    const volatile sig_atomic_t *stop;   /* set: hand the running task back and return */
    const volatile sig_atomic_t *finish; /* set: let the running task end, then return */
    /* An event (eventfd, not blocking) that becomes readable when a task may be queued: a hint,
     * so that an idle worker need not find out by itself. NULL: none. */
    const int *wake_fd;
    void (*log)(void *ctx, const char *level, const char *message); /* "info", "warning", "error" */
    void (*ready)(void *ctx);                                       /* the model is open */
    void *ctx;
};
/* Until stop or finish (ERR_OK; either may be NULL, and so may log and ready). The errors of a
 * task are the task's; what this returns is that the worker itself cannot go on: no model; no
 * store for patience_ms (a full disk is waited for); ERR_DEVICE: a drawing hangs or an accelerator
 * failed. After ERR_DEVICE the caller must end the process: a thread that hangs still uses the
 * model, which is therefore not closed. */
NODISCARD enum err worker_run(const struct worker_options *o, struct errmsg *em);

#endif

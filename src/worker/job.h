/* SPDX-License-Identifier: MIT */
/* Inside worker/ only: a task that this worker holds, its lease, and how it is let go. */
#ifndef EASEL_WORKER_JOB_H
#define EASEL_WORKER_JOB_H

#include "base/buf.h"
#include "base/limits.h"
#include "worker/painter.h"
#include "worker/worker_impl.h"

struct job {
    struct task task;
    struct buf files[LIMIT_REFERENCES_MAX]; /* of the references */
    struct easel_reference references[LIMIT_REFERENCES_MAX];
    size_t n_read;
    struct painter *painter;
    struct task_progress told; /* what the store heard last */
    double told_s;
    bool store_failing; /* the last report did not arrive; logged */
    const char *reason; /* to fail with */
    char result[BLOB_NAME_CHARS + 1];
};

bool job_renewal_is_due(const struct worker *w, const struct job *j);
/* Report what the drawing said last, with its preview, which renews the lease. *cancel: the user
 * wants it stopped. ERR_CONFLICT: the lease is lost. Any other failure is logged and passed
 * over: the next report may get through. */
NODISCARD enum err job_report(struct worker *w, struct job *j, bool *cancel);

typedef enum err job_deed(struct worker *w, struct job *j, struct errmsg *em);
/* Do what must not fail because of a full disk or a locked store: again and again, the lease
 * kept, until it works, the lease is lost (ERR_CONFLICT), patience is at an end (of a full disk it
 * has no end: nothing else could be done meanwhile) or the worker must stop. */
NODISCARD enum err job_insist(struct worker *w, struct job *j, job_deed *deed, struct errmsg *em);

/* Let the task go, insisting, and log it. */
void job_hand_back(struct worker *w, struct job *j);
void job_fail(struct worker *w, struct job *j, const char *reason);
void job_log_end(const struct worker *w, const struct job *j, enum err rc, const char *done,
                 const struct errmsg *em);

#endif

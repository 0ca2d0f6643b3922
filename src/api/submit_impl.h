/* SPDX-License-Identifier: MIT */
/* What the files of submitting share: submit.c leads the way, submit_pictures.c fetches, checks
 * and keeps pictures, submit_store.c makes the tasks. */
#ifndef EASEL_API_SUBMIT_IMPL_H
#define EASEL_API_SUBMIT_IMPL_H

#include "api/core_impl.h"

enum submit_stage {
    STAGE_READ,  /* the body */
    STAGE_REACH, /* what it names by address; only if it does */
    STAGE_STORE, /* its pictures, then its tasks */
};

struct submit_job {
    struct check_job check; /* first: the checkers know no more of it */
    struct request *q;
    const struct submit_ops *ops;
    enum submit_stage stage;
    struct checkers *pool; /* that has it, or had it */
    struct reach *reach;   /* NULL: nothing is named by its address */
    atomic_bool reached;
    atomic_bool abandoned; /* the client left */
    enum err rc;           /* faults of fields are not among these */
    struct errmsg em;
    /* blobs of each task's references, until the task owns them */
    char blobs[API_TASKS_MAX][LIMIT_REFERENCES_MAX][BLOB_NAME_CHARS + 1];
};

static inline size_t submit_tasks_wanted(const struct submission *s)
{
    return s->n_tasks ? s->n_tasks : 1;
}

/* ---- submit_pictures.c ---- */
/* Does the body name pictures or a webhook by their address? */
bool submit_has_addresses(const struct submission *s);
/* Begin to reach for them all; the request is woken when j->reached. ERR_BUSY. */
NODISCARD enum err submit_reach(struct submit_job *j, struct errmsg *em);
/* Their faults into the request's. What was fetched stays until submit_unreach. */
NODISCARD enum err submit_take_reached(struct submit_job *j, struct errmsg *em);
void submit_unreach(struct submit_job *j);
/* Decode, check and keep the pictures: ERR_OK also if some are at fault. Takes long. */
NODISCARD enum err submit_take_pictures(struct submit_job *j);
/* Delete the blobs that no task owns yet. */
void submit_forget_blobs(struct submit_job *j, size_t task);

/* ---- submit_store.c ---- */
/* All tasks or none. Waits for the disk. */
NODISCARD enum err submit_store_tasks(struct submit_job *j);
const char *submit_idempotency_key(struct request *q);
#define IDEMPOTENCY_KEY_CHARS_MAX 255u

#endif

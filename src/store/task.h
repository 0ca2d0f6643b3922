/* SPDX-License-Identifier: MIT */
/* A task: one picture that was asked for, from the request to the result.
 *
 *     CREATED ──claim──> IN_PROGRESS ──complete──> COMPLETED
 *        │  ^                 │ │
 *        │  └──hand back, lost│ └──fail, third loss, cancel──> FAILED
 *        └─────────cancel─────┴──────────────────────────────> FAILED
 *
 * COMPLETED and FAILED are final, but for an operator's retry (FAILED -> CREATED). */
#ifndef EASEL_STORE_TASK_H
#define EASEL_STORE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define TASK_ID_CHARS 36u    /* a UUID */
#define TASK_ATTEMPTS_MAX 3u /* claims that end without a result before it fails */

enum task_state { TASK_CREATED, TASK_IN_PROGRESS, TASK_COMPLETED, TASK_FAILED };
enum task_dialect { DIALECT_MAGNIFIC, DIALECT_BFL, DIALECT_OPENAI };

const char *task_state_name(enum task_state s); /* "CREATED", "IN_PROGRESS", … */
bool task_state_may_follow(enum task_state from, enum task_state to);

/* What every dialect's request becomes. Strings are owned; NULL where absent. */
struct gen_request {
    char *prompt;
    unsigned width_px, height_px; /* as asked or by default, never 0 once stored (if undamaged) */
    int64_t seed;                 /* 0 … 2^32 - 1, drawn at submission if not asked */
    bool enhance;
    char *model;                            /* as the dialect names it ("flux-2-pro"), for lists */
    char *format;                           /* "png", "jpeg", "webp" */
    int quality;                            /* 1 … 100; 0: the encoder's default */
    char *references[LIMIT_REFERENCES_MAX]; /* names of blobs */
    size_t n_references;
    double references_mp; /* megapixels of all references, for the cost */
    char *webhook_url;
    char *webhook_secret; /* the caller's own, else NULL: the service's */
};
void gen_request_deinit(struct gen_request *r);
NODISCARD enum err gen_request_copy(struct gen_request *out, const struct gen_request *in,
                                    struct errmsg *em);
/* As JSON for the store, and back; appended to nothing: *text is owned. */
NODISCARD enum err gen_request_write(const struct gen_request *r, char **text, struct errmsg *em);
NODISCARD enum err gen_request_read(const char *text, struct gen_request *out, struct errmsg *em);

struct task {
    char id[TASK_ID_CHARS + 1];
    int64_t key_id;
    enum task_dialect dialect;
    enum task_state state;
    struct gen_request request;
    bool damaged;          /* the request could not be read back: but for its model it is made up */
    char *error;           /* FAILED: the reason, for the user */
    char *result;          /* COMPLETED: name of the blob; NULL once it was swept */
    char *enhanced_prompt; /* as drawn, if it was enhanced */
    char *progress_stage;  /* "text", "denoise", …; NULL before the first report */
    unsigned step, n_steps;
    double progress;           /* 0 … 1 */
    int64_t cost_microcredits; /* of the picture; see task_charge */
    unsigned attempts;
    bool cancel_requested;
    int64_t queue_position;                      /* CREATED: 1 is next, approximately; else 0 */
    int64_t created_ms, started_ms, finished_ms; /* Unix time; 0: not yet */
    int64_t expires_ms;                          /* of the result's blob; 0: not finished */
};
void task_deinit(struct task *t);
/* What it costs its key once it is in this state: a picture that failed costs nothing. */
int64_t task_charge(const struct task *t, enum task_state state);

#endif

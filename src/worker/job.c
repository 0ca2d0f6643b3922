/* SPDX-License-Identifier: MIT */
#include "worker/job.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/size.h"

#define PREVIEW_QUALITY 80
#define RETRY_MIN_MS 100u
#define RETRY_MAX_MS 2000u
/* Shorter than the time between two sweeps of leases: a full disk lets nobody renew a lease, nor
 * take it away, and when there is room again we want to be the first. */
#define FULL_MAX_MS 250u

static enum err tell(struct worker *w, struct job *j, const struct task_progress *p, bool *cancel)
{
    struct errmsg em = {""};
    enum err rc =
        store_task_progress(w->o->store, j->task.id, w->name, w->lease_ms, p, cancel, &em);
    j->told = *p;
    j->told.preview = NULL;
    j->told.preview_len = 0;
    j->told_s = clock_now_s();
    if (rc && rc != ERR_CONFLICT && !j->store_failing)
        worker_log(w, "warning", "task %s: progress cannot be stored: %s", j->task.id, em.text);
    j->store_failing = rc != ERR_OK;
    return rc == ERR_CONFLICT ? rc : ERR_OK;
}

bool job_renewal_is_due(const struct worker *w, const struct job *j)
{
    return clock_now_s() - j->told_s >= (double)w->lease_ms / 3000.0;
}

/* ERR_CONFLICT: the lease is lost. */
static enum err keep_lease(struct worker *w, struct job *j)
{
    bool cancel = false;
    struct task_progress same = j->told;
    return job_renewal_is_due(w, j) ? tell(w, j, &same, &cancel) : ERR_OK;
}

enum err job_report(struct worker *w, struct job *j, bool *cancel)
{
    struct painter_report r;
    void *jpeg = NULL;
    size_t len = 0;
    painter_take_report(j->painter, &r);
    if (r.preview_rgb && easel_rgb_encode(r.preview_rgb, r.preview_width, r.preview_height, "jpeg",
                                          PREVIEW_QUALITY, &jpeg, &len, NULL))
        jpeg = NULL; /* a preview may be missing */
    struct task_progress p = {
        .stage = easel_stage_name(r.stage),
        .step = r.step,
        .n_steps = r.n_steps,
        .fraction = r.fraction,
        .preview = jpeg,
        .preview_len = jpeg ? len : 0,
    };
    enum err rc = tell(w, j, &p, cancel);
    easel_free(jpeg);
    free(r.preview_rgb);
    return rc;
}

enum err job_insist(struct worker *w, struct job *j, job_deed *deed, struct errmsg *em)
{
    double end = clock_now_s() + w->patience_s;
    unsigned pause_ms = RETRY_MIN_MS;
    enum err rc;
    while (worker_is_passing(rc = deed(w, j, em))) {
        if (worker_must_stop(w) || (rc != ERR_FULL && clock_now_s() >= end))
            break;
        if (pause_ms == RETRY_MIN_MS)
            worker_log(w, "warning", "task %s: %s; trying again", j->task.id, em->text);
        worker_pause(w, pause_ms);
        pause_ms = (unsigned)min_size(2 * pause_ms, rc == ERR_FULL ? FULL_MAX_MS : RETRY_MAX_MS);
        if (keep_lease(w, j))
            return err_set(em, ERR_CONFLICT, "the lease was lost");
    }
    return rc;
}

static enum err do_hand_back(struct worker *w, struct job *j, struct errmsg *em)
{
    return store_task_hand_back(w->o->store, j->task.id, w->name, em);
}

static enum err do_fail(struct worker *w, struct job *j, struct errmsg *em)
{
    return store_task_fail(w->o->store, j->task.id, w->name, j->reason, em);
}

void job_log_end(const struct worker *w, const struct job *j, enum err rc, const char *done,
                 const struct errmsg *em)
{
    if (rc == ERR_CONFLICT)
        worker_log(w, "warning", "task %s: the lease was lost; another worker may have it",
                   j->task.id);
    else if (rc)
        worker_log(w, "error", "task %s: it stays until its lease runs out: %s", j->task.id,
                   em->text);
    else
        worker_log(w, "info", "task %s: %s", j->task.id, done);
}

void job_hand_back(struct worker *w, struct job *j)
{
    struct errmsg em = {""};
    enum err rc = job_insist(w, j, do_hand_back, &em);
    job_log_end(w, j, rc, "handed back", &em);
}

void job_fail(struct worker *w, struct job *j, const char *reason)
{
    struct errmsg em = {""};
    j->reason = reason;
    enum err rc = job_insist(w, j, do_fail, &em);
    job_log_end(w, j, rc, reason, &em);
}

/* SPDX-License-Identifier: MIT */
/* One claimed task: references, drawing, result; and all the ways in which it may end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "worker/job.h"

#define REPORT_EVERY_S 0.1
#define NOMEM_PAUSE_MS 1000u

/* Why a drawing ended before its time. */
enum ending { ENDED_BY_ITSELF, ENDED_BY_STOP, ENDED_BY_CANCEL, ENDED_BY_LOSS, ENDED_BY_STALL };

static void job_free(void *job)
{
    struct job *j = job;
    painter_free(j->painter);
    for (size_t i = 0; i < LIMIT_REFERENCES_MAX; i++)
        buf_deinit(&j->files[i]);
    task_deinit(&j->task);
    free(j);
}

/* ---- before the drawing ---- */

static enum err read_all(int fd, uint64_t size_bytes, struct buf *out, struct errmsg *em)
{
    if (size_bytes > LIMIT_PICTURE_FILE_BYTES_MAX)
        return err_set(em, ERR_FORMAT, "it has more than %u bytes", LIMIT_PICTURE_FILE_BYTES_MAX);
    out->len = 0;
    enum err rc = buf_reserve(out, (size_t)size_bytes, em);
    while (!rc && out->len < size_bytes) {
        ssize_t n = read(fd, out->ptr + out->len, (size_t)size_bytes - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = err_set(em, ERR_IO, "cannot read it: %s", strerror(errno));
        else if (n == 0)
            rc = err_set(em, ERR_FORMAT, "it was cut short");
        else
            out->len += (size_t)n;
    }
    return rc;
}

static enum err read_reference(struct worker *w, const char *name, struct buf *out,
                               struct errmsg *em)
{
    int fd = -1;
    uint64_t size_bytes = 0;
    time_t modified;
    enum err rc = blobs_get(w->o->blobs, name, &fd, &size_bytes, &modified, em);
    if (rc == ERR_NOTFOUND)
        return err_set(em, rc, "it is no longer stored; send it again");
    if (rc)
        return rc;
    rc = read_all(fd, size_bytes, out, em);
    close(fd);
    return rc;
}

/* Goes on where it failed before. */
static enum err do_read_references(struct worker *w, struct job *j, struct errmsg *em)
{
    const struct gen_request *r = &j->task.request;
    for (; j->n_read < r->n_references; j->n_read++) {
        enum err rc = read_reference(w, r->references[j->n_read], &j->files[j->n_read], em);
        if (rc)
            return err_prefix(em, rc, "reference picture %zu", j->n_read + 1);
    }
    return ERR_OK;
}

static enum err do_start(struct worker *w, struct job *j, struct errmsg *em)
{
    const struct gen_request *r = &j->task.request;
    struct painting what = {.model = w->model, .quality = r->quality};
    for (size_t i = 0; i < r->n_references; i++)
        j->references[i] =
            (struct easel_reference){.bytes = j->files[i].ptr, .len = j->files[i].len};
    what.format = r->format ? r->format : "png";
    easel_draw_defaults(&what.options);
    what.options.prompt = r->prompt;
    what.options.width = r->width_px;
    what.options.height = r->height_px;
    what.options.seed = r->seed;
    what.options.enhance = r->enhance;
    what.options.previews = w->o->previews;
    what.options.references = j->references;
    what.options.n_references = (unsigned)r->n_references;
    return painter_new(&what, &j->painter, em);
}

/* ---- while it is drawn ---- */

static bool report_is_due(const struct worker *w, const struct job *j)
{
    enum painter_news news = painter_news(j->painter);
    return news == NEWS_STEP || job_renewal_is_due(w, j) ||
           (news == NEWS_PROGRESS && clock_now_s() - j->told_s >= REPORT_EVERY_S);
}

static enum ending watch(struct worker *w, struct job *j)
{
    enum ending ending = ENDED_BY_ITSELF;
    while (!painter_wait(j->painter, WORKER_TICK_MS)) {
        bool cancel = false;
        if (painter_silence_s(j->painter) > w->stall_s)
            return ENDED_BY_STALL;
        if (ending == ENDED_BY_ITSELF && worker_must_stop(w))
            ending = ENDED_BY_STOP;
        if (ending != ENDED_BY_LOSS && report_is_due(w, j)) {
            if (job_report(w, j, &cancel))
                ending = ENDED_BY_LOSS;
            else if (cancel)
                ending = ENDED_BY_CANCEL;
        }
        if (ending != ENDED_BY_ITSELF)
            painter_stop(j->painter);
    }
    return ending;
}

/* ---- after it ---- */

static enum err do_put(struct worker *w, struct job *j, struct errmsg *em)
{
    const struct painter_result *r = painter_result(j->painter);
    const char *format = j->task.request.format;
    const char *extension = !format ? "png" : !strcmp(format, "jpeg") ? "jpg" : format;
    return blobs_put(w->o->blobs, extension, r->bytes, r->len, j->result, em);
}

static enum err do_complete(struct worker *w, struct job *j, struct errmsg *em)
{
    static const char encode_stage[] = "encode";
    const struct painter_result *r = painter_result(j->painter);
    const char *names[EASEL_N_STAGES + 1];
    struct task_result result = {
        .blob = j->result,
        .enhanced_prompt = r->picture->enhanced_prompt,
        .n_seconds = EASEL_N_STAGES + 1,
        .stage_names = names,
    };
    for (unsigned i = 0; i < EASEL_N_STAGES; i++) {
        names[i] = easel_stage_name((enum easel_stage)i);
        result.seconds[i] = r->picture->seconds[i];
    }
    names[EASEL_N_STAGES] = encode_stage;
    result.seconds[EASEL_N_STAGES] = r->encode_s;
    return store_task_complete(w->o->store, j->task.id, w->name, &result, em);
}

/* The result is nobody's. But a completion that seemed to fail may have been stored: ask. */
static void discard_result(struct worker *w, const struct job *j)
{
    bool held = true;
    if (store_blob_is_held(w->o->store, j->result, &held, NULL) || held)
        return; /* what is left over is found when orphans are swept */
    if (blobs_delete(w->o->blobs, j->result, NULL))
        worker_log(w, "warning", "a result that nobody holds could not be deleted");
}

static void deliver(struct worker *w, struct job *j)
{
    struct errmsg em = {""};
    enum err rc = job_insist(w, j, do_put, &em);
    if (rc) {
        if (rc != ERR_CONFLICT) {
            worker_log(w, "error", "task %s: %s", j->task.id, em.text);
            w->probe_bytes = painter_result(j->painter)->len;
        }
        job_hand_back(w, j);
        return;
    }
    rc = job_insist(w, j, do_complete, &em);
    if (!rc || rc == ERR_CONFLICT) {
        job_log_end(w, j, rc, "completed", &em);
    } else {
        worker_log(w, "error", "task %s: %s", j->task.id, em.text);
        job_hand_back(w, j);
    }
    if (rc)
        discard_result(w, j);
}

/* The drawing hangs: leave it the job, and the lease to run out. */
static enum err give_up(struct worker *w, struct job *j, struct errmsg *em)
{
    enum err rc = err_set(em, ERR_DEVICE,
                          "task %s: nothing was heard of the drawing for %.0f s; it hangs, and the "
                          "worker must be started anew",
                          j->task.id, w->stall_s);
    struct painter *painter = j->painter;
    j->painter = NULL;
    w->abandoned = true;
    painter_abandon(painter, job_free, j);
    return rc;
}

static enum err conclude(struct worker *w, struct job *j, enum ending ending, struct errmsg *em)
{
    const struct painter_result *r = painter_result(j->painter);
    if (ending == ENDED_BY_LOSS)
        job_log_end(w, j, ERR_CONFLICT, NULL, NULL);
    else if (ending == ENDED_BY_CANCEL)
        job_fail(w, j, "cancelled");
    else if (!r->status)
        deliver(w, j);
    else if (r->status == EASEL_CANCELLED)
        job_hand_back(w, j);
    else if (r->status == EASEL_DEVICE)
        return err_set(em, ERR_DEVICE, "task %s: %s", j->task.id, r->error.message);
    else
        job_fail(w, j, r->error.message);
    return ERR_OK;
}

static void not_begun(struct worker *w, struct job *j, enum err rc, const struct errmsg *why)
{
    if (worker_is_passing(rc))
        worker_log(w, "error", "task %s: %s", j->task.id, why->text);
    if (rc == ERR_CONFLICT)
        job_log_end(w, j, rc, NULL, NULL);
    else if (rc == ERR_BUSY || rc == ERR_FULL || (rc == ERR_IO && worker_must_stop(w)))
        job_hand_back(w, j);
    else if (rc == ERR_IO) /* handed back it would come again, and again; no paths for users */
        job_fail(w, j, "a reference picture cannot be read here any more; send the task again");
    else
        job_fail(w, j, why->text);
}

static enum err run(struct worker *w, struct job *j, struct errmsg *em)
{
    struct errmsg why = {""};
    if (j->task.cancel_requested) {
        job_fail(w, j, "cancelled");
        return ERR_OK;
    }
    enum err rc = job_insist(w, j, do_read_references, &why);
    if (!rc)
        rc = job_insist(w, j, do_start, &why);
    if (rc) {
        not_begun(w, j, rc, &why);
        return ERR_OK;
    }
    enum ending ending = watch(w, j);
    return ending == ENDED_BY_STALL ? give_up(w, j, em) : conclude(w, j, ending, em);
}

enum err worker_run_task(struct worker *w, struct task *take, struct errmsg *em)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j) {
        struct errmsg ignored;
        worker_log(w, "error", "task %s: out of memory", take->id);
        /* should this fail, too, the lease runs out */
        (void)!store_task_hand_back(w->o->store, take->id, w->name, &ignored);
        worker_pause(w, NOMEM_PAUSE_MS);
        task_deinit(take);
        *take = (struct task){0};
        return ERR_OK;
    }
    j->task = *take;
    *take = (struct task){0};
    j->told = (struct task_progress){.stage = easel_stage_name(EASEL_STAGE_TEXT)};
    j->told_s = clock_now_s();
    enum err rc = run(w, j, em);
    if (!w->abandoned)
        job_free(j);
    return rc;
}

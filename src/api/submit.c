/* SPDX-License-Identifier: MIT */
/* From a body to stored tasks, the same for every dialect:
 *
 *     read ──> fetch pictures, look up the webhook's host ──> pictures: decode, check, keep
 *          ──> resolve ── faults? ──> store the tasks ──> answer
 *
 * A short body is read on the server's thread; all else happens elsewhere while the request is
 * parked: what waits for the network in one place (api_options.reach_begin), what costs the
 * processor's time on few threads, what waits for the disk on many, so that none delays the
 * others. What fails on the way takes the blobs that were kept with it, so that every blob
 * belongs to a task. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "api/submit_impl.h"
#include "crypto/crypto.h"

#define PARK_MS 60000u

/* ---- reading ---- */

static void check_idempotency_key(struct request *q)
{
    const char *key = submit_idempotency_key(q);
    size_t len = 0;
    while (key && key[len] > ' ' && key[len] < 0x7f)
        len++;
    if (key && (len == 0 || len > IDEMPOTENCY_KEY_CHARS_MAX || key[len]))
        faults_add(&q->faults, UINT_MAX, "Idempotency-Key",
                   "must be 1 to %u printable ASCII characters without spaces",
                   IDEMPOTENCY_KEY_CHARS_MAX);
}

static enum err read_body(struct submit_job *j)
{
    struct submission *s = j->q->submission;
    s->request.seed = -1;
    enum err rc = j->ops->read(j->q, s, &j->em);
    if (!rc)
        check_idempotency_key(j->q);
    return rc;
}

/* ---- storing ---- */

static enum err pick_seed(struct gen_request *r, struct errmsg *em)
{
    uint32_t seed;
    if (r->seed >= 0)
        return ERR_OK;
    enum err rc = crypto_random(&seed, sizeof seed, em);
    r->seed = seed;
    return rc;
}

static enum err pick_format(struct gen_request *r, struct errmsg *em)
{
    if (!r->format)
        r->format = strdup("png");
    return r->format ? ERR_OK : err_nomem(em, 4);
}

static enum err check_and_store(struct submit_job *j)
{
    struct request *q = j->q;
    struct submission *s = q->submission;
    enum err rc = submit_take_pictures(j);
    if (rc)
        return rc;
    if (q->faults.n == 0 && j->ops->resolve)
        j->ops->resolve(q, s);
    if (q->faults.n)
        return ERR_OK;
    if ((rc = pick_seed(&s->request, &j->em)) || (rc = pick_format(&s->request, &j->em)))
        return rc;
    return submit_store_tasks(j);
}

static void tell_others(const struct request *q)
{
    const struct api_options *o = &q->api->o;
    if (o->task_queued)
        o->task_queued(o->ctx);
    if (q->submission->request.webhook_url)
        o->webhook_owed(o->ctx);
}

static void store(struct submit_job *j)
{
    const struct request *q = j->q;
    j->rc = check_and_store(j);
    if (j->rc || q->faults.n) {
        for (size_t i = 0; i < API_TASKS_MAX; i++)
            submit_forget_blobs(j, i);
    } else if (!q->submission->existing) {
        tell_others(q);
    }
}

/* ---- stages ---- */

static void work(struct check_job *check)
{
    struct submit_job *j = (struct submit_job *)check;
    if (j->stage == STAGE_READ)
        j->rc = read_body(j);
    else
        store(j);
}

static void finished(struct check_job *check)
{
    http_wake(((struct submit_job *)check)->q->http);
}

/* Storing waits for the disk, and those who wait together share one write: so there are many
 * threads for it, and few for what costs the processor's time. */
static enum err hand_over(struct submit_job *j, struct errmsg *em)
{
    struct api *a = j->q->api;
    bool light = j->stage == STAGE_STORE && j->q->submission->n_pictures == 0;
    struct checkers *pool = light ? a->storers : a->checkers;
    if (j->pool) /* the thread of the stage before may still be waking us */
        checkers_forget(j->pool, &j->check);
    enum err rc = checkers_add(pool, &j->check, em);
    if (!rc)
        j->pool = pool;
    return rc;
}

/* What is left is told elsewhere (usage, credits): it may be more by the time this is read. */
static void reply_credits(struct submit_job *j)
{
    const struct submission *s = j->q->submission;
    const struct gen_request *r = &s->request;
    int64_t each = cost_microcredits(j->q->api, r->width_px, r->height_px, r->references_mp);
    reply_failure(j->q, FAIL_CREDITS,
                  "This costs %.6g credits, and the API key has fewer left. Ask the operator for "
                  "more.",
                  (double)each * (double)submit_tasks_wanted(s) / 1e6);
}

static void answer(struct submit_job *j)
{
    struct request *q = j->q;
    enum failure kind = j->rc ? failure_of_err(j->rc) : FAIL_PARAMS;
    if (!j->rc && q->faults.n == 0)
        j->ops->answer(q, q->submission);
    else if (kind == FAIL_CREDITS)
        reply_credits(j);
    else if (kind == FAIL_BODY || failure_is_inner(kind))
        reply_failure(q, kind, "%s", j->em.text);
    else
        reply_failure(q, kind, NULL);
}

static void start_stage(struct submit_job *j)
{
    struct errmsg em; /* on success j is another thread's now, and may have its outcome already */
    enum err rc = j->stage == STAGE_REACH ? submit_reach(j, &em) : hand_over(j, &em);
    if (!rc) {
        http_park(j->q->http, PARK_MS);
        return;
    }
    j->rc = rc;
    j->em = em;
    answer(j);
}

/* Pictures are checked even if there are faults: the client shall hear of all at once. */
static bool next_stage(struct submit_job *j)
{
    const struct submission *s = j->q->submission;
    if (j->rc || j->stage == STAGE_STORE)
        return false;
    if (j->stage == STAGE_READ && submit_has_addresses(s)) {
        j->stage = STAGE_REACH;
        return true;
    }
    j->stage = STAGE_STORE;
    return j->q->faults.n == 0 || s->n_pictures > 0;
}

static void end_stage(struct submit_job *j)
{
    if (j->stage == STAGE_REACH)
        j->rc = submit_take_reached(j, &j->em);
    if (next_stage(j))
        start_stage(j);
    else
        answer(j);
}

static bool stage_is_over(struct submit_job *j)
{
    return j->stage == STAGE_REACH ? atomic_load(&j->reached) : checkers_done(j->pool, &j->check);
}

/* ---- the way ---- */

static enum err begin(struct request *q, const struct submit_ops *ops, struct errmsg *em)
{
    struct submission *s = calloc(1, sizeof *s);
    struct submit_job *j = calloc(1, sizeof *j);
    if (!s || !j) {
        free(s);
        free(j);
        return err_nomem(em, sizeof *s + sizeof *j);
    }
    j->check.run = work;
    j->check.finished = finished;
    j->q = q;
    j->ops = ops;
    s->impl = j;
    q->submission = s;
    return ERR_OK;
}

static void first_steps(struct submit_job *j)
{
    if (http_request_body(j->q->http).len > API_BODY_INLINE_BYTES) {
        start_stage(j);
        return;
    }
    j->rc = read_body(j);
    end_stage(j);
}

static void refuse_at_stop(struct request *q)
{
    reply_failure(q, FAIL_BUSY, "The server is about to stop. Try again in a moment.");
}

void submit(struct request *q, const struct submit_ops *ops)
{
    struct errmsg em;
    if (!q->submission) {
        enum err rc = begin(q, ops, &em);
        if (rc)
            reply_err(q, rc, &em);
        else if (http_stopping(q->http))
            refuse_at_stop(q);
        else
            first_steps(q->submission->impl);
        return;
    }
    struct submit_job *j = q->submission->impl;
    if (stage_is_over(j))
        end_stage(j);
    else if (j->stage == STAGE_REACH && http_stopping(q->http))
        refuse_at_stop(q); /* others' servers are not waited for */
    else
        http_park(q->http, PARK_MS);
}

void submission_end(struct request *q)
{
    struct submission *s = q->submission;
    if (!s)
        return;
    struct submit_job *j = s->impl;
    atomic_store(&j->abandoned, true);
    if (j->pool)
        checkers_forget(j->pool, &j->check);
    submit_unreach(j);
    for (size_t i = 0; i < s->n_stored; i++)
        task_deinit(&s->tasks[i]);
    gen_request_deinit(&s->request);
    free(j);
    free(s);
    q->submission = NULL;
}

/* ---- for dialects ---- */

void submit_picture(struct submission *s, struct fields *f, const struct body *b, const char *field)
{
    const json_t *v = json_object_get(f->root, field);
    const struct body_picture *in = body_picture(b, field);
    if (v && !json_is_null(v) && !json_is_string(v)) {
        field_fault(f, field, "must be a picture in base64");
    } else if (json_is_string(v) && (!in || in->len == 0)) {
        field_fault(f, field, "is empty: leave it out, or send a picture in base64");
    } else if (in && s->n_pictures < LIMIT_REFERENCES_MAX) {
        struct picture_source *p = &s->pictures[s->n_pictures++];
        *p = (struct picture_source){.rank = f->rank, .ptr = in->ptr, .len = in->len};
        snprintf(p->field, sizeof p->field, "%s", field);
    }
    f->rank++;
}

void submit_check_model(struct request *q, struct submission *s, const char *enhance_field,
                        unsigned enhance_rank)
{
    size_t max = q->api->o.references_max;
    for (size_t i = max; i < s->n_pictures; i++) {
        const struct picture_source *p = &s->pictures[i];
        if (max == 0)
            faults_add(&q->faults, p->rank, p->field, "the model of this server takes no pictures");
        else
            faults_add(&q->faults, p->rank, p->field,
                       "the model of this server takes at most %zu picture%s", max,
                       max == 1 ? "" : "s");
    }
    if (s->n_pictures > max)
        s->n_pictures = max;
    if (s->request.enhance && !q->api->o.can_enhance)
        faults_add(&q->faults, enhance_rank, enhance_field,
                   "must be false: the model of this server cannot enhance prompts");
}

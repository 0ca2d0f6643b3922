/* SPDX-License-Identifier: MIT */
/* From a body to stored tasks, the same for every dialect:
 *
 *     read ── faults? ──> pictures: decode, check, keep ──> webhook_url ──> resolve
 *          ── faults? ──> store the tasks ──> answer
 *
 * A short body is read on the server's thread; all else runs on another while the request is
 * parked. What fails on the way takes the blobs that
 * were kept with it, so that every blob belongs to a task. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core_impl.h"
#include "crypto/crypto.h"

#define PARK_MS 60000u
#define IDEMPOTENCY_KEY_CHARS_MAX 255u

struct submit_job {
    struct check_job check; /* first: the checkers know no more of it */
    struct request *q;
    const struct submit_ops *ops;
    struct checkers *pool; /* that has it, or had it */
    atomic_bool abandoned; /* the client left */
    bool was_read, failed;
    enum failure kind;
    struct errmsg em; /* with FAIL_BODY and inner failures */
    /* blobs of each task's references, until the task owns them */
    char blobs[API_TASKS_MAX][LIMIT_REFERENCES_MAX][BLOB_NAME_CHARS + 1];
};

static size_t tasks_wanted(const struct submission *s)
{
    return s->n_tasks ? s->n_tasks : 1;
}

/* ---- pictures ---- */

static void forget_blobs(struct submit_job *j, size_t task)
{
    struct errmsg em;
    for (size_t i = 0; i < LIMIT_REFERENCES_MAX; i++) {
        char *name = j->blobs[task][i];
        if (*name && blobs_delete(j->q->api->o.blobs, name, &em))
            api_log(j->q->api, "warning", "a picture without a task stays: %s", em.text);
        *name = 0;
    }
}

static enum err fetch_picture(struct api *a, const struct picture_source *p, struct buf *out,
                              struct errmsg *em)
{
    char url[API_URL_BYTES_MAX + 1];
    if (!a->o.fetch_picture)
        return err_set(em, ERR_FORMAT,
                       "cannot be a URL on this server: send the picture in base64");
    if (p->len > API_URL_BYTES_MAX)
        return err_set(em, ERR_FORMAT, "the URL is over %u characters long", API_URL_BYTES_MAX);
    memcpy(url, p->ptr, p->len);
    url[p->len] = 0;
    enum err rc = a->o.fetch_picture(a->o.ctx, url, API_PICTURE_BYTES_MAX, out, em);
    return rc == ERR_NOMEM ? rc : rc ? ERR_FORMAT : ERR_OK;
}

static enum err keep_picture(struct submit_job *j, size_t i, enum image_format format,
                             const void *bytes, size_t len)
{
    const char *extension = image_format_extension(format) + 1;
    enum err rc = ERR_OK;
    for (size_t t = 0; t < tasks_wanted(j->q->submission) && !rc; t++)
        rc = blobs_put(j->q->api->o.blobs, extension, bytes, len, j->blobs[t][i], &j->em);
    return rc;
}

/* ERR_OK also for a picture at fault. One picture is in memory at a time. */
static enum err take_picture(struct submit_job *j, size_t i)
{
    struct picture_source *p = &j->q->submission->pictures[i];
    struct buf decoded = {0};
    const void *bytes = p->ptr;
    size_t len = p->len;
    enum image_format format;
    enum err rc = ERR_OK;
    if (p->kind == PICTURE_JSON_BASE64)
        rc = picture_decode_base64(p->ptr, p->len, &decoded, &j->em);
    else if (p->kind == PICTURE_URL)
        rc = fetch_picture(j->q->api, p, &decoded, &j->em);
    if (p->kind != PICTURE_BYTES) {
        bytes = decoded.ptr;
        len = decoded.len;
    }
    if (!rc)
        rc = picture_check(bytes, len, &format, &p->width_px, &p->height_px, &j->em);
    if (rc == ERR_FORMAT) {
        faults_add(&j->q->faults, p->rank, p->field, "%s", j->em.text);
        rc = ERR_OK;
    } else if (!rc && j->q->faults.n == 0) {
        rc = keep_picture(j, i, format, bytes, len);
    }
    buf_deinit(&decoded);
    return rc;
}

static enum err take_pictures(struct submit_job *j)
{
    struct submission *s = j->q->submission;
    enum err rc = ERR_OK;
    for (size_t i = 0; i < s->n_pictures && !rc; i++)
        rc = atomic_load(&j->abandoned) ? ERR_CANCELLED : take_picture(j, i);
    return rc;
}

/* ---- the rest of the checks ---- */

static void check_webhook(struct submit_job *j)
{
    struct api *a = j->q->api;
    struct submission *s = j->q->submission;
    struct errmsg em;
    if (s->request.webhook_url &&
        a->o.check_webhook_url(s->request.webhook_url, a->o.allow_private_webhooks, &em))
        faults_add(&j->q->faults, s->webhook_rank, "webhook_url", "%s", em.text);
}

static const char *idempotency_key(struct request *q)
{
    return http_header(q->http, "Idempotency-Key");
}

static void check_idempotency_key(struct request *q)
{
    const char *key = idempotency_key(q);
    size_t len = 0;
    while (key && key[len] > ' ' && key[len] < 0x7f)
        len++;
    if (key && (len == 0 || len > IDEMPOTENCY_KEY_CHARS_MAX || key[len]))
        faults_add(&q->faults, UINT_MAX, "Idempotency-Key",
                   "must be 1 to %u printable ASCII characters without spaces",
                   IDEMPOTENCY_KEY_CHARS_MAX);
}

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

int64_t cost_microcredits(const struct api *a, size_t width_px, size_t height_px,
                          double references_mp)
{
    double output_mp = ceil((double)width_px * (double)height_px / MEGAPIXEL_PIXELS);
    return llround(1e6 * (fmax(1, output_mp) * a->o.prices.output_mp +
                          references_mp * a->o.prices.reference_mp));
}

/* ---- storing ---- */

static enum err name_references(struct gen_request *r, const struct submission *s,
                                char blobs[][BLOB_NAME_CHARS + 1], struct errmsg *em)
{
    r->references_mp = 0;
    for (size_t i = 0; i < s->n_pictures; i++) {
        const struct picture_source *p = &s->pictures[i];
        free(r->references[i]);
        r->references[i] = strdup(blobs[i]);
        if (!r->references[i])
            return err_nomem(em, BLOB_NAME_CHARS + 1);
        r->n_references = i + 1;
        r->references_mp += (double)p->width_px * (double)p->height_px / MEGAPIXEL_PIXELS;
    }
    return ERR_OK;
}

/* The blobs of task i are its own from here on, or deleted. */
static enum err store_task(struct submit_job *j, size_t i, int64_t first_seed,
                           const uint8_t *body_hash)
{
    struct request *q = j->q;
    struct submission *s = q->submission;
    struct gen_request *r = &s->request;
    char key[IDEMPOTENCY_KEY_CHARS_MAX + 8];
    bool existing = false;
    enum err rc = name_references(r, s, j->blobs[i], &j->em);
    if (rc)
        return rc;
    r->seed = (first_seed + (int64_t)i) & UINT32_MAX;
    struct task_new n = {
        .key_id = q->key.id,
        .dialect = q->dialect->id,
        .request = r,
        .cost_microcredits = cost_microcredits(q->api, r->width_px, r->height_px, r->references_mp),
    };
    if (body_hash) {
        snprintf(key, sizeof key, i ? "%s#%zu" : "%s", idempotency_key(q), i);
        n.idempotency_key = key;
        n.body_hash = body_hash;
    }
    rc = store_task_create(q->api->o.store, &n, &s->tasks[i], &existing, &j->em);
    if (rc)
        return rc;
    s->n_stored = i + 1;
    s->existing = s->existing || existing;
    if (existing)
        forget_blobs(j, i);
    memset(j->blobs[i], 0, sizeof j->blobs[i]);
    return ERR_OK;
}

/* All or none: what was stored before one failed is cancelled. */
static void cancel_stored(struct submit_job *j)
{
    struct submission *s = j->q->submission;
    struct errmsg em;
    for (size_t i = 0; i < s->n_stored; i++) {
        if (!s->existing &&
            store_task_cancel(j->q->api->o.store, s->tasks[i].id, j->q->key.id, NULL, &em))
            api_log(j->q->api, "warning", "task %s: %s", s->tasks[i].id, em.text);
        task_deinit(&s->tasks[i]);
    }
    s->n_stored = 0;
}

/* Of body and route: the same body asks for something else on another path. */
static void hash_request(const struct request *q, uint8_t hash[SHA256_BYTES])
{
    struct http_body body = http_request_body(q->http);
    uint8_t both[2 * SHA256_BYTES];
    crypto_sha256(body.ptr, body.len, both);
    crypto_sha256(q->route->pattern, strlen(q->route->pattern), both + SHA256_BYTES);
    crypto_sha256(both, sizeof both, hash);
}

static enum err store_tasks(struct submit_job *j)
{
    struct submission *s = j->q->submission;
    uint8_t hash[SHA256_BYTES];
    const uint8_t *body_hash = NULL;
    if (idempotency_key(j->q)) {
        hash_request(j->q, hash);
        body_hash = hash;
    }
    int64_t seed = s->request.seed;
    enum err rc = ERR_OK;
    for (size_t i = 0; i < tasks_wanted(s) && !rc; i++)
        rc = store_task(j, i, seed, body_hash);
    s->request.seed = seed;
    if (rc)
        cancel_stored(j);
    return rc;
}

/* ---- the way ---- */

static enum err read_body(struct submit_job *j)
{
    struct submission *s = j->q->submission;
    s->request.seed = -1;
    enum err rc = j->ops->read(j->q, s, &j->em);
    j->was_read = true;
    if (!rc)
        check_idempotency_key(j->q);
    return rc;
}

/* FAIL_PARAMS is told by the faults alone. */
static enum err check_and_store(struct submit_job *j)
{
    struct request *q = j->q;
    struct submission *s = q->submission;
    enum err rc = j->was_read ? ERR_OK : read_body(j);
    if (!rc)
        rc = take_pictures(j);
    if (rc)
        return rc;
    check_webhook(j);
    if (q->faults.n == 0 && j->ops->resolve)
        j->ops->resolve(q, s);
    if (q->faults.n)
        return ERR_OK;
    if ((rc = pick_seed(&s->request, &j->em)) || (rc = pick_format(&s->request, &j->em)))
        return rc;
    return store_tasks(j);
}

static void work(struct check_job *check)
{
    struct submit_job *j = (struct submit_job *)check;
    struct request *q = j->q;
    enum err rc = check_and_store(j);
    if (rc || q->faults.n) {
        j->failed = true;
        j->kind = rc ? failure_of_err(rc) : FAIL_PARAMS;
        for (size_t i = 0; i < API_TASKS_MAX; i++)
            forget_blobs(j, i);
    } else if (q->submission->request.webhook_url && !q->submission->existing) {
        q->api->o.webhook_owed(q->api->o.ctx);
    }
}

static void finished(struct check_job *check)
{
    http_wake(((struct submit_job *)check)->q->http);
}

static void answer(struct submit_job *j)
{
    struct request *q = j->q;
    if (!j->failed)
        j->ops->answer(q, q->submission);
    else if (j->kind == FAIL_BODY || failure_is_inner(j->kind))
        reply_failure(q, j->kind, "%s", j->em.text);
    else
        reply_failure(q, j->kind, NULL);
}

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

static bool is_light(const struct submission *s)
{
    return s->n_pictures == 0 && !s->request.webhook_url;
}

/* Storing waits for the disk, and those who wait together share one write: so there are many
 * threads for it, and few for what costs the processor's time. */
static enum err hand_over(struct submit_job *j, struct errmsg *em)
{
    struct api *a = j->q->api;
    j->pool = j->was_read && is_light(j->q->submission) ? a->storers : a->checkers;
    return checkers_add(j->pool, &j->check, em);
}

static void first_steps(struct submit_job *j)
{
    struct request *q = j->q;
    struct errmsg em;
    enum err rc = ERR_OK;
    if (http_request_body(q->http).len <= API_BODY_INLINE_BYTES)
        rc = read_body(j);
    if (rc || (q->faults.n && is_light(q->submission))) {
        j->failed = true;
        j->kind = rc ? failure_of_err(rc) : FAIL_PARAMS;
        answer(j);
    } else if (hand_over(j, &em)) {
        reply_failure(q, FAIL_BUSY, NULL);
    } else {
        http_park(q->http, PARK_MS);
    }
}

void submit(struct request *q, const struct submit_ops *ops)
{
    struct errmsg em;
    if (!q->submission) {
        enum err rc = begin(q, ops, &em);
        if (rc)
            reply_err(q, rc, &em);
        else if (http_stopping(q->http))
            reply_failure(q, FAIL_BUSY, "The server is about to stop. Try again in a moment.");
        else
            first_steps(q->submission->impl);
        return;
    }
    struct submit_job *j = q->submission->impl;
    if (checkers_done(j->pool, &j->check))
        answer(j);
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

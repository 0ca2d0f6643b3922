/* SPDX-License-Identifier: MIT */
/* The last step of submitting: what was read and checked becomes tasks. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/submit_impl.h"
#include "crypto/crypto.h"

const char *submit_idempotency_key(struct request *q)
{
    return http_header(q->http, "Idempotency-Key");
}

int64_t cost_microcredits(const struct api *a, size_t width_px, size_t height_px,
                          double references_mp)
{
    double output_mp = ceil((double)width_px * (double)height_px / MEGAPIXEL_PIXELS);
    return llround(1e6 * (fmax(1, output_mp) * a->o.prices.output_mp +
                          references_mp * a->o.prices.reference_mp));
}

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
        snprintf(key, sizeof key, i ? "%s#%zu" : "%s", submit_idempotency_key(q), i);
        n.idempotency_key = key;
        n.body_hash = body_hash;
    }
    rc = store_task_create(q->api->o.store, &n, &s->tasks[i], &existing, &j->em);
    if (rc)
        return rc;
    s->n_stored = i + 1;
    s->existing = s->existing || existing;
    if (existing)
        submit_forget_blobs(j, i);
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

enum err submit_store_tasks(struct submit_job *j)
{
    struct submission *s = j->q->submission;
    uint8_t hash[SHA256_BYTES];
    const uint8_t *body_hash = NULL;
    if (submit_idempotency_key(j->q)) {
        hash_request(j->q, hash);
        body_hash = hash;
    }
    int64_t seed = s->request.seed;
    enum err rc = ERR_OK;
    for (size_t i = 0; i < submit_tasks_wanted(s) && !rc; i++)
        rc = store_task(j, i, seed, body_hash);
    s->request.seed = seed;
    if (rc)
        cancel_stored(j);
    return rc;
}

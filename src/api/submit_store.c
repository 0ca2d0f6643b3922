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

/* Of the i-th of a request's tasks. */
struct part {
    struct gen_request request; /* its texts and the names of its blobs are borrowed */
    char idempotency_key[STORE_IDEMPOTENCY_KEY_CHARS + 1];
};

static struct gen_request request_of(struct submit_job *j, size_t i)
{
    const struct submission *s = j->q->submission;
    struct gen_request r = s->request;
    r.seed = (s->request.seed + (int64_t)i) & UINT32_MAX;
    for (; r.n_references < s->n_pictures; r.n_references++)
        r.references[r.n_references] = j->blobs[i][r.n_references];
    return r;
}

static double references_mp(const struct submission *s)
{
    double mp = 0;
    for (size_t i = 0; i < s->n_pictures; i++)
        mp += (double)s->pictures[i].width_px * (double)s->pictures[i].height_px / MEGAPIXEL_PIXELS;
    return mp;
}

/* The blobs of a new task are its own from here on; one of an earlier request has its own. */
static void blobs_given(struct submit_job *j, size_t i, bool existing)
{
    if (existing)
        submit_forget_blobs(j, i);
    memset(j->blobs[i], 0, sizeof j->blobs[i]);
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

static struct task_new new_of(struct submit_job *j, size_t i, const uint8_t *hash,
                              struct part *part)
{
    struct request *q = j->q;
    const struct gen_request *r = &part->request;
    part->request = request_of(j, i);
    struct task_new n = {
        .key_id = q->key.id,
        .dialect = q->dialect->id,
        .request = r,
        .cost_microcredits = cost_microcredits(q->api, r->width_px, r->height_px, r->references_mp),
    };
    const char *key = submit_idempotency_key(q);
    if (key) {
        snprintf(part->idempotency_key, sizeof part->idempotency_key, i ? "%s#%zu" : "%s", key, i);
        n.idempotency_key = part->idempotency_key;
        n.body_hash = hash;
    }
    return n;
}

enum err submit_store_tasks(struct submit_job *j)
{
    struct submission *s = j->q->submission;
    size_t n = submit_tasks_wanted(s);
    struct part parts[API_TASKS_MAX];
    struct task_new news[API_TASKS_MAX];
    bool existing[API_TASKS_MAX];
    uint8_t hash[SHA256_BYTES];
    if (submit_idempotency_key(j->q))
        hash_request(j->q, hash);
    s->request.references_mp = references_mp(s);
    for (size_t i = 0; i < n; i++)
        news[i] = new_of(j, i, hash, &parts[i]);
    enum err rc = store_tasks_create(j->q->api->o.store, news, n, s->tasks, existing, &j->em);
    if (rc)
        return rc;
    s->n_stored = n;
    for (size_t i = 0; i < n; i++) {
        s->existing = s->existing || existing[i];
        blobs_given(j, i, existing[i]);
    }
    return ERR_OK;
}

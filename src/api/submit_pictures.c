/* SPDX-License-Identifier: MIT */
/* What a submission names by address, and its pictures' way into blobs. */
#include <stdlib.h>
#include <string.h>

#include "api/submit_impl.h"

/* ---- addresses ---- */

bool submit_has_addresses(const struct submission *s)
{
    bool any = s->request.webhook_url != NULL;
    for (size_t i = 0; i < s->n_pictures; i++)
        any = any || s->pictures[i].kind == PICTURE_URL;
    return any;
}

/* On the thread that reached for them. */
static void on_reached(void *ctx)
{
    struct submit_job *j = ctx;
    struct http_request *r = j->q->http;
    atomic_store(&j->reached, true);
    http_wake(r);
}

enum err submit_reach(struct submit_job *j, struct errmsg *em)
{
    const struct submission *s = j->q->submission;
    struct api *a = j->q->api;
    struct reach *r = calloc(1, sizeof *r);
    if (!r)
        return err_nomem(em, sizeof *r);
    r->key_id = j->q->key.id;
    r->finished = on_reached;
    r->ctx = j;
    for (size_t i = 0; i < s->n_pictures; i++)
        if (s->pictures[i].kind == PICTURE_URL)
            r->items[r->n++].url = s->pictures[i].ptr;
    if (s->request.webhook_url)
        r->items[r->n++] = (struct reach_item){.url = s->request.webhook_url, .look = true};
    enum err rc = a->o.reach_begin(a->o.ctx, r, em);
    if (rc)
        free(r);
    else
        j->reach = r;
    return rc;
}

static enum err take_picture_item(struct faults *faults, struct picture_source *p,
                                  const struct reach_item *item, struct errmsg *em)
{
    if (item->rc && item->rc != ERR_FORMAT)
        return err_set(em, item->rc, "%s", item->em.text);
    if (item->rc)
        faults_add(faults, p->rank, p->field, "%s", item->em.text);
    p->kind = item->rc ? PICTURE_FAULTY : PICTURE_BYTES;
    p->ptr = item->bytes;
    p->len = item->len;
    return ERR_OK;
}

enum err submit_take_reached(struct submit_job *j, struct errmsg *em)
{
    struct submission *s = j->q->submission;
    const struct reach_item *item = j->reach->items;
    enum err rc = ERR_OK;
    for (size_t i = 0; i < s->n_pictures && !rc; i++)
        if (s->pictures[i].kind == PICTURE_URL)
            rc = take_picture_item(&j->q->faults, &s->pictures[i], item++, em);
    if (rc || !s->request.webhook_url)
        return rc;
    if (item->rc == ERR_FORMAT)
        faults_add(&j->q->faults, s->webhook_rank, "webhook_url", "%s", item->em.text);
    else if (item->rc)
        return err_set(em, item->rc, "%s", item->em.text);
    return ERR_OK;
}

void submit_unreach(struct submit_job *j)
{
    struct api *a = j->q->api;
    if (j->reach)
        a->o.reach_end(a->o.ctx, j->reach);
    free(j->reach);
    j->reach = NULL;
}

/* ---- pictures ---- */

void submit_forget_blobs(struct submit_job *j, size_t task)
{
    struct errmsg em;
    for (size_t i = 0; i < LIMIT_REFERENCES_MAX; i++) {
        char *name = j->blobs[task][i];
        if (*name && blobs_delete(j->q->api->o.blobs, name, &em))
            api_log(j->q->api, "warning", "a picture without a task stays: %s", em.text);
        *name = 0;
    }
}

static enum err keep_picture(struct submit_job *j, size_t i, enum image_format format,
                             const void *bytes, size_t len)
{
    const char *extension = image_format_extension(format) + 1;
    enum err rc = ERR_OK;
    for (size_t t = 0; t < submit_tasks_wanted(j->q->submission) && !rc; t++)
        rc = blobs_put(j->q->api->o.blobs, extension, bytes, len, j->blobs[t][i], &j->em);
    return rc;
}

/* ERR_OK also for a picture at fault. One that was base64 is in memory at a time. */
static enum err take_picture(struct submit_job *j, size_t i)
{
    struct picture_source *p = &j->q->submission->pictures[i];
    struct buf decoded = {0};
    const void *bytes = p->ptr;
    size_t len = p->len;
    enum image_format format;
    enum err rc = ERR_OK;
    if (p->kind == PICTURE_JSON_BASE64) {
        rc = picture_decode_base64(p->ptr, p->len, &decoded, &j->em);
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

enum err submit_take_pictures(struct submit_job *j)
{
    const struct submission *s = j->q->submission;
    enum err rc = ERR_OK;
    for (size_t i = 0; i < s->n_pictures && !rc; i++) {
        if (atomic_load(&j->abandoned))
            rc = ERR_CANCELLED;
        else if (s->pictures[i].kind != PICTURE_FAULTY)
            rc = take_picture(j, i);
    }
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* GET /v1/tasks/{id}/events: a task as it happens, as server-sent events; and its newest preview
 * as a picture.
 *
 *     status     {"task_id","status","queue_position"}        at first and at each change; of the
 *                                                             position alone, within a second
 *     progress   {"stage","step","n_steps","progress"}
 *     preview    {"step","media_type","data"}                 data: base64
 *     completed  as status, with "generated"                  the last
 *     failed     as status, with "error"                      the last */
#include <stdlib.h>
#include <string.h>

#include "api/core_impl.h"
#include "base/base64.h"
#include "base/clock.h"
#include "crypto/crypto.h"

struct events {
    bool begun;
    struct task seen; /* what was told last */
    uint8_t preview_hash[SHA256_BYTES];
    double sent_s;
};

static void events_free(void *own)
{
    struct events *e = own;
    task_deinit(&e->seen);
    free(e);
}

/* Takes value; NULL is ERR_NOMEM. */
static enum err write_event(struct buf *out, const char *name, json_t *value, struct errmsg *em)
{
    char *text = value ? json_text(value) : NULL;
    enum err rc = text ? buf_printf(out, em, "event: %s\ndata: ", name) : err_nomem(em, 1);
    if (!rc)
        rc = buf_append(out, text, strlen(text), em);
    if (!rc)
        rc = buf_append(out, "\n\n", 2, em);
    free(text);
    json_decref(value);
    return rc;
}

static json_t *status_json(const struct task *t)
{
    json_t *o = json_pack("{s:s, s:s}", "task_id", t->id, "status", task_state_name(t->state));
    if (o && t->state == TASK_CREATED)
        json_object_set_new(o, "queue_position", json_integer(t->queue_position));
    return o;
}

static enum err write_final(struct request *q, const struct task *t, struct buf *out,
                            struct errmsg *em)
{
    json_t *o = status_json(t);
    bool completed = t->state == TASK_COMPLETED;
    if (completed) {
        char *base = base_url(q->api, q->http);
        char *url = base ? result_url(q->api, t, base) : NULL;
        json_t *list = json_array();
        if (url)
            json_array_append_new(list, json_string(url));
        json_object_set_new(o, "generated", list);
        free(url);
        free(base);
    } else {
        json_object_set_new(o, "error", json_string(t->error ? t->error : ""));
    }
    return write_event(out, completed ? "completed" : "failed", o, em);
}

static enum err write_preview(struct request *q, struct events *e, const struct task *t,
                              struct buf *out, struct errmsg *em)
{
    struct buf picture = {0}, text = {0};
    uint8_t hash[SHA256_BYTES];
    enum err rc = store_task_preview(q->api->o.store, t->id, q->key.id, &picture, em);
    if (rc == ERR_NOTFOUND)
        return ERR_OK;
    if (!rc) {
        crypto_sha256(picture.ptr, picture.len, hash);
        if (memcmp(hash, e->preview_hash, sizeof hash) != 0) {
            memcpy(e->preview_hash, hash, sizeof hash);
            rc = base64_encode(picture.ptr, picture.len, &text, em);
            if (!rc)
                rc = write_event(out, "preview",
                                 json_pack("{s:i, s:s, s:s}", "step", (int)t->step, "media_type",
                                           "image/jpeg", "data", (char *)text.ptr),
                                 em);
        }
    }
    buf_deinit(&picture);
    buf_deinit(&text);
    return rc;
}

static bool progressed(const struct task *a, const struct task *b)
{
    const char *x = a->progress_stage, *y = b->progress_stage;
    return a->step != b->step || a->progress != b->progress || !x != !y || (x && strcmp(x, y) != 0);
}

static enum err write_progress(struct request *q, struct events *e, const struct task *t,
                               struct buf *out, struct errmsg *em)
{
    if (t->state != TASK_IN_PROGRESS || !t->progress_stage || !progressed(&e->seen, t))
        return ERR_OK;
    enum err rc =
        write_event(out, "progress",
                    json_pack("{s:s, s:i, s:i, s:f}", "stage", t->progress_stage, "step",
                              (int)t->step, "n_steps", (int)t->n_steps, "progress", t->progress),
                    em);
    return rc ? rc : write_preview(q, e, t, out, em);
}

static bool is_final(const struct task *t)
{
    return t->state == TASK_COMPLETED || t->state == TASK_FAILED;
}

/* All that has changed since the last time. */
static enum err write_changes(struct request *q, struct events *e, const struct task *t,
                              struct buf *out, struct errmsg *em)
{
    enum err rc = ERR_OK;
    if (!e->begun || e->seen.state != t->state || e->seen.queue_position != t->queue_position)
        rc = write_event(out, "status", status_json(t), em);
    if (!rc)
        rc = write_progress(q, e, t, out, em);
    if (!rc && is_final(t))
        rc = write_final(q, t, out, em);
    if (!rc && out->len == 0 && clock_now_s() - e->sent_s > API_EVENTS_COMMENT_MS / 1000.0)
        rc = buf_append(out, ": still here\n\n", 14, em);
    return rc;
}

/* Takes t. */
static void send_changes(struct request *q, struct events *e, struct task *t)
{
    struct errmsg em;
    struct buf out = {0};
    enum err rc = write_changes(q, e, t, &out, &em);
    if (!e->begun)
        http_stream_begin(q->http, 200, "text/event-stream");
    e->begun = true;
    if (!rc && out.len) {
        rc = http_stream_send(q->http, out.ptr, out.len, &em);
        e->sent_s = clock_now_s();
    }
    bool over = rc || is_final(t) || http_stopping(q->http);
    task_deinit(&e->seen);
    e->seen = *t;
    buf_deinit(&out);
    if (over)
        http_stream_end(q->http);
    else
        watch_park(q);
}

static struct events *events_of(struct request *q)
{
    if (!q->own) {
        q->own = calloc(1, sizeof(struct events));
        q->own_free = events_free;
    }
    return q->own;
}

void events_handle(struct request *q)
{
    struct events *e = events_of(q);
    struct errmsg em;
    struct task t;
    if (!e) {
        reply_failure(q, FAIL_INTERNAL, "out of memory");
        return;
    }
    watch_begin(q, q->args[0]);
    enum err rc = store_task_get(q->api->o.store, q->args[0], q->key.id, &t, &em);
    if (!rc)
        send_changes(q, e, &t);
    else if (e->begun)
        http_stream_end(q->http);
    else
        reply_err(q, rc, &em);
}

void preview_handle(struct request *q)
{
    struct errmsg em;
    struct task t;
    struct buf picture = {0};
    enum err rc = store_task_get(q->api->o.store, q->args[0], q->key.id, &t, &em);
    if (rc) {
        reply_err(q, rc, &em);
        return;
    }
    rc = store_task_preview(q->api->o.store, t.id, q->key.id, &picture, &em);
    if (rc == ERR_NOTFOUND)
        reply_failure(q, FAIL_NO_TASK, "There is no preview of this task now.");
    else if (rc)
        reply_err(q, rc, &em);
    else
        http_reply(q->http, 200, "image/jpeg", picture.ptr, picture.len);
    buf_deinit(&picture);
    task_deinit(&t);
}

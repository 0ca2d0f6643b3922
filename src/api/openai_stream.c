/* SPDX-License-Identifier: MIT */
/* stream: true. Server-sent events as the pictures form:
 *
 *     image_generation.partial_image   a preview, always a JPEG; up to partial_images for each
 *     image_generation.completed       the picture; the last for it
 *     error                            the last of all
 *
 * or image_edit.… */
#include <inttypes.h>
#include <stdlib.h>

#include "api/openai_impl.h"
#include "base/base64.h"
#include "base/clock.h"

/* "event: NAME" and the beginning of its data. */
static enum err write_begin(struct buf *out, const struct openai *o, const char *name,
                            struct errmsg *em)
{
    const char *prefix = o->edit ? "image_edit" : "image_generation";
    return buf_printf(out, em,
                      "event: %s.%s\ndata: {\"type\":\"%s.%s\",\"created_at\":%" PRId64 ",", prefix,
                      name, prefix, name, unix_ms() / 1000);
}

static enum err write_completed(struct request *q, struct buf *out, const struct task *t,
                                struct errmsg *em)
{
    enum err rc = write_begin(out, q->own, "completed", em);
    if (!rc)
        rc = openai_write_kind(out, &t->request, t->request.format, em);
    if (!rc)
        rc = buf_append(out, ",", 1, em);
    if (!rc)
        rc = openai_write_usage(out, &t->request, 1, em);
    if (!rc)
        rc = buf_printf(out, em, ",\"task_id\":\"%s\",\"seed\":%" PRId64 ",", t->id,
                        t->request.seed);
    if (!rc)
        rc = openai_write_picture(out, q->api, t, em);
    return rc ? rc : buf_append(out, "}\n\n", 3, em);
}

static enum err write_preview(struct request *q, struct buf *out, const struct task *t,
                              unsigned index, const struct buf *picture, struct errmsg *em)
{
    enum err rc = write_begin(out, q->own, "partial_image", em);
    if (!rc)
        rc = openai_write_kind(out, &t->request, "jpeg", em);
    if (!rc)
        rc = buf_printf(out, em, ",\"partial_image_index\":%u,\"b64_json\":\"", index);
    if (!rc)
        rc = base64_encode(picture->ptr, picture->len, out, em);
    return rc ? rc : buf_append(out, "\"}\n\n", 4, em);
}

/* Previews are spread evenly over the steps. */
static bool preview_is_due(const struct task *t, unsigned n_sent, unsigned n_wanted)
{
    if (t->state != TASK_IN_PROGRESS || n_sent >= n_wanted || t->n_steps == 0)
        return false;
    return (uint64_t)t->step * (n_wanted + 1) >= (uint64_t)(n_sent + 1) * t->n_steps;
}

static enum err write_partial(struct request *q, size_t i, struct buf *out, const struct task *t,
                              struct errmsg *em)
{
    struct openai *o = q->own;
    struct buf picture = {0};
    if (!preview_is_due(t, o->pictures[i].n_partials, o->n_partials))
        return ERR_OK;
    enum err rc = store_task_preview(q->api->o.store, t->id, q->key.id, &picture, em);
    if (!rc)
        rc = write_preview(q, out, t, o->pictures[i].n_partials++, &picture, em);
    buf_deinit(&picture);
    return rc == ERR_NOTFOUND ? ERR_OK : rc;
}

static enum err write_error(struct buf *out, json_t *take, struct errmsg *em)
{
    json_t *o = json_pack("{s:s, s:o}", "type", "error", "error", take);
    char *text = o ? json_text(o) : NULL;
    enum err rc = text ? buf_printf(out, em, "event: error\ndata: %s\n\n", text) : err_nomem(em, 1);
    free(text);
    json_decref(o);
    return rc;
}

/* What is new since the last time; *over: nothing will follow. */
static enum err write_news(struct request *q, struct submission *s, struct buf *out, bool *over,
                           struct errmsg *em)
{
    struct openai *o = q->own;
    size_t n_told = 0;
    enum err rc = openai_refresh(q, s, em);
    for (size_t i = 0; i < s->n_stored && !rc; i++) {
        const struct task *t = &s->tasks[i];
        rc = write_partial(q, i, out, t, em);
        if (!rc && t->state == TASK_COMPLETED && t->result && !o->pictures[i].told) {
            rc = write_completed(q, out, t, em);
            o->pictures[i].told = true;
        }
        n_told += o->pictures[i].told;
    }
    if (rc)
        return rc;
    const struct task *failed = openai_failed(s);
    *over = n_told == s->n_stored || failed || http_stopping(q->http);
    if (failed)
        return write_error(out, openai_task_error(failed), em);
    if (*over && n_told < s->n_stored)
        return write_error(out,
                           openai_error("The server is about to stop; the task goes on.",
                                        "server_error", NULL, "server_busy"),
                           em);
    return ERR_OK;
}

static enum err send_news(struct request *q, struct submission *s, bool *over, struct errmsg *em)
{
    struct openai *o = q->own;
    struct buf out = {0};
    enum err rc = write_news(q, s, &out, over, em);
    double now_s = clock_now_s();
    if (!rc && out.len == 0 && now_s - o->sent_s > API_EVENTS_COMMENT_MS / 1e3)
        rc = buf_append(&out, ": still here\n\n", 14, em);
    if (!rc && out.len > 0) {
        rc = http_stream_send(q->http, out.ptr, out.len, em);
        o->sent_s = now_s;
    }
    buf_deinit(&out);
    return rc;
}

void openai_stream(struct request *q, struct submission *s)
{
    struct openai *o = q->own;
    struct errmsg em;
    bool over = false;
    if (!o->begun) {
        http_stream_begin(q->http, 200, "text/event-stream");
        o->begun = true;
        o->sent_s = clock_now_s();
    }
    openai_watch(q, s);
    enum err rc = send_news(q, s, &over, &em);
    if (rc)
        api_log(q->api, "error", "request %s: %s", http_request_id(q->http), em.text);
    if (rc || over)
        http_stream_end(q->http);
    else
        watch_park(q);
}

/* SPDX-License-Identifier: MIT */
/* The answer of OpenAI's dialect, which waits for the pictures. It is written by hand, not as
 * a tree: the pictures in it are megabytes of base64. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/openai_impl.h"
#include "base/base64.h"

#define TOKEN_SIDE_PX 16.0 /* a token of the transformer stands for 16 x 16 pixels */
#define CHARS_PER_TOKEN 4  /* of text, about: the tokenizer belongs to the worker */

/* ---- tasks ---- */

static bool is_final(const struct task *t)
{
    return t->state == TASK_COMPLETED || t->state == TASK_FAILED;
}

enum err openai_refresh(struct request *q, struct submission *s, struct errmsg *em)
{
    for (size_t i = 0; i < s->n_stored; i++) {
        struct task now;
        if (is_final(&s->tasks[i]))
            continue;
        enum err rc = store_task_get(q->api->o.store, s->tasks[i].id, q->key.id, &now, em);
        if (rc)
            return rc;
        task_deinit(&s->tasks[i]);
        s->tasks[i] = now;
    }
    return ERR_OK;
}

const struct task *openai_failed(const struct submission *s)
{
    for (size_t i = 0; i < s->n_stored; i++) {
        const struct task *t = &s->tasks[i];
        if (t->state == TASK_FAILED || (t->state == TASK_COMPLETED && !t->result))
            return t;
    }
    return NULL;
}

static bool all_completed(const struct submission *s)
{
    for (size_t i = 0; i < s->n_stored; i++)
        if (s->tasks[i].state != TASK_COMPLETED)
            return false;
    return true;
}

json_t *openai_task_error(const struct task *t)
{
    struct buf text = {0};
    const char *reason = t->state == TASK_FAILED ? t->error : "it is kept for a limited time only";
    if (buf_printf(&text, NULL, "There is no picture of task %s: %s.", t->id,
                   reason ? reason : "the task failed"))
        return NULL;
    json_t *o = openai_error((char *)text.ptr, "server_error", NULL, "task_failed");
    buf_deinit(&text);
    return o;
}

/* ---- pieces of JSON ---- */

enum err openai_write_kind(struct buf *out, const struct gen_request *r, const char *format,
                           struct errmsg *em)
{
    return buf_printf(out, em,
                      "\"size\":\"%ux%u\",\"quality\":\"high\",\"background\":\"opaque\","
                      "\"output_format\":\"%s\"",
                      r->width_px, r->height_px, format);
}

enum err openai_write_usage(struct buf *out, const struct gen_request *r, size_t n,
                            struct errmsg *em)
{
    double tokens_per_mp = MEGAPIXEL_PIXELS / (TOKEN_SIDE_PX * TOKEN_SIDE_PX);
    int64_t text = (int64_t)(strlen(r->prompt) + CHARS_PER_TOKEN - 1) / CHARS_PER_TOKEN;
    int64_t in = (int64_t)ceil(r->references_mp * tokens_per_mp);
    int64_t out_tokens =
        (int64_t)(n * ceil(r->width_px / TOKEN_SIDE_PX) * ceil(r->height_px / TOKEN_SIDE_PX));
    return buf_printf(out, em,
                      "\"usage\":{\"input_tokens\":%" PRId64 ",\"input_tokens_details\":"
                      "{\"image_tokens\":%" PRId64 ",\"text_tokens\":%" PRId64
                      "},\"output_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 "}",
                      text + in, in, text, out_tokens, text + in + out_tokens);
}

enum err openai_write_picture(struct buf *out, struct api *a, const struct task *t,
                              struct errmsg *em)
{
    struct buf picture = {0};
    enum err rc = blob_read(a, t->result, &picture, em);
    if (!rc)
        rc = buf_reserve(out, picture.len / 3 * 4 + 64, em);
    if (!rc)
        rc = buf_printf(out, em, "\"b64_json\":\"");
    if (!rc)
        rc = base64_encode(picture.ptr, picture.len, out, em);
    buf_deinit(&picture);
    return rc ? rc : buf_append(out, "\"", 1, em);
}

static enum err write_string(struct buf *out, const char *name, const char *value,
                             struct errmsg *em)
{
    json_t *string = json_string(value);
    char *text = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    enum err rc = text ? buf_printf(out, em, "\"%s\":%s", name, text) : err_nomem(em, 1);
    free(text);
    json_decref(string);
    return rc;
}

static enum err write_url(struct request *q, struct buf *out, const struct task *t,
                          struct errmsg *em)
{
    char *base = base_url(q->api, q->http);
    char *url = base ? result_url(q->api, t, base) : NULL;
    enum err rc = url ? write_string(out, "url", url, em) : err_nomem(em, 1);
    free(url);
    free(base);
    return rc;
}

/* One of "data"; task_id and seed are more than its clients know. */
static enum err write_item(struct request *q, struct buf *out, const struct task *t,
                           struct errmsg *em)
{
    const struct openai *o = q->own;
    enum err rc =
        buf_printf(out, em, "{\"task_id\":\"%s\",\"seed\":%" PRId64 ",", t->id, t->request.seed);
    if (!rc)
        rc = o->urls ? write_url(q, out, t, em) : openai_write_picture(out, q->api, t, em);
    if (!rc && t->enhanced_prompt) {
        rc = buf_append(out, ",", 1, em);
        if (!rc)
            rc = write_string(out, "revised_prompt", t->enhanced_prompt, em);
    }
    return rc ? rc : buf_append(out, "}", 1, em);
}

static enum err write_answer(struct request *q, const struct submission *s, struct buf *out,
                             struct errmsg *em)
{
    const struct task *first = &s->tasks[0];
    enum err rc =
        buf_printf(out, em, "{\"created\":%" PRId64 ",\"data\":[", first->created_ms / 1000);
    for (size_t i = 0; i < s->n_stored && !rc; i++) {
        if (i > 0)
            rc = buf_append(out, ",", 1, em);
        if (!rc)
            rc = write_item(q, out, &s->tasks[i], em);
    }
    if (!rc)
        rc = buf_append(out, "],", 2, em);
    if (!rc)
        rc = openai_write_kind(out, &first->request, first->request.format, em);
    if (!rc)
        rc = buf_append(out, ",", 1, em);
    if (!rc)
        rc = openai_write_usage(out, &first->request, s->n_stored, em);
    return rc ? rc : buf_append(out, "}", 1, em);
}

/* ---- replies ---- */

static void reply_pictures(struct request *q, const struct submission *s)
{
    struct buf out = {0};
    struct errmsg em;
    enum err rc = write_answer(q, s, &out, &em);
    if (rc)
        reply_failure(q, FAIL_INTERNAL, "%s", em.text);
    else
        http_reply(q->http, 200, "application/json", out.ptr, out.len);
    buf_deinit(&out);
}

/* The reason is the caller's to see, and to draw the same again would end alike. */
static void reply_task_error(struct request *q, const struct task *t)
{
    json_t *o = json_pack("{s:o}", "error", openai_task_error(t));
    char *text = o ? json_text(o) : NULL;
    http_add_header(q->http, "X-Should-Retry", "false");
    if (text)
        http_reply(q->http, 500, "application/json", text, strlen(text));
    else
        reply_failure(q, FAIL_INTERNAL, "out of memory");
    free(text);
    json_decref(o);
}

void openai_watch(struct request *q, const struct submission *s)
{
    for (size_t i = 0; i < s->n_stored; i++)
        watch_begin(q, s->tasks[i].id);
}

static void wait_and_answer(struct request *q, struct submission *s)
{
    struct errmsg em;
    openai_watch(q, s);
    enum err rc = openai_refresh(q, s, &em);
    const struct task *failed = openai_failed(s);
    if (rc)
        reply_err(q, rc, &em);
    else if (failed)
        reply_task_error(q, failed);
    else if (all_completed(s))
        reply_pictures(q, s);
    else if (http_stopping(q->http))
        reply_failure(q, FAIL_BUSY, "The server is about to stop; the task %s goes on without you.",
                      s->tasks[0].id);
    else
        watch_park(q);
}

void openai_answer(struct request *q, struct submission *s)
{
    const struct openai *o = q->own;
    if (o->stream)
        openai_stream(q, s);
    else
        wait_and_answer(q, s);
}

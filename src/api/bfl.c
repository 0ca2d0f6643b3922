/* SPDX-License-Identifier: MIT */
/* The dialect of Black Forest Labs: POST /v1/flux-2-…, then GET /v1/get_result?id= until it is
 * Ready. Faults have FastAPI's shape; every failure also has `message`, which is what its
 * official client shows, besides `detail`, which others do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/api_impl.h"
#include "api/sizes.h"
#include "base/base64.h"

#define N_INPUT_IMAGES 8u
#define SECRET_BYTES_MAX 256u
#define SAFETY_TOLERANCE_MAX 6
#define RATIO_CHARS_MAX 16u

/* The last two are no pictures that a FLUX.2 model takes: they are refused by name, however
 * large. */
static const char *const picture_fields[] = {
    "input_image",
    "input_image_2",
    "input_image_3",
    "input_image_4",
    "input_image_5",
    "input_image_6",
    "input_image_7",
    "input_image_8",
    "image_prompt",
    "mask",
    NULL,
};
static const char *const too_many_fields[] = {"input_image_9", "input_image_10"};
static const char *const formats[] = {"jpeg", "png", "webp", NULL};

/* ---- request in ---- */

/* Texts of URLs, without the escapes that they had in the body. */
struct urls {
    json_t *texts;
};

static void urls_free(void *own)
{
    struct urls *u = own;
    json_decref(u->texts);
    free(u);
}

static bool is_url(const struct picture_source *p)
{
    return (p->len > 5 && strncasecmp(p->ptr, "http:", 5) == 0) ||
           (p->len > 6 && strncasecmp(p->ptr, "https:", 6) == 0);
}

static enum err keep_url(struct urls *u, struct picture_source *p, struct errmsg *em)
{
    /* with the quotes around it: a JSON text */
    json_t *text = json_loadb(p->ptr - 1, p->len + 2, JSON_DECODE_ANY, NULL);
    if (!text || json_array_append_new(u->texts, text))
        return err_set(em, ERR_FORMAT, "The body is not valid JSON: %s is no string.", p->field);
    p->kind = PICTURE_URL;
    p->ptr = json_string_value(text);
    p->len = json_string_length(text);
    return ERR_OK;
}

static enum err keep_urls(struct request *q, struct submission *s, struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (size_t i = 0; i < s->n_pictures && !rc; i++) {
        if (!is_url(&s->pictures[i]))
            continue;
        if (!q->own) {
            struct urls *u = calloc(1, sizeof *u);
            if (!u || !(u->texts = json_array())) {
                free(u);
                return err_nomem(em, sizeof *u);
            }
            q->own = u;
            q->own_free = urls_free;
        }
        rc = keep_url(q->own, &s->pictures[i], em);
    }
    return rc;
}

static bool is_given(const struct fields *f, const char *name)
{
    const json_t *v = json_object_get(f->root, name);
    return v && !json_is_null(v);
}

static void read_pictures(struct submission *s, struct fields *f, const struct body *b)
{
    size_t i = 0;
    for (; i < N_INPUT_IMAGES; i++)
        submit_picture(s, f, b, picture_fields[i]);
    for (; picture_fields[i]; i++, f->rank++)
        if (is_given(f, picture_fields[i]))
            field_fault(f, picture_fields[i],
                        "is not for FLUX.2 models: send the picture as input_image");
    for (i = 0; i < sizeof too_many_fields / sizeof too_many_fields[0]; i++, f->rank++)
        if (is_given(f, too_many_fields[i]))
            field_fault(f, too_many_fields[i], "is one too many: at most %u pictures are taken",
                        N_INPUT_IMAGES);
}

/* 0: to be settled. */
static unsigned read_side(struct fields *f, const char *name)
{
    int64_t side = 0;
    field_integer_or_zero(f, name, LIMIT_SIDE_MIN_PX, LIMIT_SIDE_MAX_PX, &side);
    return (unsigned)side;
}

static void read_size(struct gen_request *r, struct fields *f)
{
    unsigned width = 0, height = 0;
    r->width_px = read_side(f, "width");
    r->height_px = read_side(f, "height");
    const char *ratio = field_string(f, "aspect_ratio", 0, RATIO_CHARS_MAX);
    if (ratio && !size_of_ratio(ratio, &width, &height))
        faults_add(f->faults, f->rank - 1, "aspect_ratio",
                   "must be two whole numbers with a colon, such as 16:9");
    if (r->width_px == 0 && r->height_px == 0) {
        r->width_px = width;
        r->height_px = height;
    }
}

static bool secret_valid(const char *secret)
{
    static const char prefix[] = "whsec_";
    size_t len = strlen(secret), n = sizeof prefix - 1;
    uint8_t bytes[SECRET_BYTES_MAX];
    struct base64_decoder d = {0};
    if (len == 0 || len > SECRET_BYTES_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (secret[i] < ' ' || secret[i] > '~')
            return false;
    if (strncmp(secret, prefix, n) != 0)
        return true;
    return base64_decode(&d, secret + n, len - n, bytes, &len, NULL) == ERR_OK &&
           base64_decode_end(&d, NULL) == ERR_OK && len >= 24 && len <= 64;
}

static enum err read_webhook(struct submission *s, struct fields *f, struct errmsg *em)
{
    s->webhook_rank = f->rank;
    const char *url = field_string(f, "webhook_url", 0, API_URL_BYTES_MAX);
    const char *secret = field_string(f, "webhook_secret", 0, SECRET_BYTES_MAX);
    if (secret && !secret_valid(secret))
        faults_add(f->faults, f->rank - 1, "webhook_secret",
                   "must be 1 to %u ASCII characters, or whsec_ and the base64 of 24 to 64 bytes",
                   SECRET_BYTES_MAX);
    enum err rc = field_keep(&s->request.webhook_url, url, em);
    return rc ? rc : field_keep(&s->request.webhook_secret, secret, em);
}

static enum err read_fields(struct request *q, struct submission *s, const struct body *b,
                            struct errmsg *em)
{
    struct gen_request *r = &s->request;
    struct fields f = {.root = b->root, .faults = &q->faults};
    int64_t ignored;
    const char *prompt =
        field_string(&f, "prompt", FIELD_REQUIRED | FIELD_NOT_BLANK, API_PROMPT_CHARS_MAX);
    read_pictures(s, &f, b);
    field_integer(&f, "seed", 0, UINT32_MAX, -1, &r->seed);
    read_size(r, &f);
    field_integer(&f, "safety_tolerance", 0, SAFETY_TOLERANCE_MAX, 0, &ignored);
    int format = field_choice(&f, "output_format", formats);
    unsigned enhance_rank = f.rank;
    field_boolean(&f, "prompt_upsampling", false, &r->enhance);
    submit_check_model(q, s, "prompt_upsampling", enhance_rank);
    enum err rc = read_webhook(s, &f, em);
    if (!rc)
        rc = field_keep(&r->prompt, prompt, em);
    if (!rc)
        rc = field_keep(&r->format, formats[format > 0 ? format : 0], em);
    if (!rc)
        rc = field_keep(&r->model, q->route->arg, em);
    return rc;
}

static enum err read_request(struct request *q, struct submission *s, struct errmsg *em)
{
    struct http_body text = http_request_body(q->http);
    struct body b;
    enum err rc = body_parse(text.ptr, text.len, picture_fields, &b, em);
    if (rc)
        return rc;
    rc = read_fields(q, s, &b, em);
    if (!rc)
        rc = keep_urls(q, s, em);
    body_deinit(&b);
    return rc;
}

static void resolve_size(struct request *q, struct submission *s)
{
    (void)q;
    unsigned width = SIZE_DEFAULT_PX, height = SIZE_DEFAULT_PX;
    if (s->n_pictures > 0)
        size_of_reference(s->pictures[0].width_px, s->pictures[0].height_px, &width, &height);
    if (s->request.width_px == 0)
        s->request.width_px = width;
    if (s->request.height_px == 0)
        s->request.height_px = height;
}

/* ---- reply out ---- */

static void answer_submitted(struct request *q, struct submission *s)
{
    const struct task *t = &s->tasks[0];
    char *base = base_url(q->api, q->http);
    double output_mp = (double)t->request.width_px * t->request.height_px / MEGAPIXEL_PIXELS;
    json_t *o = NULL;
    if (base)
        o = json_pack("{s:s, s:o, s:o, s:f, s:f}", "id", t->id, "polling_url",
                      json_sprintf("%s/v1/get_result?id=%s", base, t->id), "cost",
                      json_credits(t->cost_microcredits), "input_mp", t->request.references_mp,
                      "output_mp", output_mp);
    free(base);
    reply_ok(q, o);
}

static const char *status_name(enum task_state state, const struct task *t)
{
    if (state == TASK_COMPLETED)
        return t->result ? "Ready" : "Error";
    return state == TASK_FAILED ? "Error" : "Pending";
}

static const char *error_text(enum task_state state, const struct task *t)
{
    if (state == TASK_COMPLETED && !t->result)
        return "the picture is gone: pictures are kept for a limited time";
    if (state != TASK_FAILED)
        return NULL;
    return t->error ? t->error : "the task failed";
}

/* Null unless the picture is there. */
static json_t *sample_json(struct api *a, const struct task *t, enum task_state state,
                           const char *base)
{
    if (state != TASK_COMPLETED || !t->result)
        return json_null();
    char *url = result_url(a, t, base);
    const char *prompt = t->enhanced_prompt ? t->enhanced_prompt : t->request.prompt;
    json_t *o = NULL;
    if (url)
        o = json_pack("{s:s, s:s, s:I, s:f, s:f, s:f}", "sample", url, "prompt", prompt, "seed",
                      (json_int_t)t->request.seed, "start_time", (double)t->started_ms / 1e3,
                      "end_time", (double)t->finished_ms / 1e3, "duration",
                      (double)(t->finished_ms - t->started_ms) / 1e3);
    free(url);
    return o;
}

static json_t *state_json(struct api *a, const struct task *t, enum task_state state,
                          double progress, const char *base)
{
    const char *error = error_text(state, t);
    return json_pack("{s:s, s:s, s:o, s:f, s:o, s:s?}", "id", t->id, "status",
                     status_name(state, t), "result", sample_json(a, t, state, base), "progress",
                     progress, "details", error ? json_pack("{s:s}", "error", error) : json_null(),
                     "error", error);
}

static json_t *webhook_json(struct api *a, const struct task *t, enum task_state state,
                            const char *base)
{
    json_t *o = state_json(a, t, state, state == TASK_COMPLETED, base);
    if (o)
        json_object_set_new(o, "task_id", json_string(t->id));
    return o;
}

static void submit_handle(struct request *q)
{
    static const struct submit_ops ops = {read_request, resolve_size, answer_submitted};
    submit(q, &ops);
}

static void get_result_handle(struct request *q)
{
    struct errmsg em;
    struct task t;
    const char *id = http_query(q->http, "id");
    if (!id) {
        faults_add(&q->faults, 0, "id", "is required");
        reply_failure(q, FAIL_PARAMS, NULL);
        return;
    }
    enum err rc = store_task_get(q->api->o.store, id, q->key.id, &t, &em);
    if (rc) {
        reply_err(q, rc, &em);
        return;
    }
    char *base = base_url(q->api, q->http);
    reply_ok(q, base ? state_json(q->api, &t, t.state, t.progress, base) : NULL);
    free(base);
    task_deinit(&t);
}

/* Of the store, not of the request's key, which is found in a cache. */
static void credits_handle(struct request *q)
{
    struct errmsg em;
    struct api_key now;
    enum err rc = store_key_get(q->api->o.store, q->key.id, &now, &em);
    if (rc) {
        reply_err(q, rc, &em);
        return;
    }
    int64_t left = now.credits_micro;
    api_key_deinit(&now);
    reply_ok(q, json_pack("{s:o}", "credits", left < 0 ? json_null() : json_credits(left)));
}

/* ---- failures ---- */

static json_t *detail_item(const char *where, const char *field, const char *reason,
                           const char *type)
{
    json_t *loc = field ? json_pack("[s, s]", where, field) : json_pack("[s]", where);
    return json_pack("{s:o, s:s, s:s}", "loc", loc, "msg", reason, "type", type);
}

static json_t *faults_json(const struct request *q)
{
    const char *where = strcmp(http_method(q->http), "POST") == 0 ? "body" : "query";
    json_t *list = json_array();
    for (size_t i = 0; i < q->faults.n; i++) {
        const struct fault *f = &q->faults.items[i];
        bool missing = strcmp(f->reason, "is required") == 0;
        bool header = strcmp(f->field, "Idempotency-Key") == 0;
        json_array_append_new(list, detail_item(header ? "header" : where, f->field, f->reason,
                                                missing ? "missing" : "value_error"));
    }
    return list;
}

/* "width: must be …; prompt: is required": the official client shows nothing but the message. */
static json_t *faults_message(const struct request *q)
{
    struct buf text = {0};
    for (size_t i = 0; i < q->faults.n; i++)
        if (buf_printf(&text, NULL, "%s%s: %s", i ? "; " : "", q->faults.items[i].field,
                       q->faults.items[i].reason))
            break;
    json_t *o = text.ptr ? json_string((char *)text.ptr) : NULL;
    buf_deinit(&text);
    return o;
}

static json_t *bfl_failure(const struct request *q, enum failure kind, const char *message)
{
    if (kind == FAIL_PARAMS)
        return json_pack("{s:o, s:o}", "detail", faults_json(q), "message", faults_message(q));
    if (kind == FAIL_BODY)
        return json_pack("{s:[o], s:s}", "detail",
                         detail_item("body", NULL, message, "json_invalid"), "message", message);
    json_t *o = json_pack("{s:s, s:s}", "detail", message, "message", message);
    const char *id = http_query(q->http, "id");
    if (o && kind == FAIL_NO_TASK && id) {
        json_object_set_new(o, "id", json_string(id));
        json_object_set_new(o, "status", json_string("Task not found"));
        json_object_set_new(o, "result", json_null());
    }
    return o;
}

static const char *const key_headers[] = {"x-key", NULL};

const struct dialect dialect_bfl = {
    .id = DIALECT_BFL,
    .key_headers = key_headers,
    .status = {[FAIL_PARAMS] = 422, [FAIL_BODY] = 422, [FAIL_NO_KEY] = 403, [FAIL_BAD_KEY] = 403},
    .failure = bfl_failure,
    .webhook = webhook_json,
};

/* ---- routes ---- */

#define MODEL(name)                                                                                \
    {                                                                                              \
        "POST", "/v1/" name, &dialect_bfl, ROUTE_KEY | ROUTE_SUBMITS | ROUTE_JSON, submit_handle,  \
            name                                                                                   \
    }

/* The older names are those that the official client knows and that take no more than a prompt,
 * a size and pictures. */
static const struct route items[] = {
    MODEL("flux-2-pro"),
    MODEL("flux-2-pro-preview"),
    MODEL("flux-2-max"),
    MODEL("flux-2-flex"),
    MODEL("flux-2-dev"),
    MODEL("flux-2-klein-4b"),
    MODEL("flux-2-klein-9b"),
    MODEL("flux-2-klein-9b-preview"),
    MODEL("flux-dev"),
    MODEL("flux-pro"),
    MODEL("flux-pro-1.1"),
    MODEL("flux-pro-1.1-ultra"),
    MODEL("flux-kontext-pro"),
    MODEL("flux-kontext-max"),
    {"GET", "/v1/get_result", &dialect_bfl, ROUTE_KEY, get_result_handle, NULL},
    {"GET", "/v1/credits", &dialect_bfl, ROUTE_KEY, credits_handle, NULL},
};
const struct route_list bfl_routes = {items, sizeof items / sizeof items[0]};

/* SPDX-License-Identifier: MIT */
/* The first dialect: /v1/ai/text-to-image/flux-2-pro and its sibling flux-2-klein. They differ in
 * how the size is asked for: pro takes width and height; klein an aspect ratio and a resolution,
 * or width and height, too. */
#include <stdlib.h>
#include <string.h>

#include "api/core_impl.h"
#include "crypto/crypto.h"

#define PRO "/v1/ai/text-to-image/flux-2-pro"
#define KLEIN "/v1/ai/text-to-image/flux-2-klein"
#define WIDTH_DEFAULT_PX 1024
#define HEIGHT_DEFAULT_PX 768
#define SIDE_STEP_PX 16u
#define LIST_DEFAULT 50
#define LIST_MAX 200

static const char *const key_headers[] = {"x-magnific-api-key", "x-freepik-api-key", NULL};
static const char *const picture_fields[] = {"input_image", "input_image_2", "input_image_3",
                                             "input_image_4", NULL};

const struct dialect dialect_magnific = {
    .id = DIALECT_MAGNIFIC,
    .key_headers = key_headers,
    .failure = failure_plain,
    .webhook = magnific_webhook,
};

/* ---- answers ---- */

static json_t *generated_json(const struct api *a, const struct task *t, const char *base)
{
    json_t *list = json_array();
    char *url = result_url(a, t, base);
    if (url)
        json_array_append_new(list, json_string(url));
    free(url);
    return list;
}

static json_t *brief_json(const struct task *t, enum task_state state)
{
    return json_pack("{s:s, s:s}", "task_id", t->id, "status", task_state_name(state));
}

/* What is settled when the task reaches `state` and never changes after. */
static json_t *settled_json(const struct api *a, const struct task *t, enum task_state state,
                            const char *base)
{
    const struct gen_request *r = &t->request;
    json_t *o = brief_json(t, state);
    json_object_set_new(o, "generated",
                        state == TASK_COMPLETED ? generated_json(a, t, base) : json_array());
    json_object_set_new(o, "seed", json_integer(r->seed));
    json_object_set_new(o, "width", json_integer(r->width_px));
    json_object_set_new(o, "height", json_integer(r->height_px));
    if (state == TASK_COMPLETED && t->enhanced_prompt)
        json_object_set_new(o, "prompt", json_string(t->enhanced_prompt));
    json_object_set_new(o, "cost", json_credits(task_charge(t, state)));
    if (state == TASK_FAILED)
        json_object_set_new(o, "error", json_string(t->error ? t->error : "failed"));
    json_object_set_new(o, "created_at", json_time(t->created_ms));
    if (state == TASK_COMPLETED || state == TASK_FAILED)
        json_object_set_new(o, "finished_at", json_time(t->finished_ms));
    return o;
}

json_t *magnific_webhook(struct api *a, const struct task *t, enum task_state state,
                         const char *base)
{
    return settled_json(a, t, state, base);
}

static json_t *task_json(const struct api *a, const struct task *t, const char *base)
{
    json_t *o = settled_json(a, t, t->state, base);
    double progress = t->state == TASK_COMPLETED ? 1 : t->progress;
    json_object_set_new(o, "progress", json_real(progress));
    if (t->state == TASK_CREATED)
        json_object_set_new(o, "queue_position", json_integer(t->queue_position));
    if (t->started_ms)
        json_object_set_new(o, "started_at", json_time(t->started_ms));
    return o;
}

static void reply_task(struct request *q, const struct task *t)
{
    char *base = base_url(q->api, q->http);
    reply_ok(q, base ? json_pack("{s:o}", "data", task_json(q->api, t, base)) : NULL);
    free(base);
}

/* ---- POST ---- */

static void read_sides(struct fields *f, struct gen_request *r, int64_t width_px, int64_t height_px)
{
    field_integer(f, "width", LIMIT_OFFERED_SIDE_MIN_PX, LIMIT_SIDE_MAX_PX, width_px, &width_px);
    field_integer(f, "height", LIMIT_OFFERED_SIDE_MIN_PX, LIMIT_SIDE_MAX_PX, height_px, &height_px);
    r->width_px = (unsigned)width_px;
    r->height_px = (unsigned)height_px;
}

/* The hosted API's sizes at 1k. At 2k it doubles them; here the longer side ends at 1440, the
 * bound of all sizes, and the shorter keeps the ratio, to the nearest multiple of 16. */
static void klein_size(int aspect, int resolution, int64_t *width_px, int64_t *height_px)
{
    static const unsigned sizes[][2] = {
        {1024, 1024}, {1280, 960}, {960, 1280}, {1344, 768}, {768, 1344},
        {1216, 832},  {832, 1216}, {1408, 704}, {704, 1408}, {896, 1152},
    };
    const unsigned *size = sizes[aspect < 0 ? 0 : aspect];
    unsigned longer = size[0] > size[1] ? size[0] : size[1];
    *width_px = size[0];
    *height_px = size[1];
    if (resolution != 1)
        return;
    for (int i = 0; i < 2; i++) {
        unsigned px = size[i] * LIMIT_SIDE_MAX_PX / longer;
        *(i ? height_px : width_px) = (px + SIDE_STEP_PX / 2) / SIDE_STEP_PX * SIDE_STEP_PX;
    }
}

static void read_klein_size(struct fields *f, struct gen_request *r)
{
    static const char *const aspects[] = {"square_1_1",
                                          "classic_4_3",
                                          "traditional_3_4",
                                          "widescreen_16_9",
                                          "social_story_9_16",
                                          "standard_3_2",
                                          "portrait_2_3",
                                          "horizontal_2_1",
                                          "vertical_1_2",
                                          "social_post_4_5",
                                          NULL};
    static const char *const resolutions[] = {"1k", "2k", NULL};
    int64_t width_px, height_px;
    int aspect = field_choice(f, "aspect_ratio", aspects);
    int resolution = field_choice(f, "resolution", resolutions);
    klein_size(aspect, resolution, &width_px, &height_px);
    read_sides(f, r, width_px, height_px);
}

static enum err read_klein_rest(struct fields *f, struct gen_request *r, struct errmsg *em)
{
    static const char *const formats[] = {"png", "jpeg", "webp", NULL};
    int64_t tolerance;
    int format = field_choice(f, "output_format", formats);
    field_integer(f, "safety_tolerance", 0, 5, 2, &tolerance);
    return format >= 0 ? field_keep(&r->format, formats[format], em) : ERR_OK;
}

static enum err read_fields(struct request *q, struct submission *s, struct fields *f,
                            const struct body *b, struct errmsg *em)
{
    struct gen_request *r = &s->request;
    bool klein = strcmp(q->route->arg, "flux-2-klein") == 0;
    f->null_is_wrong = true;
    const char *prompt =
        field_string(f, "prompt", FIELD_REQUIRED | FIELD_NOT_BLANK, API_PROMPT_CHARS_MAX);
    if (klein)
        read_klein_size(f, r);
    else
        read_sides(f, r, WIDTH_DEFAULT_PX, HEIGHT_DEFAULT_PX);
    f->null_is_wrong = false;
    field_integer(f, "seed", 0, UINT32_MAX, -1, &r->seed);
    f->null_is_wrong = true;
    unsigned enhance_rank = f->rank;
    field_boolean(f, "prompt_upsampling", false, &r->enhance);
    for (const char *const *name = picture_fields; *name; name++)
        submit_picture(s, f, b, *name);
    s->webhook_rank = f->rank;
    const char *webhook_url = field_string(f, "webhook_url", 0, API_URL_BYTES_MAX);
    enum err rc = klein ? read_klein_rest(f, r, em) : ERR_OK;
    submit_check_model(q, s, "prompt_upsampling", enhance_rank);
    if (!rc)
        rc = field_keep(&r->prompt, prompt, em);
    if (!rc)
        rc = field_keep(&r->webhook_url, webhook_url, em);
    return rc ? rc : field_keep(&r->model, q->route->arg, em);
}

static enum err read_body(struct request *q, struct submission *s, struct errmsg *em)
{
    struct http_body in = http_request_body(q->http);
    struct body b = {0};
    enum err rc = body_parse(in.ptr, in.len, picture_fields, &b, em);
    if (rc)
        return rc;
    struct fields f = {.root = b.root, .faults = &q->faults};
    rc = read_fields(q, s, &f, &b, em);
    body_deinit(&b);
    return rc;
}

/* The reference shows the bare pair, live clients read `data`: both are there. */
static void answer(struct request *q, struct submission *s)
{
    const struct task *t = &s->tasks[0];
    char *base = base_url(q->api, q->http);
    json_t *data = base ? brief_json(t, t->state) : NULL;
    free(base);
    json_object_set_new(data, "generated", json_array());
    reply_ok(q, json_pack("{s:o, s:s, s:s}", "data", data, "task_id", t->id, "status",
                          task_state_name(t->state)));
}

static void handle_post(struct request *q)
{
    static const struct submit_ops ops = {.read = read_body, .answer = answer};
    submit(q, &ops);
}

/* ---- GET, DELETE ---- */

/* Answers failures itself. */
static bool get_task(struct request *q, struct task *t)
{
    struct errmsg em;
    enum err rc = store_task_get(q->api->o.store, q->args[0], q->key.id, t, &em);
    if (!rc && t->request.model && strcmp(t->request.model, q->route->arg) != 0) {
        task_deinit(t);
        rc = ERR_NOTFOUND;
    }
    if (rc)
        reply_err(q, rc, &em);
    return rc == ERR_OK;
}

static void handle_get(struct request *q)
{
    struct task t;
    if (!get_task(q, &t))
        return;
    reply_task(q, &t);
    task_deinit(&t);
}

static void handle_delete(struct request *q)
{
    struct task t, now;
    struct errmsg em;
    if (!get_task(q, &t))
        return;
    enum err rc = store_task_cancel(q->api->o.store, t.id, q->key.id, &now, &em);
    task_deinit(&t);
    if (rc) {
        reply_err(q, rc, &em);
        return;
    }
    reply_task(q, &now);
    if (now.request.webhook_url)
        q->api->o.webhook_owed(q->api->o.ctx);
    task_deinit(&now);
}

static void add_brief(void *ctx, const struct task *t)
{
    json_array_append_new(ctx, brief_json(t, t->state));
}

static void handle_list(struct request *q)
{
    struct errmsg em;
    int64_t limit = LIST_DEFAULT;
    struct task_query query = {.key_id = q->key.id, .model = q->route->arg, .state = -1};
    query_integer(q, "limit", 1, LIST_MAX, &limit);
    query.limit = (size_t)limit;
    query.after = http_query(q->http, "after");
    json_t *list = json_array();
    enum err rc =
        q->faults.n ? ERR_OK : store_task_list(q->api->o.store, &query, add_brief, list, &em);
    if (rc == ERR_NOTFOUND)
        faults_add(&q->faults, 1, "after", "must be the task_id of one of your tasks");
    if (rc && rc != ERR_NOTFOUND)
        reply_err(q, rc, &em);
    else if (q->faults.n)
        reply_failure(q, FAIL_PARAMS, NULL);
    else
        reply_ok(q, json_pack("{s:O}", "data", list));
    json_decref(list);
}

#define POST_FLAGS (ROUTE_KEY | ROUTE_SUBMITS | ROUTE_JSON)
static const struct route items[] = {
    {"POST", PRO, &dialect_magnific, POST_FLAGS, handle_post, "flux-2-pro"},
    {"GET", PRO, &dialect_magnific, ROUTE_KEY, handle_list, "flux-2-pro"},
    {"GET", PRO "/{task-id}", &dialect_magnific, ROUTE_KEY, handle_get, "flux-2-pro"},
    {"DELETE", PRO "/{task-id}", &dialect_magnific, ROUTE_KEY, handle_delete, "flux-2-pro"},
    {"POST", KLEIN, &dialect_magnific, POST_FLAGS, handle_post, "flux-2-klein"},
    {"GET", KLEIN, &dialect_magnific, ROUTE_KEY, handle_list, "flux-2-klein"},
    {"GET", KLEIN "/{task-id}", &dialect_magnific, ROUTE_KEY, handle_get, "flux-2-klein"},
    {"DELETE", KLEIN "/{task-id}", &dialect_magnific, ROUTE_KEY, handle_delete, "flux-2-klein"},
};
const struct route_list magnific_routes = {items, sizeof items / sizeof items[0]};

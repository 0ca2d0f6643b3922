/* SPDX-License-Identifier: MIT */
/* The dialect of OpenAI's images: failures, models, routes. Its official clients retry 409, 429
 * and 5xx by themselves unless X-Should-Retry forbids it: it does where a retry cannot help. */
#include <string.h>

#include "api/core_impl.h"
#include "api/openai_impl.h"

/* ---- failures ---- */

static const struct {
    const char *type, *code;
    bool no_retry;
} kinds[FAIL_N] = {
    [FAIL_PARAMS] = {"invalid_request_error", "invalid_value", false},
    [FAIL_BODY] = {"invalid_request_error", NULL, false},
    [FAIL_NO_KEY] = {"invalid_request_error", "invalid_api_key", false},
    [FAIL_BAD_KEY] = {"invalid_request_error", "invalid_api_key", false},
    [FAIL_CREDITS] = {"insufficient_quota", "insufficient_quota", true},
    [FAIL_NO_ROUTE] = {"invalid_request_error", "unknown_url", false},
    [FAIL_NO_TASK] = {"invalid_request_error", "model_not_found", false},
    [FAIL_METHOD] = {"invalid_request_error", "method_not_allowed", false},
    [FAIL_CONFLICT] = {"invalid_request_error", "idempotency_key_reused", true},
    [FAIL_TOO_LARGE] = {"invalid_request_error", "request_too_large", false},
    [FAIL_MEDIA_TYPE] = {"invalid_request_error", "unsupported_media_type", false},
    [FAIL_RATE] = {"requests", "rate_limit_exceeded", false},
    [FAIL_BUSY] = {"server_error", "server_busy", false},
    [FAIL_FULL] = {"server_error", "disk_full", false},
    [FAIL_INTERNAL] = {"server_error", "server_error", false},
};

json_t *openai_error(const char *message, const char *type, const char *param, const char *code)
{
    return json_pack("{s:s, s:s, s:s?, s:s?}", "message", message, "type", type, "param", param,
                     "code", code);
}

/* "width: must be …; prompt: is required". */
static json_t *faults_error(const struct request *q, const char *message)
{
    struct buf text = {0};
    bool missing = q->faults.n > 0 && strcmp(q->faults.items[0].reason, "is required") == 0;
    for (size_t i = 0; i < q->faults.n; i++)
        if (buf_printf(&text, NULL, "%s%s: %s", i ? "; " : "", q->faults.items[i].field,
                       q->faults.items[i].reason))
            break;
    json_t *o = openai_error(text.ptr ? (char *)text.ptr : message, kinds[FAIL_PARAMS].type,
                             q->faults.n ? q->faults.items[0].field : NULL,
                             missing ? "missing_required_parameter" : kinds[FAIL_PARAMS].code);
    buf_deinit(&text);
    return o;
}

static json_t *openai_failure(const struct request *q, enum failure kind, const char *message)
{
    if (kinds[kind].no_retry)
        http_add_header(q->http, "X-Should-Retry", "false");
    const char *type = kinds[kind].type ? kinds[kind].type : "invalid_request_error";
    json_t *error = kind == FAIL_PARAMS ? faults_error(q, message)
                                        : openai_error(message, type, NULL, kinds[kind].code);
    return json_pack("{s:o}", "error", error);
}

static const char *const key_headers[] = {"authorization", NULL};

const struct dialect dialect_openai = {
    .id = DIALECT_OPENAI,
    .key_headers = key_headers,
    /* its clients know no 402: what they catch is RateLimitError, with the code that says why */
    .status = {[FAIL_CREDITS] = 429},
    .failure = openai_failure,
    .webhook = magnific_webhook, /* no request of this dialect names one */
};

/* ---- models ---- */

static json_t *model_json(const struct api *a)
{
    /* when it was made is not known */
    return json_pack("{s:s, s:s, s:i, s:s}", "id", a->o.model, "object", "model", "created", 0,
                     "owned_by", "easel");
}

static void models_handle(struct request *q)
{
    reply_ok(q, json_pack("{s:s, s:[o]}", "object", "list", "data", model_json(q->api)));
}

static void model_handle(struct request *q)
{
    if (strcmp(q->args[0], q->api->o.model) == 0)
        reply_ok(q, model_json(q->api));
    else
        reply_failure(q, FAIL_NO_TASK,
                      "There is no model of this name here. /v1/models lists all; "
                      "pictures can be asked for under any name.");
}

/* ---- pictures ---- */

static void generations_handle(struct request *q)
{
    static const struct submit_ops ops = {openai_read_json, openai_resolve, openai_answer};
    submit(q, &ops);
}

static void edits_handle(struct request *q)
{
    static const struct submit_ops ops = {openai_read_form, openai_resolve, openai_answer};
    submit(q, &ops);
}

#define HERE &dialect_openai
static const struct route items[] = {
    {"POST", "/v1/images/generations", HERE, ROUTE_KEY | ROUTE_SUBMITS | ROUTE_JSON,
     generations_handle, NULL},
    {"POST", "/v1/images/edits", HERE, ROUTE_KEY | ROUTE_SUBMITS | ROUTE_MULTIPART, edits_handle,
     NULL},
    {"GET", "/v1/models", HERE, ROUTE_KEY, models_handle, NULL},
    {"GET", "/v1/models/{model}", HERE, ROUTE_KEY, model_handle, NULL},
};
const struct route_list openai_routes = {items, sizeof items / sizeof items[0]};

/* SPDX-License-Identifier: MIT */
/* Answers: JSON, and the failures that every dialect words in its own way. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/core_impl.h"
#include "base/clock.h"

#define FULL_TOLD_EVERY_S 10

static const struct {
    int status;
    const char *message;
} failures[FAIL_N] = {
    [FAIL_PARAMS] = {400, "Your request parameters didn't validate."},
    [FAIL_BODY] = {400, "The body must be a JSON object."},
    [FAIL_NO_KEY] = {401, "Missing API key"},
    [FAIL_BAD_KEY] = {401, "Invalid API key"},
    [FAIL_CREDITS] = {402, "The API key has too few credits left. Ask the operator for more."},
    [FAIL_NO_ROUTE] = {404, "There is nothing at this path. /openapi.json lists all paths."},
    [FAIL_NO_TASK] = {404, "There is no such task for this API key."},
    [FAIL_METHOD] = {405, "This path does not take this method. The Allow header says which."},
    [FAIL_CONFLICT] = {409, "This Idempotency-Key was used with another body. Use a new one."},
    [FAIL_TOO_LARGE] = {413, "The body is too large. Send at most 128 MiB."},
    [FAIL_MEDIA_TYPE] = {415, "The body must be JSON: send Content-Type: application/json."},
    [FAIL_RATE] = {429, "Too many requests. Retry-After says in how many seconds to try again."},
    [FAIL_BUSY] = {503, "The server is busy. Retry-After says in how many seconds to try again."},
    [FAIL_FULL] = {503, "The server's disk is full, so nothing can be stored now. Retry-After says "
                        "in how many seconds to try again; the operator has to free some space."},
    [FAIL_INTERNAL] = {500, "Something went wrong in the server. Try again; if it stays, tell the "
                            "operator the X-Request-Id of this answer."},
    [FAIL_DENIED] = {403, "The signature of this URL is wrong. Ask for the task again."},
    [FAIL_GONE] = {410, "This URL has expired, and its picture with it."},
    [FAIL_NOT_READY] = {503, "Not ready."},
};

static int fault_compare(const void *a, const void *b)
{
    const struct fault *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

char *json_text(const json_t *value)
{
    return json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
}

json_t *json_time(int64_t ms)
{
    if (ms <= 0)
        return json_null();
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char day[32];
    if (!gmtime_r(&s, &tm) || !strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm))
        return json_null();
    return json_sprintf("%s.%03dZ", day, (int)(ms % 1000));
}

json_t *json_credits(int64_t microcredits)
{
    return json_real((double)microcredits / 1e6);
}

json_t *failure_plain(const struct request *q, enum failure kind, const char *message)
{
    json_t *o = json_pack("{s:s}", "message", message);
    if (!o || kind != FAIL_PARAMS)
        return o;
    json_t *list = json_array();
    for (size_t i = 0; i < q->faults.n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", q->faults.items[i].field,
                                              "reason", q->faults.items[i].reason));
    json_object_set_new(o, "invalid_params", list);
    return o;
}

static void reply_json(struct request *q, int status, json_t *take)
{
    char *text = take ? json_text(take) : NULL;
    json_decref(take);
    if (text)
        http_reply(q->http, status, "application/json", text, strlen(text));
    else
        http_reply(q->http, 500, "application/json", "{\"message\":\"out of memory\"}", 27);
    free(text);
}

void reply_ok(struct request *q, json_t *take)
{
    reply_json(q, 200, take);
}

static void add_failure_headers(struct request *q, enum failure kind)
{
    if (kind == FAIL_BUSY || kind == FAIL_FULL)
        http_add_header(q->http, "Retry-After", kind == FAIL_FULL ? "30" : "5");
    if (kind != FAIL_NO_KEY && kind != FAIL_BAD_KEY)
        return;
    char value[80];
    const char *header = q->dialect->key_headers[0];
    if (strcmp(header, "authorization") == 0)
        snprintf(value, sizeof value, "Bearer");
    else
        snprintf(value, sizeof value, "ApiKey header=\"%s\"", header);
    http_add_header(q->http, "WWW-Authenticate", value);
}

int failure_status(const struct dialect *d, enum failure kind)
{
    return d->status[kind] ? d->status[kind] : failures[kind].status;
}

const char *failure_message(enum failure kind)
{
    return failures[kind].message;
}

/* A full disk fails every request: it is told now and then. */
static void log_failure(struct request *q, enum failure kind, const char *message)
{
    struct api *a = q->api;
    double now_s = clock_now_s();
    if (kind == FAIL_FULL && now_s - atomic_load(&a->full_told_s) < FULL_TOLD_EVERY_S)
        return;
    if (kind == FAIL_FULL)
        atomic_store(&a->full_told_s, now_s);
    api_log(a, "error", "request %s: %s", http_request_id(q->http), message);
}

void reply_failure(struct request *q, enum failure kind, const char *fmt, ...)
{
    char message[600];
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(message, sizeof message, fmt, ap);
        va_end(ap);
    } else {
        snprintf(message, sizeof message, "%s", failures[kind].message);
    }
    if (failure_is_inner(kind)) {
        log_failure(q, kind, message);
        snprintf(message, sizeof message, "%s", failures[kind].message);
    }
    if (q->faults.n > 1)
        qsort(q->faults.items, q->faults.n, sizeof *q->faults.items, fault_compare);
    add_failure_headers(q, kind);
    reply_json(q, failure_status(q->dialect, kind), q->dialect->failure(q, kind, message));
}

enum failure failure_of_err(enum err rc)
{
    switch (rc) {
    case ERR_FORMAT:
        return FAIL_BODY;
    case ERR_NOTFOUND:
        return FAIL_NO_TASK;
    case ERR_CONFLICT:
        return FAIL_CONFLICT;
    case ERR_BUSY:
        return FAIL_BUSY;
    case ERR_FULL:
        return FAIL_FULL;
    case ERR_NOCREDITS:
        return FAIL_CREDITS;
    default:
        return FAIL_INTERNAL;
    }
}

bool failure_is_inner(enum failure kind)
{
    return kind == FAIL_INTERNAL || kind == FAIL_FULL;
}

void reply_err(struct request *q, enum err rc, const struct errmsg *em)
{
    enum failure kind = failure_of_err(rc);
    if (failure_is_inner(kind))
        reply_failure(q, kind, "%s", em->text);
    else
        reply_failure(q, kind, NULL);
}

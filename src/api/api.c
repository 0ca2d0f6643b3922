/* SPDX-License-Identifier: MIT */
/* The api as the server sees it: head, request, end, log. */
#include "api/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "api/core_impl.h"
#include "base/clock.h"

#define PAGE_POLICY                                                                                \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "        \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
#define API_POLICY "default-src 'none'; frame-ancestors 'none'"

#define SMALL_BODY_BYTES (64u << 10) /* of requests that have no use for one */

int64_t unix_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void api_log(struct api *a, const char *level, const char *fmt, ...)
{
    char message[700];
    va_list ap;
    if (!a->o.log)
        return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    a->o.log(a->o.ctx, level, message);
}

/* ---- a request's head ---- */

static void add_cors(struct http_request *r)
{
    http_add_header(r, "Access-Control-Allow-Origin", "*");
    http_add_header(r, "Access-Control-Expose-Headers",
                    "X-Request-Id, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, "
                    "X-RateLimit-Reset");
}

static void add_common_headers(struct http_request *r, bool page)
{
    http_add_header(r, "Content-Security-Policy", page ? PAGE_POLICY : API_POLICY);
    http_add_header(r, "X-Content-Type-Options", "nosniff");
    http_add_header(r, "Referrer-Policy", "no-referrer");
    if (page)
        http_add_header(r, "Cross-Origin-Opener-Policy", "same-origin");
    else
        add_cors(r);
}

/* A browser asks whether a page of another origin may call. Keys travel in headers and there are
 * no cookies, so it may. */
static void answer_options(struct request *q, const char *allow)
{
    http_add_header(q->http, "Allow", allow);
    if (!q->is_page) {
        http_add_header(q->http, "Access-Control-Allow-Methods", allow);
        http_add_header(q->http, "Access-Control-Allow-Headers", "Authorization, *");
        http_add_header(q->http, "Access-Control-Max-Age", "86400");
    }
    http_reply(q->http, 204, "text/plain", NULL, 0);
}

/* The dialect of a path without a route: that of the routes which begin like it. */
static const struct dialect *dialect_near(const char *path)
{
    const struct route *best = NULL;
    size_t best_len = 4; /* more than "/v1/" */
    for (size_t i = 0; i < routes_count(); i++) {
        const char *pattern = routes_at(i)->pattern;
        size_t len = 0;
        while (pattern[len] && pattern[len] == path[len])
            len++;
        if (len > best_len) {
            best = routes_at(i);
            best_len = len;
        }
    }
    return best ? best->dialect : &dialect_service;
}

static bool find_route(struct request *q)
{
    char allow[80];
    const char *method = http_method(q->http), *path = http_path(q->http);
    q->route = routes_find(method, path, q->args, &q->route_index, allow, sizeof allow);
    q->dialect = q->route ? q->route->dialect : dialect_near(path);
    q->is_page = q->route ? (q->route->flags & ROUTE_PAGE) != 0 : strncmp(path, "/v1/", 4) != 0;
    add_common_headers(q->http, q->is_page);
    if (q->route)
        return true;
    if (allow[0] && strcmp(method, "OPTIONS") == 0) {
        answer_options(q, allow);
    } else if (allow[0]) {
        http_add_header(q->http, "Allow", allow);
        reply_failure(q, FAIL_METHOD, NULL);
    } else {
        reply_failure(q, FAIL_NO_ROUTE, NULL);
    }
    return false;
}

static bool is_media_type(const char *value, const char *type)
{
    size_t len = strlen(type);
    return strncasecmp(value, type, len) == 0 && strchr("; \t", value[len]);
}

static bool check_media_type(struct request *q)
{
    const char *value = http_header(q->http, "Content-Type");
    unsigned flags = q->route->flags;
    if (!(flags & (ROUTE_JSON | ROUTE_MULTIPART)) || !value || !*value)
        return true;
    if (((flags & ROUTE_JSON) && is_media_type(value, "application/json")) ||
        ((flags & ROUTE_MULTIPART) && is_media_type(value, "multipart/form-data")))
        return true;
    if (flags & ROUTE_JSON)
        reply_failure(q, FAIL_MEDIA_TYPE, NULL);
    else
        reply_failure(q, FAIL_MEDIA_TYPE, "The body must be a form: send multipart/form-data.");
    return false;
}

/* The answer to a body that did not say how long it is, and is too long. */
static void word_too_large(struct request *q)
{
    json_t *body = q->dialect->failure(q, FAIL_TOO_LARGE, failure_message(FAIL_TOO_LARGE));
    char *text = body ? json_text(body) : NULL;
    if (text)
        http_on_too_large(q->http, "application/json", text);
    free(text);
    json_decref(body);
}

static bool check_length(struct request *q)
{
    bool large = q->route->flags & (ROUTE_JSON | ROUTE_MULTIPART);
    size_t max = large ? API_BODY_BYTES_MAX : SMALL_BODY_BYTES;
    if (http_content_length(q->http) > (int64_t)max) {
        reply_failure(q, FAIL_TOO_LARGE, NULL);
        return false;
    }
    if (http_header(q->http, "Transfer-Encoding"))
        word_too_large(q);
    http_body_limit(q->http, max);
    return true;
}

static void add_number_header(struct http_request *r, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    http_add_header(r, name, text);
}

static bool charge_rate(struct request *q)
{
    struct rate_state state;
    struct errmsg em;
    if (!(q->route->flags & ROUTE_SUBMITS) || q->key.rate_per_minute == 0)
        return true;
    enum err rc =
        rates_take(q->api->rates, q->key.id, q->key.rate_per_minute, clock_now_s(), &state, &em);
    if (rc) {
        reply_err(q, rc, &em);
        return false;
    }
    add_number_header(q->http, "X-RateLimit-Limit", state.limit);
    add_number_header(q->http, "X-RateLimit-Remaining", state.remaining);
    add_number_header(q->http, "X-RateLimit-Reset", state.reset_s);
    if (!state.allowed) {
        add_number_header(q->http, "Retry-After", state.retry_after_s);
        reply_failure(q, FAIL_RATE, NULL);
    }
    return state.allowed;
}

static void on_head(void *app, struct http_request *r)
{
    struct request *q = calloc(1, sizeof *q);
    if (!q) {
        static const char body[] = "{\"message\":\"out of memory\"}";
        http_reply_static(r, 503, "application/json", body, sizeof body - 1);
        return;
    }
    q->api = app;
    q->http = r;
    q->route_index = routes_count();
    *http_state(r) = q;
    if (!find_route(q))
        return;
    if (q->route->flags & ROUTE_KEY) {
        http_add_header(r, "Cache-Control", "no-store");
        if (!auth_check(q))
            return;
    }
    if (check_media_type(q) && check_length(q))
        charge_rate(q);
}

/* ---- the rest of its life ---- */

static void on_request(void *app, struct http_request *r)
{
    (void)app;
    struct request *q = *http_state(r);
    q->route->handle(q);
}

static void on_full(void *app, struct http_request *r)
{
    (void)app;
    reply_failure(*http_state(r), FAIL_FULL, "there is no room for the request's body");
}

static void on_end(void *app, struct http_request *r)
{
    (void)app;
    struct request *q = *http_state(r);
    if (!q)
        return;
    *http_state(r) = NULL;
    watch_end(q);
    submission_end(q);
    if (q->own_free)
        q->own_free(q->own);
    if (q->has_key)
        api_key_deinit(&q->key);
    free(q->faults.items);
    free(q);
}

static void on_log(void *app, const struct http_request *r, int status, uint64_t bytes_sent,
                   double seconds)
{
    struct api *a = app;
    /* the state is not the answer's to change, but http_state serves those who set it, too */
    const struct request *q = *http_state((struct http_request *)(uintptr_t)r);
    metrics_count(a->metrics, q ? q->route_index : routes_count(), status, seconds);
    if (!a->o.access)
        return;
    char *line = access_line(q, r, status, bytes_sent, seconds);
    if (line)
        a->o.access(a->o.ctx, line);
    free(line);
}

const struct http_handler *api_handler(void)
{
    static const struct http_handler handler = {on_head, on_request, on_end, on_log, on_full};
    return &handler;
}

/* ---- the api itself ---- */

static enum err copy_string(const char **s, struct errmsg *em)
{
    if (*s && !(*s = strdup(*s)))
        return err_nomem(em, 1);
    return ERR_OK;
}

static enum err copy_strings(struct api_options *o, struct errmsg *em)
{
    const char **all[] = {&o->public_url, &o->model, &o->signing_secret};
    enum err rc = ERR_OK;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (rc)
            *all[i] = NULL; /* the caller's, not to be freed */
        else
            rc = copy_string(all[i], em);
    }
    return rc;
}

enum err api_new(const struct api_options *o, struct api **out, struct errmsg *em)
{
    if (!o->store || !o->blobs || !o->signing_secret || !o->reach_begin || !o->reach_end ||
        !o->webhook_owed || !o->worker_ready)
        return err_set(em, ERR_USAGE, "the API was set up without something that it needs");
    struct api *a = calloc(1, sizeof *a);
    if (!a)
        return err_nomem(em, sizeof *a);
    a->o = *o;
    pthread_mutex_init(&a->watch_lock, NULL);
    pthread_mutex_init(&a->ready_lock, NULL);
    enum err rc = copy_strings(&a->o, em);
    if (!rc)
        rc = rates_new(&a->rates, em);
    if (!rc)
        rc = metrics_new(routes_count(), &a->metrics, em);
    if (!rc)
        rc = checkers_new(API_CHECKERS, API_CHECK_QUEUE_MAX, &a->checkers, em);
    if (!rc)
        rc = checkers_new(API_STORERS, API_STORE_QUEUE_MAX, &a->storers, em);
    if (rc)
        api_free(a);
    else
        *out = a;
    return rc;
}

enum err api_set_local_url(struct api *a, const char *url, struct errmsg *em)
{
    char *copy = strdup(url);
    if (!copy)
        return err_nomem(em, strlen(url));
    free(atomic_exchange(&a->local_url, copy));
    return ERR_OK;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    checkers_free(a->storers);
    checkers_free(a->checkers);
    metrics_free(a->metrics);
    rates_free(a->rates);
    pthread_mutex_destroy(&a->ready_lock);
    pthread_mutex_destroy(&a->watch_lock);
    free(a->local_url);
    free((char *)a->o.public_url);
    free((char *)a->o.model);
    free((char *)a->o.signing_secret);
    free(a);
}

enum err api_render_webhook(struct api *a, const struct outbox_entry *e, struct buf *out,
                            struct errmsg *em)
{
    struct task t;
    enum err rc = store_task_get(a->o.store, e->task_id, 0, &t, em);
    if (rc)
        return rc;
    char *base = base_url(a, NULL);
    json_t *body = base ? dialect_of(t.dialect)->webhook(a, &t, e->state, base) : NULL;
    char *text = body ? json_text(body) : NULL;
    rc = text ? buf_append(out, text, strlen(text), em) : err_nomem(em, 1);
    free(text);
    json_decref(body);
    free(base);
    task_deinit(&t);
    return rc;
}

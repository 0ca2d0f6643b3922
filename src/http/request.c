/* SPDX-License-Identifier: MIT */
/* The life of a request: what libmicrohttpd calls, what the application is called for, and
 * waiting. */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/file.h"
#include "http/http_impl.h"

#define BODY_LIMIT_DEFAULT ((size_t)64 << 10)
/* A client must take its answer at this rate at least, besides the request's own time. */
#define ANSWER_BYTES_PER_S 4096

/* ---- begin and end ---- */

static struct http_conn *conn_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static struct http_request *request_new(struct http_server *s, struct http_conn *c,
                                        const char *target)
{
    struct http_arena arena = {0};
    size_t len = strlen(target);
    struct http_request *r = http_arena_alloc(&arena, sizeof *r);
    if (!r)
        return NULL;
    *r = (struct http_request){
        .server = s,
        .conn = c,
        .arena = arena,
        .started_s = clock_now_s(),
        .target = target,
        .target_start = target,
        .target_end = target + len,
        .path = "",
        .content_length = -1,
        .id = "",
        .body_limit = BODY_LIMIT_DEFAULT,
        .body.fd = -1,
        .answer.fd = -1,
    };
    r->target = http_arena_copy(&r->arena, target, len);
    if (!r->target) {
        arena = r->arena;
        http_arena_free(&arena);
        return NULL;
    }
    return r;
}

void *http_on_line(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct http_server *s = cls;
    struct http_conn *c = conn_of(mhd);
    struct http_request *r = c && target ? request_new(s, c, target) : NULL;
    if (!r)
        return NULL; /* http_on_call closes the connection */
    atomic_fetch_add(&s->n_requests, 1);
    pthread_mutex_lock(&c->lock);
    c->wake_pending = c->gone = false;
    pthread_mutex_unlock(&c->lock);
    http_conn_deadline(c, http_now_ms() + 1000 * (int64_t)s->request_timeout_s);
    return r;
}

static int status_of(const struct http_request *r, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info;
    if (r->phase == PHASE_SENT || r->phase == PHASE_DISCARD)
        return r->answer.status;
    /* libmicrohttpd's own refusal, if there is one */
    info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_HTTP_STATUS);
    return info ? (int)info->http_status : HTTP_CLIENT_GONE;
}

static void request_end(struct http_request *r, struct MHD_Connection *mhd)
{
    struct http_server *s = r->server;
    struct http_arena arena;
    if (s->handler.on_log)
        s->handler.on_log(s->app, r, status_of(r, mhd), http_answer_bytes(r),
                          clock_now_s() - r->started_s);
    if (r->seen && s->handler.on_end)
        s->handler.on_end(s->app, r);
    http_body_deinit(s, &r->body);
    http_answer_deinit(r);
    buf_deinit(&r->out);
    arena = r->arena;
    http_arena_free(&arena);
}

void http_on_completed(void *cls, struct MHD_Connection *mhd, void **ctx,
                       enum MHD_RequestTerminationCode code)
{
    struct http_server *s = cls;
    struct http_request *r = *ctx;
    (void)code;
    if (!r)
        return;
    struct http_conn *c = r->conn;
    request_end(r, mhd);
    *ctx = NULL;
    http_conn_deadline(c,
                       http_now_ms() + 1000 * (int64_t)(s->idle_timeout_s + s->request_timeout_s));
    if (atomic_fetch_sub(&s->n_requests, 1) == 1 && atomic_load(&s->stopping)) {
        pthread_mutex_lock(&s->lock);
        pthread_cond_broadcast(&s->drained);
        pthread_mutex_unlock(&s->lock);
    }
}

/* ---- waiting ---- */

void http_conn_resume(struct http_conn *c)
{
    c->state = CONN_WAKING;
    http_keeper_forget(&c->server->keeper, c);
    MHD_resume_connection(c->mhd);
}

void http_conn_wake(struct http_conn *c)
{
    pthread_mutex_lock(&c->lock);
    if (c->state == CONN_PARKED)
        http_conn_resume(c);
    else if (c->state == CONN_RUNNING)
        c->wake_pending = true;
    pthread_mutex_unlock(&c->lock);
}

bool http_suspend(struct http_request *r)
{
    struct http_conn *c = r->conn;
    pthread_mutex_lock(&c->lock);
    bool wait = !atomic_load(&r->server->aborting);
    if (wait) {
        c->park++;
        MHD_suspend_connection(c->mhd);
        if (c->wake_pending || r->park_ms == 0) {
            c->wake_pending = false;
            c->state = CONN_WAKING;
            MHD_resume_connection(c->mhd);
        } else {
            c->state = CONN_PARKED;
            http_keeper_watch(&r->server->keeper, c, r->park_ms);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return wait;
}

bool http_unpark(struct http_request *r)
{
    struct http_conn *c = r->conn;
    pthread_mutex_lock(&c->lock);
    c->state = CONN_RUNNING;
    bool go_on = !c->gone && !atomic_load(&r->server->aborting);
    pthread_mutex_unlock(&c->lock);
    return go_on;
}

void http_park(struct http_request *r, unsigned timeout_ms)
{
    r->parked = true;
    r->park_ms = timeout_ms;
}

void http_wake(struct http_request *r)
{
    http_conn_wake(r->conn);
}

/* ---- the steps ---- */

/* The answer goes out, and must be taken in time. */
static enum MHD_Result answer(struct http_request *r)
{
    uint64_t slow_s = r->server->request_timeout_s + http_answer_bytes(r) / ANSWER_BYTES_PER_S;
    bool stream = r->answer.kind == ANSWER_STREAM;
    http_conn_deadline(r->conn, stream ? 0 : http_now_ms() + 1000 * (int64_t)slow_s);
    return http_answer_queue(r);
}

/* Answer while the body is still to come. */
static enum MHD_Result answer_early(struct http_request *r)
{
    /* a client that waits for "100 Continue" sends no body now: nothing to throw away */
    if (r->phase == PHASE_LINE && r->expects_continue)
        return answer(r);
    if (r->answer.kind == ANSWER_BYTES && http_answer_now(r)) {
        r->phase = PHASE_DISCARD;
        return MHD_YES;
    }
    return r->phase == PHASE_LINE ? answer(r) : MHD_NO;
}

static bool body_is_to_come(const struct http_request *r)
{
    return r->chunked || r->content_length > 0;
}

static void refuse_too_large(struct http_request *r)
{
    if (r->too_large_body)
        http_reply_static(r, 413, r->too_large_type, r->too_large_body, strlen(r->too_large_body));
    else
        http_refuse(r, 413, "The body of the request is too large.");
}

static enum MHD_Result step_head(struct http_request *r, struct MHD_Connection *mhd,
                                 const char *method, const char *version)
{
    struct http_server *s = r->server;
    const char *why = NULL;
    int status = http_head_read(r, mhd, method, version, &why);
    if (status) {
        http_refuse(r, status, why);
        r->must_close = true;
        return answer(r); /* in this phase that ends the connection */
    }
    r->seen = r->in_head = true;
    s->handler.on_head(s->app, r);
    r->in_head = false;
    if (r->answer.kind == ANSWER_NONE && r->content_length >= 0 &&
        (uint64_t)r->content_length > r->body_limit)
        refuse_too_large(r);
    if (r->answer.kind != ANSWER_NONE && body_is_to_come(r))
        return answer_early(r);
    r->phase = PHASE_BODY;
    return MHD_YES;
}

static void refuse_body(struct http_request *r, enum err rc, int os_error)
{
    const struct http_server *s = r->server;
    bool full = rc == ERR_IO && file_write_err(os_error) == ERR_FULL;
    if (full && s->handler.on_full)
        s->handler.on_full(s->app, r);
    else if (full)
        http_refuse(r, 507, "The disk is full: the body of the request has no room. Try later.");
    else
        http_refuse(r, 503, "There is no room for the body of the request now. Try later.");
}

static enum MHD_Result step_body(struct http_request *r, const char *bytes, size_t *len)
{
    int os_error = 0;
    size_t n = *len;
    *len = 0;
    if (n > r->body_limit - r->body.len) {
        refuse_too_large(r);
    } else {
        enum err rc = http_body_append(r->server, &r->body, bytes, n, &os_error);
        if (!rc)
            return MHD_YES;
        refuse_body(r, rc, os_error);
    }
    r->discarded_bytes = n;
    return answer_early(r);
}

static enum MHD_Result step_discard(struct http_request *r, size_t *len)
{
    r->discarded_bytes += *len;
    if (*len == 0 || r->discarded_bytes > HTTP_DRAIN_BYTES_MAX)
        return MHD_NO; /* answered and read to the end, or enough of it: close */
    *len = 0;
    return MHD_YES;
}

/* The request is whole: call the application until it answers. */
static enum MHD_Result step_whole(struct http_request *r)
{
    struct http_server *s = r->server;
    if (r->answer.kind == ANSWER_NONE) {
        r->parked = false;
        s->handler.on_request(s->app, r);
    }
    if (r->answer.kind != ANSWER_NONE)
        return answer(r);
    if (r->parked)
        return http_suspend(r) ? MHD_YES : MHD_NO;
    http_refuse(r, 500, "The server did not answer the request. This is a fault of it.");
    return answer(r);
}

static enum MHD_Result step_end_of_body(struct http_request *r)
{
    int os_error = 0;
    enum err rc = ERR_OK;
    r->phase = PHASE_WHOLE;
    http_conn_deadline(r->conn, 0);
    if (r->answer.kind == ANSWER_NONE)
        rc = http_body_finish(&r->body, &os_error);
    if (rc)
        refuse_body(r, rc, os_error);
    return step_whole(r);
}

enum MHD_Result http_on_call(void *cls, struct MHD_Connection *mhd, const char *url,
                             const char *method, const char *version, const char *bytes,
                             size_t *len, void **ctx)
{
    struct http_request *r = *ctx;
    (void)cls;
    (void)url;
    if (!r)
        return MHD_NO;
    switch (r->phase) {
    case PHASE_LINE:
        return step_head(r, mhd, method, version);
    case PHASE_BODY:
        return *len ? step_body(r, bytes, len) : step_end_of_body(r);
    case PHASE_WHOLE:
        return http_unpark(r) ? step_whole(r) : MHD_NO;
    case PHASE_DISCARD:
        return step_discard(r, len);
    case PHASE_SENT:
        break;
    }
    return MHD_NO;
}

/* ---- what the application asks ---- */

const char *http_method(const struct http_request *r)
{
    return r->method ? r->method : "";
}

const char *http_path(const struct http_request *r)
{
    return r->path;
}

const char *http_query(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_query; i++)
        if (strcmp(r->query[i].name, name) == 0)
            return r->query[i].value;
    return NULL;
}

const char *http_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

int64_t http_content_length(const struct http_request *r)
{
    return r->content_length;
}

struct http_body http_request_body(const struct http_request *r)
{
    if (!r->body.len || !r->body.ptr)
        return (struct http_body){0};
    return (struct http_body){(const char *)r->body.ptr, r->body.len};
}

const char *http_client(const struct http_request *r)
{
    return r->conn->client;
}

const char *http_request_id(const struct http_request *r)
{
    return r->id;
}

void **http_state(struct http_request *r)
{
    return &r->state;
}

bool http_stopping(const struct http_request *r)
{
    return atomic_load(&r->server->stopping);
}

void http_body_limit(struct http_request *r, size_t max_bytes)
{
    r->body_limit = max_bytes;
}

void http_on_too_large(struct http_request *r, const char *media_type, const char *body)
{
    r->too_large_type = http_arena_copy(&r->arena, media_type, strlen(media_type));
    r->too_large_body = http_arena_copy(&r->arena, body, strlen(body));
}

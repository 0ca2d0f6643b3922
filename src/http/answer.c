/* SPDX-License-Identifier: MIT */
/* Answers: what the application said, and its way to the client. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/size.h"
#include "http/http_impl.h"

/* What fits any socket's buffer at once. */
#define NOW_BYTES_MAX ((size_t)8 << 10)
#define WHY_BYTES_MAX 256u

/* ---- what the application says ---- */

void http_add_header(struct http_request *r, const char *name, const char *value)
{
    bool good = http_is_token(name) && http_is_value(value);
    struct http_added *h = good ? http_arena_alloc(&r->arena, sizeof *h) : NULL;
    if (!h)
        return;
    h->field.name = http_arena_copy(&r->arena, name, strlen(name));
    h->field.value = http_arena_copy(&r->arena, value, strlen(value));
    h->next = NULL;
    if (!h->field.name || !h->field.value)
        return;
    if (r->answer.last_header)
        r->answer.last_header->next = h;
    else
        r->answer.headers = h;
    r->answer.last_header = h;
}

void http_reply_static(struct http_request *r, int status, const char *media_type, const void *body,
                       size_t len)
{
    struct http_answer *a = &r->answer;
    assert(a->kind == ANSWER_NONE && status >= 200 && status <= 599);
    if (a->kind != ANSWER_NONE)
        return;
    a->kind = ANSWER_BYTES;
    a->status = status;
    a->media_type = media_type ? http_arena_copy(&r->arena, media_type, strlen(media_type)) : NULL;
    a->body = len ? body : "";
    a->len = len;
}

void http_reply(struct http_request *r, int status, const char *media_type, const void *body,
                size_t len)
{
    static const char no_memory[] = "{\"message\":\"There is no memory now. Try later.\"}";
    char *copy = http_arena_copy(&r->arena, body, len);
    if (copy)
        http_reply_static(r, status, media_type, copy, len);
    else
        http_reply_static(r, 503, "application/json", no_memory, sizeof no_memory - 1);
}

void http_refuse(struct http_request *r, int status, const char *why)
{
    static const char before[] = "{\"message\":\"", after[] = "\"}";
    char body[sizeof before + WHY_BYTES_MAX + sizeof after];
    size_t n = min_size(strlen(why), WHY_BYTES_MAX);
    memcpy(body, before, sizeof before - 1);
    memcpy(body + sizeof before - 1, why, n);
    memcpy(body + sizeof before - 1 + n, after, sizeof after);
    http_reply(r, status, "application/json", body, sizeof before + n + sizeof after - 2);
}

/* ---- through libmicrohttpd ---- */

static struct MHD_Response *response_new(struct http_request *r)
{
    struct http_answer *a = &r->answer;
    struct MHD_Response *response = NULL;
    switch (a->kind) {
    case ANSWER_NONE:
        break;
    case ANSWER_BYTES: /* the arena outlives the response */
        response = MHD_create_response_from_buffer(a->len, (void *)(uintptr_t)a->body,
                                                   MHD_RESPMEM_PERSISTENT);
        break;
    case ANSWER_FILE:
        response = MHD_create_response_from_fd_at_offset64(a->size_bytes, a->fd, a->offset);
        if (response)
            a->fd = -1; /* closed with it */
        break;
    case ANSWER_STREAM:
        response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, http_stream_read, r, NULL);
        /* it would send the chunk that ends a body even where there is none */
        if (response && r->is_head)
            (void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
        break;
    }
    return response;
}

static bool header_set(struct MHD_Response *response, const char *name, const char *value)
{
    return !value || !*value || MHD_add_response_header(response, name, value) == MHD_YES;
}

/* A connection that was used and is idle holds its buffers (24 KiB by default; one that never
 * spoke some KiB): only so many are kept. */
static bool must_close(const struct http_request *r)
{
    return r->must_close || atomic_load(&r->server->stopping) ||
           atomic_load(&r->server->n_conns) > HTTP_KEEP_ALIVE_MAX;
}

static bool headers_set(struct http_request *r, struct MHD_Response *response)
{
    bool close = must_close(r);
    bool ok = header_set(response, "X-Request-Id", r->id) &&
              header_set(response, "Content-Type", r->answer.media_type) &&
              header_set(response, "Connection", close ? "close" : NULL);
    for (struct http_added *h = r->answer.headers; ok && h; h = h->next)
        ok = header_set(response, h->field.name, h->field.value);
    return ok;
}

enum MHD_Result http_answer_queue(struct http_request *r)
{
    struct MHD_Response *response = response_new(r);
    enum MHD_Result done = MHD_NO;
    if (response && headers_set(r, response)) {
        r->phase = PHASE_SENT;
        done = MHD_queue_response(r->conn->mhd, (unsigned)r->answer.status, response);
    }
    if (response)
        MHD_destroy_response(response);
    return done;
}

/* ---- past it ---- */

static enum err print_head(const struct http_request *r, struct buf *b)
{
    const struct http_answer *a = &r->answer;
    char date[HTTP_DATE_BYTES];
    http_date_write((int64_t)time(NULL), date);
    enum err rc = buf_printf(b, NULL, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\n",
                             a->status, MHD_get_reason_phrase_for((unsigned)a->status), date);
    if (!rc)
        rc = buf_printf(b, NULL, "X-Request-Id: %s\r\nContent-Length: %zu\r\n", r->id, a->len);
    if (!rc && a->media_type)
        rc = buf_printf(b, NULL, "Content-Type: %s\r\n", a->media_type);
    for (struct http_added *h = a->headers; !rc && h; h = h->next)
        rc = buf_printf(b, NULL, "%s: %s\r\n", h->field.name, h->field.value);
    return rc ? rc : buf_append(b, "\r\n", 2, NULL);
}

bool http_answer_now(struct http_request *r)
{
    struct buf b = {0};
    bool sent = false;
    int fd = r->conn->fd;
    enum err rc = print_head(r, &b);
    if (!rc && !r->is_head)
        rc = buf_append(&b, r->answer.body, r->answer.len, NULL);
    if (!rc && b.len <= NOW_BYTES_MAX) {
        sent = send(fd, b.ptr, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)b.len;
        /* the client sees that this is all, while what it still sends is read: a socket that
         * is closed over unread bytes takes the answer back (RST) */
        shutdown(fd, SHUT_WR);
    }
    buf_deinit(&b);
    return sent;
}

uint64_t http_answer_bytes(const struct http_request *r)
{
    const struct http_answer *a = &r->answer;
    if (r->is_head || a->status == 304 || (r->phase != PHASE_SENT && r->phase != PHASE_DISCARD))
        return 0;
    return a->kind == ANSWER_STREAM ? r->stream_bytes
           : a->kind == ANSWER_FILE ? a->size_bytes
                                    : a->len;
}

void http_answer_deinit(struct http_request *r)
{
    if (r->answer.fd >= 0)
        close(r->answer.fd);
    r->answer.fd = -1;
}

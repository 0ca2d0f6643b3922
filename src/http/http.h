/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 in and out, over libmicrohttpd: connections, limits, bodies, answers. It knows
 * nothing of tasks.
 *
 * The life of a request:
 *   1. on_head sees method, path, query and headers, before any of the body is read. It may
 *      answer at once (wrong key, too large), or choose the body's bound.
 *   2. The body is read: in memory up to body_memory_bytes, beyond that into an unlinked file
 *      in body_dir, mapped when it is whole.
 *   3. on_request is called, on one of a few threads. It answers with http_reply…, or parks
 *      the request with http_park: then it is called again after http_wake, or when the time
 *      that it named is over. It must not block for long.
 *   4. on_end, once for each request that on_head saw, whatever became of it: frees req->state.
 * Calls for one request never overlap. */
#ifndef EASEL_HTTP_HTTP_H
#define EASEL_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Bounds on what comes from outside. */
#define HTTP_HEADERS_MAX 100u               /* header lines of a request; more: 431 */
#define HTTP_TARGET_BYTES_MAX (8u << 10)    /* path and query as sent; more: 414 */
#define HTTP_QUERY_MAX 100u                 /* "name=value" pairs; more: 400 */
#define HTTP_REQUEST_ID_MAX 64u             /* X-Request-Id; longer ones are replaced */
#define HTTP_DRAIN_BYTES_MAX (256u << 20)   /* of a refused body, read so that clients see why */
#define HTTP_BODIES_MEMORY_MAX (256u << 20) /* all bodies in memory; beyond: to body_dir */
#define HTTP_KEEP_ALIVE_MAX 3000u           /* with more connections, answers close theirs */
#define HTTP_STREAM_BYTES_MAX (64u << 20)   /* waiting to be sent in one stream */

/* What on_log gets as the status when the client left before there was an answer. */
#define HTTP_CLIENT_GONE 499

struct http_server;
struct http_request;

struct http_handler {
    void (*on_head)(void *app, struct http_request *r);
    void (*on_request)(void *app, struct http_request *r);
    void (*on_end)(void *app, struct http_request *r);
    /* After the answer is sent or given up, before on_end: for the access log and metrics. Also
     * for requests that are refused here (400, 413, 431 …), which on_head may never have seen:
     * http_state is NULL then. May be NULL itself.
     * status: HTTP_CLIENT_GONE when there was none to answer. bytes_sent: of the body, as far
     * as is known. */
    void (*on_log)(void *app, const struct http_request *r, int status, uint64_t bytes_sent,
                   double seconds);
    /* The disk has no room for the body: answers, as on_head may. NULL: 507. */
    void (*on_full)(void *app, struct http_request *r);
};

struct http_options {
    const char *listen;         /* "127.0.0.1:8080", "[::]:80", "0.0.0.0:0" (any port) */
    unsigned n_threads;         /* 0: one per processor, at least 4 */
    size_t connections_max;     /* 0: 12000 (bounded by the limit on open files) */
    size_t body_memory_bytes;   /* 0: 1 MiB */
    size_t header_bytes_max;    /* 0: 16 KiB; more: 431 */
    const char *body_dir;       /* for large bodies; NULL: /tmp */
    unsigned idle_timeout_s;    /* 0: 15; a client that is this long silent is cut off */
    unsigned request_timeout_s; /* 0: 300; for head and body together, however slowly they drip */
};
NODISCARD enum err http_server_start(const struct http_options *o, const struct http_handler *h,
                                     void *app, struct http_server **out, struct errmsg *em);
unsigned http_server_port(const struct http_server *s);
/* Refuse new connections; parked requests are woken (http_stopping is true). Answers under way
 * get grace_ms to end. Then stop and free. */
void http_server_stop(struct http_server *s, unsigned grace_ms);

/* ---- the request; all pointers are valid until on_end returns ---- */
const char *http_method(const struct http_request *r);
const char *http_path(const struct http_request *r); /* percent-decoded, starts with '/' */
const char *http_query(const struct http_request *r, const char *name);  /* decoded, or NULL */
const char *http_header(const struct http_request *r, const char *name); /* or NULL */
/* The declared length, or -1 (chunked, none). */
int64_t http_content_length(const struct http_request *r);
struct http_body {
    const char *ptr; /* a NUL follows, unless it lies in a file; NULL when it is empty */
    size_t len;
};
struct http_body http_request_body(const struct http_request *r);
const char *http_client(const struct http_request *r);     /* address as text */
const char *http_request_id(const struct http_request *r); /* also sent as X-Request-Id */
void **http_state(struct http_request *r);                 /* the application's, NULL at first */
bool http_stopping(const struct http_request *r);

/* In on_head only; default 64 KiB. A larger body gets on_too_large's answer: 413. */
void http_body_limit(struct http_request *r, size_t max_bytes);
/* What to send when the bound is passed, by what is declared or while reading: status 413 with
 * this body (copied). */
void http_on_too_large(struct http_request *r, const char *media_type, const char *body);

/* ---- the answer: exactly one of these for each request ---- */
/* Before the reply; copied. One with control characters, or whose name is no token, is dropped:
 * no header injection. */
void http_add_header(struct http_request *r, const char *name, const char *value);
/* body is copied. HEAD gets the headers alone. */
void http_reply(struct http_request *r, int status, const char *media_type, const void *body,
                size_t len);
/* Static bytes, not copied: must live for ever. */
void http_reply_static(struct http_request *r, int status, const char *media_type, const void *body,
                       size_t len);
/* Takes fd. Single ranges (206, 416), If-None-Match, If-Modified-Since and If-Range are
 * honoured; etag as sent, with quotes. */
void http_reply_file(struct http_request *r, const char *media_type, int fd, uint64_t size_bytes,
                     const char *etag, int64_t modified_s);

/* ---- waiting ---- */
/* Return from on_request without an answer; it is called again after http_wake or timeout_ms.
 * A client that leaves meanwhile ends the request: on_end without another on_request. */
void http_park(struct http_request *r, unsigned timeout_ms);
/* From any thread, any time between the park and on_end of the request: so the caller must
 * forget r in its own on_end. A wake that comes before the park counts. */
void http_wake(struct http_request *r);

/* ---- streams ---- */
/* Begin an answer without a length (server-sent events). From then on on_request is called
 * again whenever everything sent so far is gone and a wake or the timeout came: it sends more
 * with http_stream_send, waits with http_park or ends with http_stream_end. A call that sends
 * and does not park is made again as soon as all is gone; one that does nothing ends the stream. */
void http_stream_begin(struct http_request *r, int status, const char *media_type);
/* Copied. ERR_BUSY: more than HTTP_STREAM_BYTES_MAX would wait. */
NODISCARD enum err http_stream_send(struct http_request *r, const void *bytes, size_t len,
                                    struct errmsg *em);
void http_stream_end(struct http_request *r);
bool http_is_streaming(const struct http_request *r);

#endif

/* SPDX-License-Identifier: MIT */
/* The inside of http/. libmicrohttpd's threads parse and send; they call request.c, which calls
 * the application. One more thread, the keeper, accepts connections, keeps the time of parked
 * requests, sees their clients leave, and cuts off those who are too slow.
 *
 * A connection (struct http_conn) is a slot that lives as long as the server, so that its lock
 * may be taken by anyone at any time. Locks, in the order in which they are taken:
 * a connection's, then the keeper's or libmicrohttpd's own.
 *
 *   states of a connection's request:
 *     RUNNING ──suspend──> PARKED ──wake, timeout, client gone──> WAKING ──unpark──> RUNNING
 */
#ifndef EASEL_HTTP_HTTP_IMPL_H
#define EASEL_HTTP_HTTP_IMPL_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include <microhttpd.h>

#include "http/http.h"
#include "http/text.h"

/* ---- memory of a request: freed as a whole ---- */
struct http_arena_block;
struct http_arena {
    struct http_arena_block *blocks;
    char *at;
    size_t left;
};
/* NULL without memory. */
void *http_arena_alloc(struct http_arena *a, size_t size_bytes);
char *http_arena_copy(struct http_arena *a, const char *text, size_t len);
void http_arena_free(struct http_arena *a);

/* ---- the body: in memory, then in a file ---- */
struct http_body_store {
    uint8_t *ptr;
    size_t len, cap;
    int fd;      /* -1: in memory */
    bool mapped; /* ptr is a mapping */
};
/* ERR_IO: *os_error is the cause. */
NODISCARD enum err http_body_append(struct http_server *s, struct http_body_store *b,
                                    const void *bytes, size_t len, int *os_error);
NODISCARD enum err http_body_finish(struct http_body_store *b, int *os_error);
void http_body_deinit(struct http_server *s, struct http_body_store *b);

/* ---- connections ---- */
enum http_conn_state { CONN_RUNNING, CONN_PARKED, CONN_WAKING };

struct http_conn {
    pthread_mutex_t lock;
    struct http_server *server;
    struct MHD_Connection *mhd; /* NULL: a free slot */
    int fd;
    enum http_conn_state state;
    bool wake_pending; /* a wake came before the park */
    bool gone;         /* the client left while the request was parked */
    uint32_t park;     /* counts parks, so that what is late for one does not end the next */
    uint32_t index;
    uint32_t next_free;
    /* the keeper's, under its lock */
    int64_t wake_at_ms;
    size_t heap_at;
    char client[INET6_ADDRSTRLEN];
};

struct http_keeper {
    pthread_mutex_t lock;
    pthread_t thread;
    bool started;
    int listen_fd, epoll_fd, event_fd;
    bool listening; /* listen_fd is in the epoll set; the keeper's thread alone */
    bool stop, close_listener;
    bool listener_closed;
    pthread_cond_t changed;
    struct http_conn **heap; /* parked ones, the next to wake first */
    size_t n;
    int64_t sleeps_until_ms;
};
NODISCARD enum err http_keeper_start(struct http_server *s, int listen_fd, struct errmsg *em);
/* No new connections from now on; returns when that is so. */
void http_keeper_close_listener(struct http_keeper *k);
void http_keeper_stop(struct http_keeper *k);
/* Both under the connection's lock. */
void http_keeper_watch(struct http_keeper *k, struct http_conn *c, unsigned timeout_ms);
void http_keeper_forget(struct http_keeper *k, struct http_conn *c);

int64_t http_now_ms(void);

/* Bring a parked request back; under its lock, in state CONN_PARKED. */
void http_conn_resume(struct http_conn *c);
/* What http_wake does. */
void http_conn_wake(struct http_conn *c);
/* The connection is cut off when this time comes; 0: never. */
void http_conn_deadline(struct http_conn *c, int64_t at_ms);

/* ---- the server ---- */
struct http_server {
    struct http_handler handler;
    void *app;
    unsigned port;
    unsigned idle_timeout_s, request_timeout_s;
    size_t body_memory_bytes, header_bytes_max;
    char *body_dir;
    struct MHD_Daemon *daemon;
    struct http_keeper keeper;

    struct http_conn *conns;
    _Atomic int64_t *deadlines_ms; /* of each slot; apart, so that a sweep reads little */
    uint32_t n_conns_max;
    pthread_mutex_t lock; /* the free slots, and drained */
    uint32_t first_free;
    atomic_uint n_conns;
    atomic_uint n_requests;
    pthread_cond_t drained;
    atomic_bool stopping; /* http_server_stop was called */
    atomic_bool aborting; /* … and its grace is over: nothing is suspended any more */
    atomic_size_t bodies_bytes;
    uint64_t id_seed[2];
    _Atomic uint64_t id_counter;
};
#define HTTP_NO_SLOT UINT32_MAX

/* ---- requests ---- */
struct http_added {
    struct http_field field;
    struct http_added *next;
};

enum http_phase {
    PHASE_LINE,    /* the request line is there */
    PHASE_BODY,    /* on_head was called; the body is read */
    PHASE_WHOLE,   /* on_request is called until there is an answer */
    PHASE_SENT,    /* libmicrohttpd has the answer */
    PHASE_DISCARD, /* answered before the end of the body, the rest of which is thrown away */
};

enum http_answer_kind { ANSWER_NONE, ANSWER_BYTES, ANSWER_FILE, ANSWER_STREAM };

struct http_answer {
    enum http_answer_kind kind;
    int status;
    const char *media_type; /* NULL: none */
    const void *body;
    size_t len;
    int fd;
    uint64_t offset, size_bytes; /* of the file */
    struct http_added *headers, *last_header;
};

struct http_request {
    struct http_server *server;
    struct http_conn *conn;
    struct http_arena arena;
    enum http_phase phase;
    bool seen;    /* by on_head, so on_end is owed */
    bool in_head; /* on_head is running */
    bool is_head; /* the method */
    bool http10, chunked, expects_continue, must_close;
    bool parked; /* the application asked for it */
    unsigned park_ms;
    double started_s;
    const char *target;                    /* as sent, NUL-terminated copy */
    const char *target_start, *target_end; /* where it lay in libmicrohttpd's memory */
    char *method;
    const char *path;
    struct http_field *query, *headers;
    size_t n_query, n_headers;
    int64_t content_length;
    const char *id;
    void *state;

    size_t body_limit;
    const char *too_large_type, *too_large_body;
    struct http_body_store body;
    size_t discarded_bytes;

    struct http_answer answer;
    struct buf out; /* of a stream: not yet sent */
    size_t out_sent;
    bool stream_ended;
    uint64_t stream_bytes;
};

/* libmicrohttpd's callbacks (request.c). */
void *http_on_line(void *cls, const char *target, struct MHD_Connection *mhd);
enum MHD_Result http_on_call(void *cls, struct MHD_Connection *mhd, const char *url,
                             const char *method, const char *version, const char *bytes,
                             size_t *len, void **ctx);
void http_on_completed(void *cls, struct MHD_Connection *mhd, void **ctx,
                       enum MHD_RequestTerminationCode code);

/* Suspend the connection for r->park_ms; only in libmicrohttpd's thread. false: there is no
 * more waiting, close the connection. */
bool http_suspend(struct http_request *r);
/* At each call after a suspension. false: the client left or the server ends. */
bool http_unpark(struct http_request *r);

/* Check and take apart what the head says. 0, or the status to refuse it with and the reason. */
int http_head_read(struct http_request *r, struct MHD_Connection *mhd, const char *method,
                   const char *version, const char **why);
/* Answer with {"message": why}; why is a constant without quotes. */
void http_refuse(struct http_request *r, int status, const char *why);

/* Hand r->answer to libmicrohttpd. MHD_NO: close the connection. */
enum MHD_Result http_answer_queue(struct http_request *r);
/* Write r->answer to the socket past libmicrohttpd, which cannot answer while it reads a body.
 * false: too large for that, or the client is gone. */
bool http_answer_now(struct http_request *r);
uint64_t http_answer_bytes(const struct http_request *r);
void http_answer_deinit(struct http_request *r);

/* libmicrohttpd asks for more of a stream (stream.c). */
ssize_t http_stream_read(void *cls, uint64_t at, char *buf, size_t max);

#endif

/* SPDX-License-Identifier: MIT */
/* Starting and stopping, and the slots of connections. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "http/http_impl.h"
#include "http/listen.h"

#define THREADS_MIN 4u
#define THREADS_MAX 64u
#define CONNECTIONS_DEFAULT 12000u
#define CONNECTIONS_MAX 1000000u
#define BODY_MEMORY_DEFAULT ((size_t)1 << 20)
#define HEADER_DEFAULT ((size_t)16 << 10)
#define HEADER_MIN ((size_t)1 << 10)
#define HEADER_MAX ((size_t)1 << 20)
#define IDLE_TIMEOUT_DEFAULT_S 15u
#define REQUEST_TIMEOUT_DEFAULT_S 300u
/* libmicrohttpd's list of HTTP_HEADERS_MAX lines, 64 bytes each, and the answer's head. */
#define LINES_BYTES ((size_t)8 << 10)
#define STACK_BYTES ((size_t)1 << 20)
/* Descriptors that are not clients': database, pictures, bodies. */
#define FILES_RESERVED 256u

/* ---- slots ---- */

static struct http_conn *slot_take(struct http_server *s)
{
    struct http_conn *c = NULL;
    pthread_mutex_lock(&s->lock);
    if (s->first_free != HTTP_NO_SLOT) {
        c = &s->conns[s->first_free];
        s->first_free = c->next_free;
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

static void slot_give(struct http_server *s, struct http_conn *c)
{
    pthread_mutex_lock(&s->lock);
    c->next_free = s->first_free;
    s->first_free = c->index;
    pthread_mutex_unlock(&s->lock);
}

static void client_name(const struct sockaddr *from, char out[INET6_ADDRSTRLEN])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    out[0] = 0;
    if (from && from->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
        if (memcmp(a->s6_addr, mapped, sizeof mapped) == 0)
            inet_ntop(AF_INET, a->s6_addr + sizeof mapped, out, INET6_ADDRSTRLEN);
        else
            inet_ntop(AF_INET6, a, out, INET6_ADDRSTRLEN);
    } else if (from && from->sa_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)from;
        inet_ntop(AF_INET, &a->sin_addr, out, INET6_ADDRSTRLEN);
    }
}

static struct http_conn *conn_open(struct http_server *s, struct MHD_Connection *mhd)
{
    struct http_conn *c = slot_take(s);
    if (!c)
        return NULL; /* request.c refuses its requests */
    pthread_mutex_lock(&c->lock);
    c->mhd = mhd;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->state = CONN_RUNNING;
    c->wake_pending = c->gone = false;
    client_name(MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
                c->client);
    pthread_mutex_unlock(&c->lock);
    atomic_fetch_add(&s->n_conns, 1);
    http_conn_deadline(c,
                       http_now_ms() + 1000 * (int64_t)(s->idle_timeout_s + s->request_timeout_s));
    return c;
}

static void conn_close(struct http_server *s, struct http_conn *c)
{
    pthread_mutex_lock(&c->lock);
    http_conn_deadline(c, 0);
    c->mhd = NULL;
    c->fd = -1;
    pthread_mutex_unlock(&c->lock);
    slot_give(s, c);
    atomic_fetch_sub(&s->n_conns, 1);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        *context = conn_open(cls, mhd);
    else if (*context)
        conn_close(cls, *context);
}

void http_conn_deadline(struct http_conn *c, int64_t at_ms)
{
    atomic_store_explicit(&c->server->deadlines_ms[c->index], at_ms, memory_order_relaxed);
}

/* ---- start ---- */

/* As many descriptors as we may have, and how many connections that allows. */
static uint32_t connections_allowed(size_t wanted)
{
    struct rlimit files;
    size_t n = wanted ? wanted : CONNECTIONS_DEFAULT;
    if (n > CONNECTIONS_MAX)
        n = CONNECTIONS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY &&
            n + FILES_RESERVED > files.rlim_cur)
            n = files.rlim_cur > 2 * FILES_RESERVED ? files.rlim_cur - FILES_RESERVED
                                                    : files.rlim_cur / 2;
    }
    return (uint32_t)(n ? n : 1);
}

static unsigned threads_wanted(unsigned wanted)
{
    long n = wanted ? (long)wanted : sysconf(_SC_NPROCESSORS_ONLN);
    if (!wanted && n < (long)THREADS_MIN)
        n = THREADS_MIN;
    return n > (long)THREADS_MAX ? THREADS_MAX : (unsigned)n;
}

static size_t header_bound(size_t wanted)
{
    if (!wanted)
        return HEADER_DEFAULT;
    return wanted < HEADER_MIN ? HEADER_MIN : wanted > HEADER_MAX ? HEADER_MAX : wanted;
}

static enum err slots_new(struct http_server *s, size_t n, struct errmsg *em)
{
    s->n_conns_max = (uint32_t)n;
    s->conns = calloc(n, sizeof *s->conns);
    s->deadlines_ms = calloc(n, sizeof *s->deadlines_ms);
    if (!s->conns || !s->deadlines_ms)
        return err_nomem(em, n * (sizeof *s->conns + sizeof *s->deadlines_ms));
    for (uint32_t i = 0; i < n; i++) {
        struct http_conn *c = &s->conns[i];
        pthread_mutex_init(&c->lock, NULL);
        c->server = s;
        c->fd = -1;
        c->index = i;
        c->next_free = i + 1 < n ? i + 1 : HTTP_NO_SLOT;
    }
    s->first_free = 0;
    return ERR_OK;
}

static enum err options_take(struct http_server *s, const struct http_options *o, struct errmsg *em)
{
    s->idle_timeout_s = o->idle_timeout_s ? o->idle_timeout_s : IDLE_TIMEOUT_DEFAULT_S;
    s->request_timeout_s = o->request_timeout_s ? o->request_timeout_s : REQUEST_TIMEOUT_DEFAULT_S;
    s->body_memory_bytes = o->body_memory_bytes ? o->body_memory_bytes : BODY_MEMORY_DEFAULT;
    s->header_bytes_max = header_bound(o->header_bytes_max);
    s->body_dir = strdup(o->body_dir ? o->body_dir : "/tmp");
    if (!s->body_dir)
        return err_nomem(em, sizeof *s);
    if (getentropy(s->id_seed, sizeof s->id_seed))
        return err_set(em, ERR_IO, "the system gives no random numbers");
    return slots_new(s, connections_allowed(o->connections_max), em);
}

static enum err daemon_start(struct http_server *s, unsigned n_threads, struct errmsg *em)
{
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
                           MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC;
    const struct MHD_OptionItem options[] = {
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)s->n_conns_max, NULL},
        /* no more than is needed: it is cleared after each request, a fifth of its time */
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)(s->header_bytes_max + LINES_BYTES), NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)s->idle_timeout_s, NULL},
        {MHD_OPTION_THREAD_STACK_SIZE, (intptr_t)STACK_BYTES, NULL},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http_on_line, s},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_on_completed, s},
        {n_threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)n_threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    s->daemon = MHD_start_daemon(flags, 0, NULL, NULL, http_on_call, s, MHD_OPTION_ARRAY, options,
                                 MHD_OPTION_END);
    if (!s->daemon)
        return err_set(em, ERR_IO, "cannot start the HTTP server: no threads or descriptors left");
    return ERR_OK;
}

static void server_free(struct http_server *s)
{
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    http_keeper_stop(&s->keeper);
    for (uint32_t i = 0; s->conns && i < s->n_conns_max; i++)
        pthread_mutex_destroy(&s->conns[i].lock);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->drained);
    pthread_mutex_destroy(&s->keeper.lock);
    pthread_cond_destroy(&s->keeper.changed);
    free((void *)s->deadlines_ms);
    free(s->conns);
    free(s->body_dir);
    free(s);
}

static struct http_server *server_new(const struct http_handler *h, void *app)
{
    pthread_condattr_t monotonic;
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->handler = *h;
    s->app = app;
    s->first_free = HTTP_NO_SLOT;
    s->keeper.listen_fd = s->keeper.epoll_fd = s->keeper.event_fd = -1;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->drained, &monotonic);
    pthread_mutex_init(&s->keeper.lock, NULL);
    pthread_cond_init(&s->keeper.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return s;
}

enum err http_server_start(const struct http_options *o, const struct http_handler *h, void *app,
                           struct http_server **out, struct errmsg *em)
{
    int listen_fd = -1;
    struct http_server *s = server_new(h, app);
    if (!s)
        return err_nomem(em, sizeof *s);
    enum err rc = http_listen(o->listen, &listen_fd, &s->port, em);
    if (!rc)
        rc = options_take(s, o, em);
    if (!rc)
        rc = daemon_start(s, threads_wanted(o->n_threads), em);
    if (!rc) {
        rc = http_keeper_start(s, listen_fd, em);
        listen_fd = -1; /* the keeper's now */
    }
    if (rc) {
        if (listen_fd >= 0)
            close(listen_fd);
        server_free(s);
        return rc;
    }
    *out = s;
    return ERR_OK;
}

unsigned http_server_port(const struct http_server *s)
{
    return s->port;
}

/* ---- stop ---- */

/* Every request is called again, those too that are just about to park. */
static void wake_all(struct http_server *s)
{
    for (uint32_t i = 0; i < s->n_conns_max; i++)
        http_conn_wake(&s->conns[i]);
}

static void wait_drained(struct http_server *s, unsigned grace_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += grace_ms / 1000;
    until.tv_nsec += (long)(grace_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->lock);
    while (atomic_load(&s->n_requests) &&
           pthread_cond_timedwait(&s->drained, &s->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&s->lock);
}

void http_server_stop(struct http_server *s, unsigned grace_ms)
{
    if (!s)
        return;
    atomic_store(&s->stopping, true);
    http_keeper_close_listener(&s->keeper);
    wake_all(s);
    wait_drained(s, grace_ms);
    /* from here nothing is suspended any more, which libmicrohttpd's end demands */
    atomic_store(&s->aborting, true);
    wake_all(s);
    server_free(s);
}

/* SPDX-License-Identifier: MIT */
/* The keeper: one thread that accepts connections, wakes parked requests when their time is
 * over or their client is gone (libmicrohttpd looks at no suspended connection), and cuts off
 * connections whose deadline has passed.
 *
 * It accepts so that libmicrohttpd need not: its threads would all wake for each connection,
 * and its way to stop listening (MHD_quiesce_daemon) can panic in a race with them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/http_impl.h"

#define SWEEP_MS 500
#define EVENTS_MAX 64
#define ACCEPTS_MAX 64 /* in a row, before the others get their turn */
/* What an event tells: a parked connection (its slot and which of its parks), or one of these. */
#define DATA_LISTENER UINT64_MAX
#define DATA_WAKE (UINT64_MAX - 1)

int64_t http_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the heap of parked connections ---- */

static void heap_put(struct http_keeper *k, size_t at, struct http_conn *c)
{
    k->heap[at] = c;
    c->heap_at = at;
}

static void heap_up(struct http_keeper *k, size_t at)
{
    struct http_conn *c = k->heap[at];
    while (at && k->heap[(at - 1) / 2]->wake_at_ms > c->wake_at_ms) {
        heap_put(k, at, k->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(k, at, c);
}

static void heap_down(struct http_keeper *k, size_t at)
{
    struct http_conn *c = k->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < k->n && k->heap[child + 1]->wake_at_ms < k->heap[child]->wake_at_ms)
            child++;
        if (child >= k->n || k->heap[child]->wake_at_ms >= c->wake_at_ms)
            break;
        heap_put(k, at, k->heap[child]);
        at = child;
    }
    heap_put(k, at, c);
}

static void heap_remove(struct http_keeper *k, struct http_conn *c)
{
    struct http_conn *last = k->heap[--k->n];
    if (last == c)
        return;
    heap_put(k, c->heap_at, last);
    heap_up(k, last->heap_at);
    heap_down(k, last->heap_at);
}

/* ---- called by others ---- */

static void nudge(struct http_keeper *k)
{
    uint64_t one = 1;
    while (write(k->event_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static uint64_t park_data(const struct http_conn *c)
{
    return (uint64_t)c->park << 32 | c->index;
}

void http_keeper_watch(struct http_keeper *k, struct http_conn *c, unsigned timeout_ms)
{
    /* one shot: what it tells is told once. Without it (no memory in the kernel) the client's
     * leaving is seen when the time is over. */
    struct epoll_event e = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = park_data(c)};
    pthread_mutex_lock(&k->lock);
    c->wake_at_ms = http_now_ms() + timeout_ms + 1; /* whole milliseconds: never early */
    k->heap[k->n] = c;
    heap_up(k, k->n++);
    bool sooner = c->wake_at_ms < k->sleeps_until_ms;
    pthread_mutex_unlock(&k->lock);
    (void)epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
    if (sooner)
        nudge(k);
}

void http_keeper_forget(struct http_keeper *k, struct http_conn *c)
{
    pthread_mutex_lock(&k->lock);
    heap_remove(k, c);
    pthread_mutex_unlock(&k->lock);
    (void)epoll_ctl(k->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
}

/* ---- the thread ---- */

static void wake_park(struct http_server *s, uint64_t data, bool gone)
{
    struct http_conn *c = &s->conns[(uint32_t)data];
    pthread_mutex_lock(&c->lock);
    if (c->state == CONN_PARKED && c->park == (uint32_t)(data >> 32)) {
        c->gone = gone;
        http_conn_resume(c);
    }
    pthread_mutex_unlock(&c->lock);
}

/* Wake those whose time is over. Their locks come before the keeper's, so that each is only
 * looked up under that one. */
static void wake_due(struct http_server *s)
{
    struct http_keeper *k = &s->keeper;
    for (;;) {
        uint64_t data = 0;
        pthread_mutex_lock(&k->lock);
        bool due = k->n && k->heap[0]->wake_at_ms <= http_now_ms();
        if (due)
            data = park_data(k->heap[0]);
        pthread_mutex_unlock(&k->lock);
        if (!due)
            return;
        wake_park(s, data, false);
    }
}

static void cut_off(struct http_conn *c, int64_t now_ms)
{
    pthread_mutex_lock(&c->lock);
    int64_t at_ms = atomic_load(&c->server->deadlines_ms[c->index]);
    if (c->mhd && at_ms && at_ms <= now_ms) {
        atomic_store(&c->server->deadlines_ms[c->index], 0);
        shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees it and ends the connection */
    }
    pthread_mutex_unlock(&c->lock);
}

static void sweep(struct http_server *s, int64_t now_ms)
{
    for (uint32_t i = 0; i < s->n_conns_max; i++) {
        int64_t at_ms = atomic_load_explicit(&s->deadlines_ms[i], memory_order_relaxed);
        if (at_ms && at_ms <= now_ms)
            cut_off(&s->conns[i], now_ms);
    }
}

static void listener_arm(struct http_keeper *k, bool on)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = DATA_LISTENER};
    if (on != k->listening &&
        epoll_ctl(k->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, k->listen_fd, &e) == 0)
        k->listening = on;
}

static void accept_some(struct http_server *s)
{
    struct http_keeper *k = &s->keeper;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        /* full, or out of descriptors: the next sweep tries again, until then they queue */
        if (atomic_load(&s->n_conns) >= s->n_conns_max) {
            listener_arm(k, false);
            return;
        }
        int fd =
            accept4(k->listen_fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            (void)MHD_add_connection(s->daemon, fd, (struct sockaddr *)&from, len);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            listener_arm(k, false);
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void listener_close(struct http_keeper *k)
{
    listener_arm(k, false);
    close(k->listen_fd);
    k->listen_fd = -1;
    pthread_mutex_lock(&k->lock);
    k->listener_closed = true;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

/* How long to sleep; *close_listener and the value of stop come with the same look. */
static bool plan_sleep(struct http_keeper *k, int64_t next_sweep_ms, int *sleep_ms,
                       bool *close_listener)
{
    pthread_mutex_lock(&k->lock);
    int64_t until_ms = next_sweep_ms;
    if (k->n && k->heap[0]->wake_at_ms < until_ms)
        until_ms = k->heap[0]->wake_at_ms;
    k->sleeps_until_ms = until_ms;
    bool go_on = !k->stop;
    *close_listener = k->close_listener && k->listen_fd >= 0;
    pthread_mutex_unlock(&k->lock);
    int64_t ms = until_ms - http_now_ms();
    *sleep_ms = ms < 0 ? 0 : (int)ms;
    return go_on;
}

static void handle_event(struct http_server *s, const struct epoll_event *e)
{
    uint64_t count;
    if (e->data.u64 == DATA_WAKE)
        while (read(s->keeper.event_fd, &count, sizeof count) < 0 && errno == EINTR)
            ;
    else if (e->data.u64 == DATA_LISTENER)
        accept_some(s);
    else
        wake_park(s, e->data.u64, true);
}

static void *keeper_run(void *arg)
{
    struct http_server *s = arg;
    struct http_keeper *k = &s->keeper;
    struct epoll_event events[EVENTS_MAX];
    int64_t next_sweep_ms = http_now_ms() + SWEEP_MS;
    int sleep_ms;
    bool close_listener;
    while (plan_sleep(k, next_sweep_ms, &sleep_ms, &close_listener)) {
        if (close_listener)
            listener_close(k);
        int n = epoll_wait(k->epoll_fd, events, EVENTS_MAX, sleep_ms);
        for (int i = 0; i < n; i++)
            handle_event(s, &events[i]);
        wake_due(s);
        if (http_now_ms() >= next_sweep_ms) {
            next_sweep_ms = http_now_ms() + SWEEP_MS;
            sweep(s, http_now_ms());
            if (k->listen_fd >= 0)
                listener_arm(k, true);
        }
    }
    return NULL;
}

enum err http_keeper_start(struct http_server *s, int listen_fd, struct errmsg *em)
{
    struct http_keeper *k = &s->keeper;
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = DATA_WAKE};
    k->listen_fd = listen_fd;
    k->heap = calloc(s->n_conns_max, sizeof *k->heap);
    k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    k->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!k->heap)
        return err_nomem(em, s->n_conns_max * sizeof *k->heap);
    if (k->epoll_fd < 0 || k->event_fd < 0 ||
        epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, k->event_fd, &e))
        return err_set(em, ERR_IO, "cannot watch connections: %s", strerror(errno));
    listener_arm(k, true);
    int rc = pthread_create(&k->thread, NULL, keeper_run, s);
    if (rc)
        return err_set(em, ERR_NOMEM, "cannot start the thread that accepts connections: %s",
                       strerror(rc));
    k->started = true;
    return ERR_OK;
}

void http_keeper_close_listener(struct http_keeper *k)
{
    if (!k->started)
        return;
    pthread_mutex_lock(&k->lock);
    k->close_listener = true;
    nudge(k);
    while (!k->listener_closed)
        pthread_cond_wait(&k->changed, &k->lock);
    pthread_mutex_unlock(&k->lock);
}

void http_keeper_stop(struct http_keeper *k)
{
    if (k->started) {
        pthread_mutex_lock(&k->lock);
        k->stop = true;
        pthread_mutex_unlock(&k->lock);
        nudge(k);
        pthread_join(k->thread, NULL);
    }
    if (k->listen_fd >= 0)
        close(k->listen_fd);
    if (k->epoll_fd >= 0)
        close(k->epoll_fd);
    if (k->event_fd >= 0)
        close(k->event_fd);
    free(k->heap);
}

/* SPDX-License-Identifier: MIT */
/* Outcomes on their way into the store. Each call there waits for the disk, and calls that wait
 * at the same time share one commit: so several threads call, and the delivering thread none.
 * While the disk is full or the store is locked they hold on to what they have: an outcome that
 * is lost is a webhook that comes twice. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "webhooks/webhooks_impl.h"

#define RECORDER_THREADS 8u
#define RETRY_MIN_S 0.05
#define RETRY_MAX_S 1.0

struct recorder {
    struct store *store;
    void (*recorded)(void *ctx);
    void *ctx;
    pthread_t threads[RECORDER_THREADS];
    size_t n_threads;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t work, end;
    struct delivery *first, **last;
    size_t n_pending; /* queued or with a thread */
    bool ending;
    double end_s; /* if ending: the queue is given up then */
    bool news;    /* since recorder_news was called */
    enum err rc;
    struct errmsg em;
};

static enum err record(struct recorder *r, const struct delivery *d, struct errmsg *em)
{
    const struct outcome *o = &d->outcome;
    if (o->delivered)
        return store_outbox_delivered(r->store, d->entry.id, o->status, em);
    return store_outbox_failed(r->store, d->entry.id, o->status, o->error, d->next_try_ms, d->dead,
                               em);
}

static bool is_passing(enum err rc)
{
    return rc == ERR_FULL || rc == ERR_BUSY;
}

/* With the lock. */
static void note(struct recorder *r, enum err rc, const struct errmsg *em)
{
    r->news = true;
    r->rc = rc;
    if (rc)
        r->em = *em;
}

/* With the lock, until somebody ends us or the time is over. */
static void pause_s(struct recorder *r, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    int rc = 0;
    while (rc == 0 && !r->ending)
        rc = pthread_cond_clockwait(&r->end, &r->lock, CLOCK_MONOTONIC, &until);
}

/* With the lock, which is let go while the store works. */
static void record_at_last(struct recorder *r, const struct delivery *d)
{
    double wait_s = RETRY_MIN_S;
    for (;;) {
        struct errmsg em;
        pthread_mutex_unlock(&r->lock);
        enum err rc = record(r, d, &em);
        pthread_mutex_lock(&r->lock);
        note(r, rc, &em);
        if (!is_passing(rc) || r->ending)
            return;
        pthread_mutex_unlock(&r->lock);
        r->recorded(r->ctx);
        pthread_mutex_lock(&r->lock);
        pause_s(r, wait_s);
        wait_s = wait_s < RETRY_MAX_S / 2 ? 2 * wait_s : RETRY_MAX_S;
    }
}

/* With the lock. NULL: the thread shall end. */
static struct delivery *next_take(struct recorder *r)
{
    while (!r->first && !r->ending)
        pthread_cond_wait(&r->work, &r->lock);
    struct delivery *d = r->first;
    if (!d || (r->ending && clock_now_s() > r->end_s))
        return NULL;
    r->first = d->next;
    if (!r->first)
        r->last = &r->first;
    return d;
}

static void *record_all(void *arg)
{
    struct recorder *r = arg;
    struct delivery *d;
    pthread_mutex_lock(&r->lock);
    while ((d = next_take(r)) != NULL) {
        record_at_last(r, d);
        r->n_pending--;
        pthread_mutex_unlock(&r->lock);
        delivery_free(d);
        r->recorded(r->ctx);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

enum err recorder_new(struct store *store, void (*recorded)(void *ctx), void *ctx,
                      struct recorder **out, struct errmsg *em)
{
    struct recorder *r = calloc(1, sizeof *r);
    if (!r)
        return err_nomem(em, sizeof *r);
    r->store = store;
    r->recorded = recorded;
    r->ctx = ctx;
    r->last = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->end, NULL);
    while (r->n_threads < RECORDER_THREADS &&
           pthread_create(&r->threads[r->n_threads], NULL, record_all, r) == 0)
        pthread_setname_np(r->threads[r->n_threads++], "webhooks-store");
    if (r->n_threads == 0) {
        recorder_free(r, 0);
        return err_set(em, ERR_NOMEM, "cannot start a thread for webhooks");
    }
    *out = r;
    return ERR_OK;
}

void recorder_put_take(struct recorder *r, struct delivery *d)
{
    d->next = NULL;
    pthread_mutex_lock(&r->lock);
    *r->last = d;
    r->last = &d->next;
    r->n_pending++;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
}

size_t recorder_n_pending(struct recorder *r)
{
    pthread_mutex_lock(&r->lock);
    size_t n = r->n_pending;
    pthread_mutex_unlock(&r->lock);
    return n;
}

bool recorder_news(struct recorder *r, enum err *rc, struct errmsg *em)
{
    pthread_mutex_lock(&r->lock);
    bool news = r->news;
    r->news = false;
    *rc = r->rc;
    *em = r->em;
    pthread_mutex_unlock(&r->lock);
    return news;
}

void recorder_free(struct recorder *r, double end_s)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->ending = true;
    r->end_s = end_s;
    pthread_cond_broadcast(&r->work);
    pthread_cond_broadcast(&r->end);
    pthread_mutex_unlock(&r->lock);
    for (size_t i = 0; i < r->n_threads; i++)
        pthread_join(r->threads[i], NULL);
    while (r->first) {
        struct delivery *d = r->first;
        r->first = d->next;
        delivery_free(d);
    }
    pthread_cond_destroy(&r->end);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

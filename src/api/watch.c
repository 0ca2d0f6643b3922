/* SPDX-License-Identifier: MIT */
/* Requests that wait for something in the store. Each change wakes all of them, and each looks
 * again for itself; a request registers before it looks, so that no change falls between. */
#include "api/core_impl.h"

void watch_begin(struct request *q)
{
    struct api *a = q->api;
    if (q->watching)
        return;
    pthread_mutex_lock(&a->watch_lock);
    q->watch_next = a->watching;
    q->watch_prev = NULL;
    if (a->watching)
        a->watching->watch_prev = q;
    a->watching = q;
    pthread_mutex_unlock(&a->watch_lock);
    q->watching = true;
}

void watch_end(struct request *q)
{
    struct api *a = q->api;
    if (!q->watching)
        return;
    pthread_mutex_lock(&a->watch_lock);
    if (q->watch_prev)
        q->watch_prev->watch_next = q->watch_next;
    else
        a->watching = q->watch_next;
    if (q->watch_next)
        q->watch_next->watch_prev = q->watch_prev;
    pthread_mutex_unlock(&a->watch_lock);
    q->watching = false;
}

void watch_park(struct request *q)
{
    http_park(q->http, API_WATCH_MS);
}

void api_store_changed(struct api *a)
{
    pthread_mutex_lock(&a->watch_lock);
    for (struct request *q = a->watching; q; q = q->watch_next)
        http_wake(q->http);
    pthread_mutex_unlock(&a->watch_lock);
}

/* SPDX-License-Identifier: MIT */
/* Requests that wait for tasks, found by the task: a change wakes those that wait for it, and each
 * looks again for itself. A request registers before it looks, and the store is asked for changes
 * after they were committed, so that none falls between. */
#include "api/core_impl.h"

/* FNV-1a. Ids are random: nobody can choose buckets. */
static uint64_t hash_of(const char *id)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * UINT64_C(0x100000001b3);
    return hash;
}

static bool is_watching(const struct request *q, uint64_t hash)
{
    for (size_t i = 0; i < q->n_watches; i++)
        if (q->watches[i].hash == hash)
            return true;
    return false;
}

void watch_begin(struct request *q, const char *task_id)
{
    struct api *a = q->api;
    uint64_t hash = hash_of(task_id);
    if (is_watching(q, hash) || q->n_watches == API_TASKS_MAX)
        return;
    struct watch *w = &q->watches[q->n_watches++];
    *w = (struct watch){.hash = hash, .q = q, .link = &a->watching[hash % API_WATCH_BUCKETS]};
    pthread_mutex_lock(&a->watch_lock);
    w->next = *w->link;
    if (w->next)
        w->next->link = &w->next;
    *w->link = w;
    a->n_watches++;
    pthread_mutex_unlock(&a->watch_lock);
}

void watch_end(struct request *q)
{
    struct api *a = q->api;
    if (!q->n_watches)
        return;
    pthread_mutex_lock(&a->watch_lock);
    a->n_watches -= q->n_watches;
    while (q->n_watches) {
        struct watch *w = &q->watches[--q->n_watches];
        *w->link = w->next;
        if (w->next)
            w->next->link = w->link;
    }
    pthread_mutex_unlock(&a->watch_lock);
}

void watch_park(struct request *q)
{
    http_park(q->http, API_WATCH_MS);
}

static void wake(void *ctx, const char *task_id)
{
    struct api *a = ctx;
    uint64_t hash = hash_of(task_id);
    pthread_mutex_lock(&a->watch_lock);
    for (struct watch *w = a->watching[hash % API_WATCH_BUCKETS]; w; w = w->next)
        if (w->hash == hash)
            http_wake(w->q->http);
    pthread_mutex_unlock(&a->watch_lock);
}

static void wake_all(struct api *a)
{
    pthread_mutex_lock(&a->watch_lock);
    for (size_t i = 0; i < API_WATCH_BUCKETS; i++)
        for (struct watch *w = a->watching[i]; w; w = w->next)
            http_wake(w->q->http);
    pthread_mutex_unlock(&a->watch_lock);
}

static bool anyone_watches(struct api *a)
{
    pthread_mutex_lock(&a->watch_lock);
    bool yes = a->n_watches > 0;
    pthread_mutex_unlock(&a->watch_lock);
    return yes;
}

/* With nobody there the number stays behind: who comes later is told too much, never too little. */
void api_store_changed(struct api *a)
{
    struct errmsg em;
    bool all = true;
    if (!anyone_watches(a))
        return;
    enum err rc = store_changes(a->o.store, &a->changes_seen, wake, a, &all, &em);
    if (rc || all)
        wake_all(a);
}

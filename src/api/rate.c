/* SPDX-License-Identifier: MIT */
/* Two token buckets for each key: so many requests a minute, and no more than a burst of them
 * in one second. Memory grows with the number of keys, which the operator makes. */
#include <math.h>
#include <stdlib.h>

#include "api/core_impl.h"

struct bucket {
    int64_t key_id;
    double minute, second; /* tokens left */
    double at_s;           /* when that was */
};

struct rates {
    pthread_mutex_t lock;
    struct bucket *items; /* open addressing; key_id 0 is free */
    size_t cap, n;        /* cap: a power of two */
};

#define RATES_CAP_FIRST 64u

enum err rates_new(struct rates **out, struct errmsg *em)
{
    struct rates *r = calloc(1, sizeof *r);
    if (!r)
        return err_nomem(em, sizeof *r);
    r->cap = RATES_CAP_FIRST;
    r->items = calloc(r->cap, sizeof *r->items);
    if (!r->items) {
        free(r);
        return err_nomem(em, RATES_CAP_FIRST * sizeof *r->items);
    }
    pthread_mutex_init(&r->lock, NULL);
    *out = r;
    return ERR_OK;
}

void rates_free(struct rates *r)
{
    if (!r)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r->items);
    free(r);
}

static struct bucket *slot(struct bucket *items, size_t cap, int64_t key_id)
{
    size_t i = (size_t)((uint64_t)key_id * 0x9e3779b97f4a7c15u >> 20) & (cap - 1);
    while (items[i].key_id != 0 && items[i].key_id != key_id)
        i = (i + 1) & (cap - 1);
    return &items[i];
}

static enum err grow(struct rates *r, struct errmsg *em)
{
    size_t cap = r->cap * 2;
    struct bucket *items = calloc(cap, sizeof *items);
    if (!items)
        return err_nomem(em, cap * sizeof *items);
    for (size_t i = 0; i < r->cap; i++)
        if (r->items[i].key_id)
            *slot(items, cap, r->items[i].key_id) = r->items[i];
    free(r->items);
    r->items = items;
    r->cap = cap;
    return ERR_OK;
}

static enum err find(struct rates *r, int64_t key_id, struct bucket **out, struct errmsg *em)
{
    enum err rc = ERR_OK;
    if (r->n * 2 >= r->cap && (rc = grow(r, em)))
        return rc;
    *out = slot(r->items, r->cap, key_id);
    if ((*out)->key_id == 0) {
        /* full at first: more than either can hold, cut by refill() */
        **out = (struct bucket){.key_id = key_id, .minute = HUGE_VAL, .second = HUGE_VAL};
        r->n++;
    }
    return ERR_OK;
}

static double burst_of(double rate_per_minute)
{
    return fmax(RATE_BURST_PER_SECOND, ceil(rate_per_minute / 60));
}

static void refill(struct bucket *b, double rate_per_minute, double now_s)
{
    double passed_s = fmax(0, now_s - b->at_s), burst = burst_of(rate_per_minute);
    b->minute = fmin(rate_per_minute, b->minute + passed_s * rate_per_minute / 60);
    b->second = fmin(burst, b->second + passed_s * burst);
    b->at_s = now_s;
}

static void take(struct bucket *b, double rate_per_minute, struct rate_state *out)
{
    out->allowed = b->minute >= 1 && b->second >= 1;
    if (out->allowed) {
        b->minute -= 1;
        b->second -= 1;
    } else {
        double wait_s = fmax((1 - b->minute) * 60 / rate_per_minute,
                             (1 - b->second) / burst_of(rate_per_minute));
        out->retry_after_s = (int64_t)fmax(1, ceil(wait_s));
    }
    out->remaining = (int64_t)b->minute;
    out->reset_s = (int64_t)ceil((rate_per_minute - b->minute) * 60 / rate_per_minute);
}

enum err rates_take(struct rates *r, int64_t key_id, int64_t rate_per_minute, double now_s,
                    struct rate_state *out, struct errmsg *em)
{
    struct bucket *b;
    *out = (struct rate_state){.allowed = true, .limit = rate_per_minute};
    if (rate_per_minute <= 0)
        return ERR_OK;
    pthread_mutex_lock(&r->lock);
    enum err rc = find(r, key_id, &b, em);
    if (!rc) {
        refill(b, (double)rate_per_minute, now_s);
        take(b, (double)rate_per_minute, out);
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* Queues of entries by receiver, and whose turn it is. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "webhooks/webhooks_impl.h"

#define SECONDS_UNKNOWN 1.0

static uint64_t name_hash(const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return h;
}

static struct receiver *find(const struct receivers *rs, const char *name)
{
    uint64_t hash = name_hash(name);
    for (size_t i = 0; i < rs->n; i++)
        if (rs->items[i]->hash == hash && strcmp(rs->items[i]->name, name) == 0)
            return rs->items[i];
    return NULL;
}

/* Make room by forgetting the receiver that has been idle longest. */
static void evict_idle(struct receivers *rs)
{
    size_t oldest = rs->n;
    for (size_t i = 0; i < rs->n; i++) {
        const struct receiver *r = rs->items[i];
        if (r->n_queued + r->n_running == 0 &&
            (oldest == rs->n || r->last_used_s < rs->items[oldest]->last_used_s))
            oldest = i;
    }
    if (oldest == rs->n)
        return;
    free(rs->items[oldest]);
    rs->items[oldest] = rs->items[--rs->n];
}

static struct receiver *add(struct receivers *rs, const char *name)
{
    if (rs->n >= RECEIVERS_MAX)
        evict_idle(rs);
    if (rs->n == rs->cap) {
        size_t cap = rs->cap ? 2 * rs->cap : 16;
        struct receiver **items = realloc(rs->items, cap * sizeof *items);
        if (!items)
            return NULL;
        rs->items = items;
        rs->cap = cap;
    }
    size_t len = strlen(name);
    struct receiver *r = calloc(1, sizeof *r + len + 1);
    if (!r)
        return NULL;
    memcpy(r->name, name, len + 1);
    r->hash = name_hash(name);
    r->seconds = SECONDS_UNKNOWN;
    rs->items[rs->n++] = r;
    return r;
}

enum err receivers_push_take(struct receivers *rs, struct delivery *d, double now_s,
                             struct errmsg *em)
{
    struct receiver *r = find(rs, d->url.receiver);
    if (!r)
        r = add(rs, d->url.receiver);
    if (!r)
        return err_nomem(em, sizeof *r);
    d->next = NULL;
    d->receiver = r;
    if (r->last)
        r->last->next = d;
    else
        r->first = d;
    r->last = d;
    r->last_used_s = now_s;
    r->n_queued++;
    rs->n_queued++;
    return ERR_OK;
}

bool receivers_hold(const struct receivers *rs, const struct delivery *d)
{
    const struct receiver *r = find(rs, d->url.receiver);
    for (const struct delivery *q = r ? r->first : NULL; q; q = q->next)
        if (q->entry.id == d->entry.id)
            return true;
    return false;
}

static bool may_start(const struct receivers *rs, const struct receiver *r)
{
    if (!r->first)
        return false;
    if (r->quick)
        return r->n_running < rs->per_host;
    return r->n_running < min_size(rs->per_host, RECEIVER_SLOW_WINDOW) &&
           rs->n_running_slow < div_up(rs->max_running, 2);
}

static struct delivery *pop(struct receivers *rs, struct receiver *r)
{
    struct delivery *d = r->first;
    r->first = d->next;
    if (!r->first)
        r->last = NULL;
    d->next = NULL;
    r->n_queued--;
    rs->n_queued--;
    return d;
}

struct delivery *receivers_start(struct receivers *rs)
{
    if (rs->n_running >= rs->max_running || rs->n_queued == 0)
        return NULL;
    for (size_t i = 0; i < rs->n; i++) {
        size_t at = (rs->turn + i) % rs->n;
        struct receiver *r = rs->items[at];
        if (!may_start(rs, r))
            continue;
        struct delivery *d = pop(rs, r);
        rs->turn = at + 1;
        r->n_running++;
        rs->n_running++;
        d->in_slow_share = !r->quick;
        rs->n_running_slow += d->in_slow_share;
        return d;
    }
    return NULL;
}

void receivers_end(struct receivers *rs, struct delivery *d, double seconds, double now_s)
{
    struct receiver *r = d->receiver;
    r->n_running--;
    rs->n_running--;
    rs->n_running_slow -= d->in_slow_share;
    r->last_used_s = now_s;
    if (seconds < 0)
        return;
    r->quick = seconds < RECEIVER_QUICK_S;
    r->seconds += (seconds - r->seconds) / 4;
}

/* Forget the queued ones that `drop` picks; place counts those before it, dropped or not. */
static void remove_if(struct receivers *rs, struct receiver *r,
                      bool (*drop)(const struct delivery *d, size_t place, double bound),
                      double bound)
{
    struct delivery **link = &r->first;
    r->last = NULL;
    for (size_t place = 0; *link; place++) {
        struct delivery *d = *link;
        if (!drop(d, place, bound)) {
            r->last = d;
            link = &d->next;
            continue;
        }
        *link = d->next;
        r->n_queued--;
        rs->n_queued--;
        delivery_free(d);
    }
}

static bool lease_is_short(const struct delivery *d, size_t place, double lease_ends_s)
{
    (void)place;
    return d->lease_ends_s < lease_ends_s;
}

static bool place_is_late(const struct delivery *d, size_t place, double n)
{
    (void)d;
    return (double)place >= n;
}

void receivers_drop_stale(struct receivers *rs, double lease_ends_s)
{
    for (size_t i = 0; i < rs->n; i++)
        remove_if(rs, rs->items[i], lease_is_short, lease_ends_s);
}

void receivers_shed(struct receivers *rs, double within_s)
{
    for (size_t i = 0; i < rs->n; i++) {
        struct receiver *r = rs->items[i];
        size_t window = r->quick ? rs->per_host : min_size(rs->per_host, RECEIVER_SLOW_WINDOW);
        double seconds = r->seconds > 0.001 ? r->seconds : 0.001;
        remove_if(rs, r, place_is_late, (double)window * (within_s / seconds));
    }
}

void receivers_deinit(struct receivers *rs)
{
    for (size_t i = 0; i < rs->n; i++) {
        remove_if(rs, rs->items[i], place_is_late, 0);
        free(rs->items[i]);
    }
    free(rs->items);
    *rs = (struct receivers){0};
}

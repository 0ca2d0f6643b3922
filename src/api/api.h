/* SPDX-License-Identifier: MIT */
/* The HTTP contract: three dialects around one request and one task, files, events,
 * the playground, metrics and health. It meets the workers in the store only. */
#ifndef EASEL_API_API_H
#define EASEL_API_API_H

#include <stdbool.h>

#include "base/limits.h"
#include "blobs/blobs.h"
#include "http/http.h"
#include "store/store.h"

struct api;

struct api_prices {
    double output_mp, reference_mp; /* credits for a megapixel */
};

/* What one request names by address: pictures to get, and where its webhook is to go. All of it
 * is reached for at once, by somebody who may wait for other people's servers. */
struct reach_item {
    const char *url; /* valid during reach_begin */
    bool look;       /* only whether it is allowed: nothing is sent there */
    /* when it is finished: */
    enum err rc; /* ERR_FORMAT: the message is for the client, to go after the field's name */
    struct errmsg em;
    const void *bytes; /* until reach_end */
    size_t len;
};
struct reach {
    struct reach_item items[LIMIT_REFERENCES_MAX + 1];
    size_t n;
    int64_t key_id;              /* whose share of the transfers it takes */
    void (*finished)(void *ctx); /* once, on any thread; must not block */
    void *ctx;
    void *impl; /* of who reaches */
};

struct api_options {
    struct store *store; /* borrowed, all of them */
    struct blobs *blobs;
    const char *public_url;  /* "https://draw.example.org", no slash at the end; NULL: by the
                                Host header, checked */
    const char *model;       /* the name that answers for any model's name: "nano", … */
    unsigned references_max; /* of that model */
    bool can_enhance;
    const char *signing_secret; /* for result URLs */
    int64_t url_lifetime_ms;
    struct api_prices prices;
    /* Start for the addresses that a request names; the rules are those of webhooks/, for
       pictures too. Must not wait. ERR_BUSY: too many are under way. */
    enum err (*reach_begin)(void *ctx, struct reach *r, struct errmsg *em);
    /* After a successful begin, once: gives up what is under way and frees what came. finished
       is not called afterwards. Must not wait for the network. */
    void (*reach_end)(void *ctx, struct reach *r);
    void (*webhook_owed)(void *ctx); /* something is in the outbox */
    void (*task_queued)(void *ctx);  /* NULL: workers look by themselves */
    bool (*worker_ready)(void *ctx); /* for /readyz */
    void (*log)(void *ctx, const char *level, const char *message);
    void (*access)(void *ctx, const char *json_line); /* one line of the access log */
    void *ctx;
};
NODISCARD enum err api_new(const struct api_options *o, struct api **out, struct errmsg *em);
/* Give these to http_server_start, with the api as app. */
const struct http_handler *api_handler(void);
/* Where it listens ("http://127.0.0.1:8080"), known once the server has started: the base of
 * URLs in webhooks where public_url is NULL. Call before the first webhook is rendered. */
NODISCARD enum err api_set_local_url(struct api *a, const char *url, struct errmsg *em);
/* Call after http_server_stop. */
void api_free(struct api *a);
/* After the store's version changed: wakes requests that wait for tasks. One thread at a time. */
void api_store_changed(struct api *a);

/* The body of a webhook: the dialect's answer for the task in the state that the entry tells. */
NODISCARD enum err api_render_webhook(struct api *a, const struct outbox_entry *e, struct buf *out,
                                      struct errmsg *em);

#endif

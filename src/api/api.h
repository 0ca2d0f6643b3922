/* SPDX-License-Identifier: MIT */
/* The HTTP contract: three dialects around one request and one task, files, events,
 * the playground, metrics and health. It meets the workers in the store only. */
#ifndef EASEL_API_API_H
#define EASEL_API_API_H

#include <stdbool.h>

#include "blobs/blobs.h"
#include "http/http.h"
#include "store/store.h"

struct api;

struct api_prices {
    double output_mp, reference_mp; /* credits for a megapixel */
};

struct api_options {
    struct store *store;        /* borrowed, all of them */
    struct blobs *blobs;
    const char *public_url;     /* "https://draw.example.org", no slash at the end; NULL: by the
                                   Host header, checked */
    const char *model;          /* the name that answers for any model's name: "nano", … */
    unsigned references_max;    /* of that model */
    bool can_enhance;
    bool allow_private_webhooks;
    const char *signing_secret; /* for result URLs */
    int64_t url_lifetime_ms;
    struct api_prices prices;
    /* Is a webhook allowed there? webhooks/ has the rules; the service hands them in. */
    enum err (*check_webhook_url)(const char *url, bool allow_private, struct errmsg *em);
    /* The bytes behind a picture's URL, appended to out; NULL: dialects that take URLs refuse
       them. It follows the same rules as webhooks do. */
    enum err (*fetch_picture)(void *ctx, const char *url, size_t max_bytes, struct buf *out,
                              struct errmsg *em);
    void (*webhook_owed)(void *ctx);                      /* something is in the outbox */
    bool (*worker_ready)(void *ctx);                      /* for /readyz */
    void (*log)(void *ctx, const char *level, const char *message);
    void (*access)(void *ctx, const char *json_line);     /* one line of the access log */
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
/* After the store's version changed: wakes requests that wait for tasks. */
void api_store_changed(struct api *a);

/* The body of a webhook: the dialect's answer for the task in the state that the entry tells. */
NODISCARD enum err api_render_webhook(struct api *a, const struct outbox_entry *e, struct buf *out,
                                      struct errmsg *em);

#endif

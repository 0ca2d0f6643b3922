/* SPDX-License-Identifier: MIT */
/* Delivers what the outbox owes: signed (Standard Webhooks), in order per task, many receivers
 * at once, retried with backoff for 24 h, never to addresses of the inner network. An entry is
 * delivered at least once; receivers tell repeats by their webhook-id. */
#ifndef EASEL_WEBHOOKS_WEBHOOKS_H
#define EASEL_WEBHOOKS_WEBHOOKS_H

#include <stdbool.h>

#include "base/buf.h"
#include "store/store.h"

#define WEBHOOK_URL_CHARS_MAX 2048u
#define WEBHOOK_ANSWER_BYTES_MAX (64u << 10) /* read of an answer, its head included */

struct webhooks;

struct webhooks_options {
    struct store *store; /* borrowed */
    const char *secret;  /* as configured: raw bytes, or whsec_ and base64 */
    bool allow_private;  /* deliver to loopback and private addresses, too */
    size_t concurrency;  /* transfers at once; 0: 64 */
    size_t per_host;     /* of them to one scheme, host and port; 0: 8 */
    unsigned timeout_ms; /* of one try; 0: 15000 */
    /* The body for an entry; the same bytes at every try. ERR_NOTFOUND: the task is gone.
     * Called on the delivering thread. */
    enum err (*render)(void *ctx, const struct outbox_entry *e, struct buf *out, struct errmsg *em);
    /* One line for the log ("info", "warning", "error"); may be NULL. On the same thread. */
    void (*log)(void *ctx, const char *level, const char *message);
    void *ctx;
    /* For tests: seconds between tries in place of 5, 30, 120, 600, 3600, 10800 …; the last
     * one repeats. */
    const unsigned *backoff_s;
    size_t n_backoff;
};
/* Starts the threads that deliver until webhooks_stop, beginning with what a crash cut off. Of a
 * store's processes one at most may do so. The options are copied. ERR_USAGE: the secret is missing
 * or malformed. */
NODISCARD enum err webhooks_start(const struct webhooks_options *o, struct webhooks **out,
                                  struct errmsg *em);
/* Something was committed: look now, not at the next tick (0.1 s). Any thread. */
void webhooks_wake(struct webhooks *w);
/* Deliveries under way get grace_ms; the rest stays in the outbox, leased to nobody. Frees w; NULL
 * is fine. */
void webhooks_stop(struct webhooks *w, unsigned grace_ms);

/* May a webhook go to this URL, by its spelling? An absolute http or https URL of at most 2048
 * characters without userinfo, whose host is no private, loopback, link-local, multicast or
 * otherwise special address in any spelling, and no name of an inner network. IPv4 addresses
 * have one spelling, four decimal numbers; others are refused. allow_private lets loopback and
 * private ones through. What a name resolves to is not looked at here, but at every connect
 * (webhooks/fence.h). ERR_USAGE: the message says why, to go after the field's name ("must …"). */
NODISCARD enum err webhook_url_check(const char *url, bool allow_private, struct errmsg *em);
/* Is the secret well formed (whsec_ with valid base64 of 24…64 bytes, or 16…256 bytes)? */
NODISCARD enum err webhook_secret_check(const char *secret, struct errmsg *em);
/* "v1,<base64 HMAC-SHA256>" of "{id}.{timestamp}.{body}", appended. Secrets may be shorter
 * here than webhook_secret_check asks for. ERR_USAGE: empty, over 256 bytes, or not base64. */
NODISCARD enum err webhook_sign(const char *secret, const char *id, int64_t timestamp_s,
                                const void *body, size_t len, struct buf *out, struct errmsg *em);

#endif

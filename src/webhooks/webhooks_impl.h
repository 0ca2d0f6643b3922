/* SPDX-License-Identifier: MIT */
/* The parts of webhooks/: addresses, URLs, outcomes and backoff, receivers, transfers. */
#ifndef EASEL_WEBHOOKS_WEBHOOKS_IMPL_H
#define EASEL_WEBHOOKS_WEBHOOKS_IMPL_H

#include <netinet/in.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "webhooks/fence.h"
#include "webhooks/webhooks.h"

/* ---- address.c: what an address stands for ---- */
enum address_kind {
    ADDRESS_PUBLIC,
    ADDRESS_LOOPBACK,
    ADDRESS_PRIVATE,    /* RFC 1918, shared (RFC 6598), unique local IPv6 */
    ADDRESS_LINK_LOCAL, /* where clouds keep their metadata */
    ADDRESS_MULTICAST,
    ADDRESS_RESERVED, /* everything else that no public server has */
};
/* An IPv6 address that holds an IPv4 one (mapped, NAT64, 6to4) is what that one is. A family
 * other than IPv4 and IPv6 is ADDRESS_RESERVED. */
enum address_kind address_kind_of(const struct sockaddr *sa);
/* "a loopback address", for messages. */
const char *address_kind_text(enum address_kind kind);
/* Loopback and private ones only with allow_private; the others never, but for public ones. */
bool address_allowed(enum address_kind kind, bool allow_private);
#define ADDRESS_TEXT_MAX INET6_ADDRSTRLEN
/* Without port and brackets. */
void address_write(const struct sockaddr *sa, char out[ADDRESS_TEXT_MAX]);

/* ---- url.c ---- */
#define HOST_CHARS_MAX 253u
#define RECEIVER_CHARS_MAX (HOST_CHARS_MAX + 16u)

struct webhook_url {
    char *url;                             /* for curl: normalised, no fragment; owned */
    char host[HOST_CHARS_MAX + 1];         /* lower case; no brackets, no final dot */
    char receiver[RECEIVER_CHARS_MAX + 1]; /* "https://host:port", which logs may hold */
    uint16_t port;
    bool https;
    bool is_address;                 /* the host is not a name, but: */
    struct sockaddr_storage address; /* with the port */
};
void webhook_url_deinit(struct webhook_url *u);
/* Syntax alone, no lookup. Two parsers, this one and curl's, must find the same host and port.
 * ERR_USAGE. out: owned on success, untouched otherwise. */
NODISCARD enum err webhook_url_parse(const char *url, struct webhook_url *out, struct errmsg *em);
/* Is the host, as written, an inner name or address? No lookup. ERR_USAGE. */
NODISCARD enum err webhook_url_policy(const struct webhook_url *u, bool allow_private,
                                      struct errmsg *em);

/* ---- retry.c: when to try again ---- */
struct outcome {
    bool delivered;
    bool hopeless;          /* no more tries */
    int status;             /* HTTP, or 0 */
    unsigned retry_after_s; /* what the receiver asked for; 0: nothing */
    char error[256];        /* one line, printable */
};
void outcome_fail(struct outcome *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* What an HTTP status means for the delivery. */
void outcome_set_status(struct outcome *o, int status, unsigned retry_after_s);

struct retry_schedule {
    const unsigned *backoff_s; /* the last one repeats */
    size_t n;
};
extern const struct retry_schedule retry_standard;
/* Milliseconds until the next try of an entry that failed tries_before times before this one;
 * random is 0 … UINT32_MAX, for the jitter. -1: there is none, it is dead: more than 24 h have
 * gone since created_ms, unless it had too few tries yet (the service was down, or the operator
 * redelivers). */
int64_t retry_delay_ms(const struct retry_schedule *s, const struct outcome *o,
                       unsigned tries_before, int64_t created_ms, int64_t now_ms, uint32_t random);

/* ---- delivery: one entry that is leased to us ---- */
struct receiver;

struct delivery {
    struct delivery *next;     /* in its receiver's queue, or among those under way */
    struct outbox_entry entry; /* our copy; url, secret and numbers only */
    struct webhook_url url;
    struct receiver *receiver;
    double lease_ends_s; /* of clock_now_s */
    /* once it ended: */
    struct outcome outcome;
    int64_t next_try_ms; /* not delivered: due then */
    bool dead;
    bool in_slow_share; /* while under way, see receivers.c */
    /* transfer.c's: */
    struct fence fence;
    double started_s;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body;
    size_t answer_bytes;
    char curl_error[CURL_ERROR_SIZE];
};
/* Takes a copy of the entry. url stays empty where the entry's does not parse. */
NODISCARD enum err delivery_new(const struct outbox_entry *e, struct delivery **out,
                                struct errmsg *em);
void delivery_free(struct delivery *d);

/* ---- receivers.c: who waits for whom ----
 * A receiver is a scheme, host and port. Each has a queue, and a share of the transfers:
 * per_host of them while it answers quickly, RECEIVER_SLOW_WINDOW if it did not the last time
 * or is new. All slow and new ones together get half of the transfers, so that they leave the
 * quick ones theirs, however many hang. Queues are served in turn. */
#define RECEIVER_SLOW_WINDOW 2u
#define RECEIVER_QUICK_S 2.0
#define RECEIVERS_MAX 1024u /* remembered while idle */

struct receiver {
    uint64_t hash;
    struct delivery *first, *last;
    size_t n_queued, n_running;
    bool quick;
    double seconds; /* per transfer, smoothed */
    double last_used_s;
    char name[];
};

struct receivers {
    struct receiver **items;
    size_t n, cap;
    size_t turn; /* whose queue is served next */
    size_t n_queued;
    size_t n_running, n_running_slow;
    size_t max_running, per_host;
};
void receivers_deinit(struct receivers *rs);
/* Queue it; taken on success only. */
NODISCARD enum err receivers_push_take(struct receivers *rs, struct delivery *d, double now_s,
                                       struct errmsg *em);
/* Is this entry queued at its receiver? */
bool receivers_hold(const struct receivers *rs, const struct delivery *d);
/* The next one that may run now, which then counts as running; NULL: none. */
struct delivery *receivers_start(struct receivers *rs);
/* It ended; seconds < 0: nothing was learned of the receiver. */
void receivers_end(struct receivers *rs, struct delivery *d, double seconds, double now_s);
/* Forget queued ones whose lease ends before that. */
void receivers_drop_stale(struct receivers *rs, double lease_ends_s);
/* Forget queued ones that their receiver is not likely to reach within so many seconds. They
 * are still leased, so that claims pass over them to other receivers'. */
void receivers_shed(struct receivers *rs, double within_s);

/* ---- recorder.c: outcomes into the store, by threads of its own ---- */
struct recorder;
/* recorded: called on those threads after each try. */
NODISCARD enum err recorder_new(struct store *store, void (*recorded)(void *ctx), void *ctx,
                                struct recorder **out, struct errmsg *em);
/* d's outcome, next_try_ms and dead are to be recorded. */
void recorder_put_take(struct recorder *r, struct delivery *d);
size_t recorder_n_pending(struct recorder *r);
/* Was anything tried since the last call, and how did the latest try end? While the disk is full or
 * the store is locked they go on; an outcome that fails otherwise is lost: its entry comes again
 * after its lease. */
bool recorder_news(struct recorder *r, enum err *rc, struct errmsg *em);
/* Records what was put, once each and until end_s (of clock_now_s); the rest is lost as above.
 * NULL is fine. */
void recorder_free(struct recorder *r, double end_s);

/* ---- sign.c ---- */
/* As Black Forest Labs sign what they send to a caller who gave a secret: "sha256=" and the
 * HMAC-SHA256 of the body in hexadecimal, the secret's bytes being the key; appended. */
NODISCARD enum err webhook_sign_bfl(const char *secret, const void *body, size_t len,
                                    struct buf *out, struct errmsg *em);

/* ---- transfer.c: one try ---- */
struct transfer_options {
    bool allow_private;
    unsigned timeout_ms;
    const char *secret; /* for entries without their own */
};
/* Sign d->body, set d->easy up for curl and start the clock. */
NODISCARD enum err transfer_prepare(struct delivery *d, const struct transfer_options *o,
                                    struct errmsg *em);
/* What became of it, from curl's result. */
void transfer_judge(struct delivery *d, CURLcode result, unsigned timeout_ms, struct outcome *out);

#endif

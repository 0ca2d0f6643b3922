/* SPDX-License-Identifier: MIT */
/* What the core's own files share and dialects have no need of. */
#ifndef EASEL_API_CORE_IMPL_H
#define EASEL_API_CORE_IMPL_H

#include "api/api_impl.h"
#include "image/image.h"

/* ---- keys (auth.c) ---- */
#define AUTH_KEY_BYTES_MAX 128u
/* The key that the client sent in one of the dialect's headers, NULL if none. */
const char *auth_key_text(const struct dialect *d, struct http_request *r);
/* Find it: true, and q->key is set; else the answer was given. */
bool auth_check(struct request *q);

/* ---- rates (rate.c) ---- */
#define RATE_BURST_PER_SECOND 10 /* at least; a key of over 600 a minute may burst to its mean */
struct rates;
struct rate_state {
    bool allowed;
    int64_t limit, remaining; /* requests a minute; how many of them are left now */
    int64_t reset_s;          /* until all of them are back */
    int64_t retry_after_s;    /* not allowed: when the next one is; at least 1 */
};
NODISCARD enum err rates_new(struct rates **out, struct errmsg *em);
void rates_free(struct rates *r);
/* Take one request of the key's. rate 0: unlimited. now_s: a clock that never goes back. Fails
 * only for want of memory. Thread-safe. */
NODISCARD enum err rates_take(struct rates *r, int64_t key_id, int64_t rate_per_minute,
                              double now_s, struct rate_state *out, struct errmsg *em);

/* ---- pictures (pictures.c) ---- */
/* The bytes of a base64 picture source (JSON escapes undone, data: prefix skipped), appended.
 * ERR_FORMAT: the message goes into the fault. */
NODISCARD enum err picture_decode_base64(const char *text, size_t len, struct buf *out,
                                         struct errmsg *em);
/* Format, size, and whether it decodes to the end. ERR_FORMAT as above. */
NODISCARD enum err picture_check(const void *bytes, size_t len, enum image_format *format,
                                 size_t *width_px, size_t *height_px, struct errmsg *em);

/* ---- checkers (checkers.c): a few threads for what takes long ---- */
struct checkers;
struct check_job {
    void (*run)(struct check_job *j);      /* on a checker thread */
    void (*finished)(struct check_job *j); /* there, too: wakes the request; must not block */
    struct check_job *next;
    enum { CHECK_IDLE, CHECK_QUEUED, CHECK_RUNNING, CHECK_WAKING, CHECK_DONE } state;
};
NODISCARD enum err checkers_new(unsigned n_threads, size_t queue_max, struct checkers **out,
                                struct errmsg *em);
/* Nothing may be queued any more. */
void checkers_free(struct checkers *c);
/* ERR_BUSY: the queue is full. */
NODISCARD enum err checkers_add(struct checkers *c, struct check_job *j, struct errmsg *em);
/* It was run to the end, and what it wrote can be read. */
bool checkers_done(struct checkers *c, const struct check_job *j);
/* Afterwards the job is not known to any thread: taken from the queue, or waited for. */
void checkers_forget(struct checkers *c, struct check_job *j);

/* ---- submissions ---- */
/* Frees q->submission; waits for a checker that is at it. */
void submission_end(struct request *q);

/* ---- waiting ---- */
void watch_end(struct request *q);

/* ---- signed URLs (files.c) ---- */
#define URL_SIGNATURE_CHARS 64u /* SHA-256 in hexadecimal */
void url_sign(const char *secret, const char *name, int64_t expires_s,
              char out[URL_SIGNATURE_CHARS + 1]);
/* In constant time, and whether the URL still holds: ERR_DENIED (signature), ERR_NOTFOUND
 * (expired). The texts come from the client, and may be NULL. */
NODISCARD enum err url_verify(const char *secret, const char *name, const char *expires,
                              const char *signature, int64_t now_s, int64_t *expires_s);
/* "host", "host:port", "[v6]:port": nothing that could break a URL or a header. */
bool host_valid(const char *host);

/* ---- metrics (metrics.c) ---- */
struct metrics;
NODISCARD enum err metrics_new(size_t n_routes, struct metrics **out, struct errmsg *em);
void metrics_free(struct metrics *m);
/* route_index n_routes: none. Thread-safe. */
void metrics_count(struct metrics *m, size_t route_index, int status, double seconds);
/* Prometheus text: the HTTP part, and with stats the store's. */
NODISCARD enum err metrics_write(struct metrics *m, const struct store_stats *stats, int64_t now_ms,
                                 struct buf *out, struct errmsg *em);

/* ---- the access log (log.c) ---- */
/* path: without the query; q may be NULL. One JSON object, no line feed; NULL without memory. */
char *access_line(const struct request *q, const struct http_request *r, int status,
                  uint64_t bytes_sent, double seconds);

/* ---- the service's own handlers ---- */
void events_handle(struct request *q);
void preview_handle(struct request *q);
void files_handle(struct request *q);
void usage_handle(struct request *q);
void metrics_handle(struct request *q);
void healthz_handle(struct request *q);
void readyz_handle(struct request *q);
void page_handle(struct request *q);

/* ---- what the service's own routes share with the first dialect ---- */
/* {"message", "invalid_params": [{"name", "reason"}]} */
json_t *failure_plain(const struct request *q, enum failure kind, const char *message);
/* The webhook of a task that no dialect claims is Magnific's. */
json_t *magnific_webhook(struct api *a, const struct task *t, enum task_state state,
                         const char *base);

/* ---- the playground's files, made by tools/embed.py ---- */
struct asset {
    const char *name;
    const char *media_type;
    const unsigned char *bytes;
    size_t len;
    const char *etag; /* with its quotes */
};
extern const struct asset assets[];
extern const size_t n_assets;
extern const char assets_version[]; /* of them all; in the paths that index.html links */

#endif

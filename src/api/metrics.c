/* SPDX-License-Identifier: MIT */
/* GET /metrics, in Prometheus' text format. The HTTP part is counted here, per route pattern, so
 * that no path from outside becomes a label; all else is read from the store. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core_impl.h"

#define N_CLASSES 5u /* 1xx … 5xx */

static const double bounds_s[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                  0.25,  0.5,    1,     2.5,  5,     10,   60};
#define N_BOUNDS (sizeof bounds_s / sizeof bounds_s[0])

struct route_metrics {
    atomic_uint_fast64_t by_class[N_CLASSES];
    atomic_uint_fast64_t by_bound[N_BOUNDS + 1]; /* the last: longer than all */
    atomic_uint_fast64_t sum_us;
};

struct metrics {
    size_t n_routes;
    struct route_metrics routes[]; /* n_routes and one for what has no route */
};

enum err metrics_new(size_t n_routes, struct metrics **out, struct errmsg *em)
{
    size_t size = sizeof **out + (n_routes + 1) * sizeof(*out)->routes[0];
    *out = calloc(1, size);
    if (!*out)
        return err_nomem(em, size);
    (*out)->n_routes = n_routes;
    return ERR_OK;
}

void metrics_free(struct metrics *m)
{
    free(m);
}

void metrics_count(struct metrics *m, size_t route_index, int status, double seconds)
{
    struct route_metrics *r = &m->routes[route_index < m->n_routes ? route_index : m->n_routes];
    size_t class = status >= 100 && status < 600 ? (size_t)status / 100 - 1 : N_CLASSES - 1;
    size_t bound = 0;
    while (bound < N_BOUNDS && seconds > bounds_s[bound])
        bound++;
    atomic_fetch_add_explicit(&r->by_class[class], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->by_bound[bound], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->sum_us, (uint64_t)(fmax(0, seconds) * 1e6), memory_order_relaxed);
}

static uint64_t load(const atomic_uint_fast64_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

static enum err write_head(struct buf *out, const char *name, const char *type, const char *help,
                           struct errmsg *em)
{
    return buf_printf(out, em, "# HELP easel_%s %s\n# TYPE easel_%s %s\n", name, help, name, type);
}

/* `method="GET",route="/v1/…"`: both from the table of routes. */
static void route_labels(const struct metrics *m, size_t i, char *out, size_t size)
{
    const struct route *route = i < m->n_routes ? routes_at(i) : NULL;
    snprintf(out, size, "method=\"%s\",route=\"%s\"", route ? route->method : "",
             route ? route->pattern : "");
}

static bool is_used(const struct route_metrics *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < N_CLASSES; i++)
        n += load(&r->by_class[i]);
    return n > 0;
}

static enum err write_requests(const struct metrics *m, struct buf *out, struct errmsg *em)
{
    char labels[160];
    enum err rc = write_head(out, "http_requests_total", "counter",
                             "Answers by route and class of status.", em);
    for (size_t i = 0; i <= m->n_routes && !rc; i++) {
        route_labels(m, i, labels, sizeof labels);
        for (size_t c = 0; c < N_CLASSES && !rc; c++) {
            uint64_t n = load(&m->routes[i].by_class[c]);
            if (n)
                rc = buf_printf(out, em,
                                "easel_http_requests_total{%s,status=\"%zuxx\"} %" PRIu64 "\n",
                                labels, c + 1, n);
        }
    }
    return rc;
}

static enum err write_histogram(const struct route_metrics *r, const char *labels, struct buf *out,
                                struct errmsg *em)
{
    static const char name[] = "easel_http_request_duration_seconds";
    uint64_t sum = 0;
    enum err rc = ERR_OK;
    for (size_t b = 0; b < N_BOUNDS && !rc; b++) {
        sum += load(&r->by_bound[b]);
        rc = buf_printf(out, em, "%s_bucket{%s,le=\"%g\"} %" PRIu64 "\n", name, labels, bounds_s[b],
                        sum);
    }
    sum += load(&r->by_bound[N_BOUNDS]);
    if (!rc)
        rc = buf_printf(out, em,
                        "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n%s_sum{%s} %.6f\n"
                        "%s_count{%s} %" PRIu64 "\n",
                        name, labels, sum, name, labels, (double)load(&r->sum_us) / 1e6, name,
                        labels, sum);
    return rc;
}

static enum err write_durations(const struct metrics *m, struct buf *out, struct errmsg *em)
{
    char labels[160];
    enum err rc = write_head(out, "http_request_duration_seconds", "histogram",
                             "From a request's head to the end of its answer.", em);
    for (size_t i = 0; i <= m->n_routes && !rc; i++) {
        route_labels(m, i, labels, sizeof labels);
        if (is_used(&m->routes[i]))
            rc = write_histogram(&m->routes[i], labels, out, em);
    }
    return rc;
}

static enum err write_one(struct buf *out, const char *name, const char *type, const char *help,
                          double value, struct errmsg *em)
{
    enum err rc = write_head(out, name, type, help, em);
    return rc ? rc : buf_printf(out, em, "easel_%s %.15g\n", name, value);
}

static enum err write_tasks(const struct store_stats *s, int64_t now_ms, struct buf *out,
                            struct errmsg *em)
{
    int64_t age_ms =
        s->oldest_created_ms && now_ms > s->oldest_created_ms ? now_ms - s->oldest_created_ms : 0;
    enum err rc = write_one(out, "queue_depth", "gauge", "Tasks that wait for a worker.",
                            (double)s->n_created, em);
    if (!rc)
        rc = write_one(out, "queue_oldest_age_seconds", "gauge",
                       "How long the oldest of them has waited.", (double)age_ms / 1000, em);
    if (!rc)
        rc = write_one(out, "tasks_in_progress", "gauge", "Tasks that are being drawn.",
                       (double)s->n_in_progress, em);
    if (!rc)
        rc = write_head(out, "tasks_finished_total", "counter", "Tasks that ended, by how.", em);
    return rc ? rc
              : buf_printf(out, em,
                           "easel_tasks_finished_total{status=\"completed\"} %" PRId64 "\n"
                           "easel_tasks_finished_total{status=\"failed\"} %" PRId64 "\n",
                           s->n_completed, s->n_failed);
}

static enum err write_stages(const struct store_stats *s, struct buf *out, struct errmsg *em)
{
    enum err rc = write_head(out, "stage_seconds_total", "counter",
                             "Time spent on completed pictures, by stage.", em);
    for (size_t i = 0; i < s->n_stages && !rc; i++)
        rc = buf_printf(out, em, "easel_stage_seconds_total{stage=\"%.*s\"} %.6f\n",
                        (int)strcspn(s->stages[i].name, "\"\\\n"), s->stages[i].name,
                        s->stages[i].seconds);
    return rc;
}

static enum err write_webhooks(const struct store_stats *s, struct buf *out, struct errmsg *em)
{
    enum err rc = write_one(out, "webhooks_pending", "gauge", "Webhooks still to be delivered.",
                            (double)s->webhooks_pending, em);
    if (!rc)
        rc = write_one(out, "webhooks_dead", "gauge",
                       "Webhooks given up; `easel webhook redeliver` sends them again.",
                       (double)s->webhooks_dead, em);
    if (!rc)
        rc =
            write_head(out, "webhooks_tries_total", "counter", "Tries to deliver, by outcome.", em);
    return rc ? rc
              : buf_printf(out, em,
                           "easel_webhooks_tries_total{outcome=\"delivered\"} %" PRId64 "\n"
                           "easel_webhooks_tries_total{outcome=\"failed\"} %" PRId64 "\n",
                           s->webhooks_delivered, s->webhooks_tries_failed);
}

enum err metrics_write(struct metrics *m, const struct store_stats *stats, int64_t now_ms,
                       struct buf *out, struct errmsg *em)
{
    enum err rc = write_requests(m, out, em);
    if (!rc)
        rc = write_durations(m, out, em);
    if (!rc)
        rc = write_tasks(stats, now_ms, out, em);
    if (!rc)
        rc = write_stages(stats, out, em);
    if (!rc)
        rc = write_webhooks(stats, out, em);
    return rc;
}

void metrics_handle(struct request *q)
{
    struct store_stats stats = {0};
    struct errmsg em;
    struct buf out = {0};
    enum err rc = store_stats(q->api->o.store, &stats, &em);
    if (!rc)
        rc = metrics_write(q->api->metrics, &stats, unix_ms(), &out, &em);
    if (rc)
        reply_err(q, rc, &em);
    else
        http_reply(q->http, 200, "text/plain; version=0.0.4; charset=utf-8", out.ptr, out.len);
    buf_deinit(&out);
}

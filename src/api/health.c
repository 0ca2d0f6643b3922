/* SPDX-License-Identifier: MIT */
/* /healthz: this process answers. /readyz: a task that comes now would be drawn. Anyone may ask,
 * and asking writes to the disk: so that is tried once a second at most. */
#include "api/core_impl.h"
#include "base/clock.h"

#define PROBE_BYTES (64u << 10) /* a small picture */

void healthz_handle(struct request *q)
{
    reply_ok(q, json_pack("{s:s, s:s}", "status", "ok", "version", EASEL_VERSION));
}

static const char *try_storing(struct api *a)
{
    struct errmsg em;
    const char *trouble = "the database cannot be read or written";
    enum err rc = store_check(a->o.store, &em);
    if (!rc) {
        trouble = "pictures cannot be stored";
        rc = blobs_probe(a->o.blobs, PROBE_BYTES, &em);
    }
    if (!rc)
        return NULL;
    api_log(a, "error", "not ready: %s", em.text);
    return rc == ERR_FULL ? "the disk is full" : trouble;
}

/* What is wrong with it; NULL: nothing. */
static const char *storing(struct api *a)
{
    pthread_mutex_lock(&a->ready_lock);
    double now_s = clock_now_s();
    if (now_s - a->tried_s >= 1) {
        a->unready = try_storing(a);
        a->tried_s = now_s;
    }
    const char *trouble = a->unready;
    pthread_mutex_unlock(&a->ready_lock);
    return trouble;
}

void readyz_handle(struct request *q)
{
    struct api *a = q->api;
    bool worker = a->o.worker_ready(a->o.ctx);
    const char *trouble = storing(a);
    if (!trouble && worker)
        reply_ok(q, json_pack("{s:s}", "status", "ready"));
    else
        reply_failure(q, FAIL_NOT_READY, "Not ready: %s%s%s.", trouble ? trouble : "",
                      trouble && !worker ? ", " : "", worker ? "" : "no worker has its model open");
}

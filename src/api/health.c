/* SPDX-License-Identifier: MIT */
/* /healthz: this process answers. /readyz: a task that comes now would be drawn. Anyone may ask,
 * and asking writes to the disk: so the store is tried once a second at most. */
#include "api/core_impl.h"
#include "base/clock.h"

void healthz_handle(struct request *q)
{
    reply_ok(q, json_pack("{s:s, s:s}", "status", "ok", "version", EASEL_VERSION));
}

static bool store_ready(struct api *a)
{
    struct errmsg em;
    pthread_mutex_lock(&a->ready_lock);
    double now_s = clock_now_s();
    if (now_s - a->store_tried_s >= 1) {
        a->store_ready = store_check(a->o.store, &em) == ERR_OK;
        a->store_tried_s = now_s;
        if (!a->store_ready)
            api_log(a, "error", "the store is not ready: %s", em.text);
    }
    bool ready = a->store_ready;
    pthread_mutex_unlock(&a->ready_lock);
    return ready;
}

void readyz_handle(struct request *q)
{
    struct api *a = q->api;
    bool worker = a->o.worker_ready(a->o.ctx), store = store_ready(a);
    if (store && worker)
        reply_ok(q, json_pack("{s:s}", "status", "ready"));
    else
        reply_failure(q, FAIL_NOT_READY, "Not ready: %s%s%s.",
                      store ? "" : "the database cannot be read or written",
                      store || worker ? "" : ", ", worker ? "" : "no worker has its model open");
}

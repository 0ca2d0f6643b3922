/* SPDX-License-Identifier: MIT */
/* fetch_transfer.c: one address; fetch.c: all of them. */
#ifndef EASEL_SERVICE_FETCH_IMPL_H
#define EASEL_SERVICE_FETCH_IMPL_H

#include <stdatomic.h>

#include "service/fetch.h"
#include "webhooks/fence.h"

struct fetch {
    struct fence fence;
    CURL *easy; /* NULL: settled */
    const char *dir;
    size_t *request_bytes; /* of all that its request fetches; the fetching thread's */
    atomic_size_t *all_bytes;
    int fd; /* -1: nothing came yet */
    const void *map;
    size_t len, head_bytes;
    enum err rc; /* once it is settled, or we ended it ourselves */
    struct errmsg em;
    char curl_error[CURL_ERROR_SIZE];
};

/* Check how the URL is written, and set up a transfer unless that settles it already. f is
 * zeroed but for dir, fence and the counters. ERR_NOMEM. */
NODISCARD enum err fetch_prepare(struct fetch *f, const char *url, void *private,
                                 struct errmsg *em);
/* The transfer ended so: settle it, and free its handle, which no multi has any more. */
void fetch_settle(struct fetch *f, CURLcode code);
/* With its file, if any. */
void fetch_deinit(struct fetch *f);

#endif

/* SPDX-License-Identifier: MIT */
/* Reaches for the addresses that requests name (struct reach): gets pictures, and looks whether
 * a webhook's host is allowed. One thread carries all transfers, so that a slow or dead address
 * holds up nobody but the request that named it, and what comes goes to nameless files, so that
 * it costs no memory until it is read.
 *
 * Rules: those of webhooks, applied to the address as it is written and to each connection.
 * Redirects are not followed. Bounds: below; a picture beyond them is refused, a request beyond
 * them is told to come again. */
#ifndef EASEL_SERVICE_FETCH_H
#define EASEL_SERVICE_FETCH_H

#include "api/api.h"

#define FETCH_TIMEOUT_MS 10000u                     /* of one picture */
#define FETCH_LOOK_TIMEOUT_MS 5000u                 /* of a webhook's host */
#define FETCH_BYTES_MAX ((size_t)64 << 20)          /* of one picture */
#define FETCH_REQUEST_BYTES_MAX ((size_t)128 << 20) /* of one request's together */
#define FETCH_ALL_BYTES_MAX ((size_t)2 << 30)       /* on the disk at any moment */
#define FETCH_HEAD_BYTES_MAX ((size_t)64 << 10)
#define FETCH_MAX 256u        /* pictures under way */
#define FETCH_PER_KEY_MAX 64u /* of them for one key, so that others have theirs */
#define FETCH_LOOKS_MAX 512u  /* webhooks' hosts looked up at a time */

struct fetcher;
struct fetcher_options {
    const char *dir; /* where the files go; copied */
    bool allow_private;
};
NODISCARD enum err fetcher_new(const struct fetcher_options *o, struct fetcher **out,
                               struct errmsg *em);
/* Every reach that began has ended by now. NULL is fine. */
void fetcher_free(struct fetcher *f);

/* As api_options.reach_begin and .reach_end ask for, from any thread. Items get ERR_FORMAT for
 * what the client can change, ERR_BUSY where FETCH_ALL_BYTES_MAX is reached, else what the
 * system said. A webhook's host that cannot be resolved is allowed: it is looked at again at
 * each delivery. */
NODISCARD enum err fetcher_begin(struct fetcher *f, struct reach *r, struct errmsg *em);
void fetcher_end(struct fetcher *f, struct reach *r);

#endif

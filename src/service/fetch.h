/* SPDX-License-Identifier: MIT */
/* Get a picture that a client has named by its address, without becoming its way into the
 * inner network: the rules are those of webhooks (webhook_url_check), applied to the address
 * and again to each connection. Redirects are not followed. */
#ifndef EASEL_SERVICE_FETCH_H
#define EASEL_SERVICE_FETCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define FETCH_TIMEOUT_MS 10000L

/* The body, appended to out. ERR_USAGE: such an address is not allowed, or it answers with
 * something else than 200; ERR_FORMAT: more than max_bytes; ERR_IO: not reached. The message
 * goes after the field's name ("must …", "could not …"). Any thread. */
NODISCARD enum err fetch_url(const char *url, bool allow_private, size_t max_bytes, struct buf *out,
                             struct errmsg *em);

#endif

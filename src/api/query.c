/* SPDX-License-Identifier: MIT */
/* Parameters of a URL's query. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/core_impl.h"

bool query_integer(struct request *q, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const char *text = http_query(q->http, name);
    if (!text)
        return true;
    size_t n = strspn(text, "0123456789");
    int64_t v = n >= 1 && n <= 15 && !text[n] ? strtoll(text, NULL, 10) : -1;
    if (v < min || v > max) {
        faults_add(&q->faults, 0, name, "must be an integer from %" PRId64 " to %" PRId64, min,
                   max);
        return false;
    }
    *out = v;
    return true;
}

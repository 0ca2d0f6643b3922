/* SPDX-License-Identifier: MIT */
/* What a try came to, and when the next one is. */
#include <stdio.h>

#include "webhooks/webhooks_impl.h"

#define RETRY_AGE_MAX_MS (24 * 3600 * INT64_C(1000))
#define RETRY_TRIES_MIN 5u /* an old entry still gets these */
#define RETRY_AFTER_MAX_S (3 * 3600u)

static const unsigned standard_s[] = {5, 30, 120, 600, 3600, 10800};
const struct retry_schedule retry_standard = {standard_s, sizeof standard_s / sizeof standard_s[0]};

void outcome_fail(struct outcome *o, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(o->error, sizeof o->error, fmt, args);
    va_end(args);
    for (char *p = o->error; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
    o->delivered = false;
}

void outcome_set_status(struct outcome *o, int status, unsigned retry_after_s)
{
    *o = (struct outcome){.status = status};
    if (status >= 200 && status < 300) {
        o->delivered = true;
    } else if (status == 410) {
        o->hopeless = true;
        outcome_fail(o, "HTTP 410: the receiver wants no more of these");
    } else if (status >= 300 && status < 400) {
        outcome_fail(o,
                     "HTTP %d: redirects are not followed, webhook_url must be the final address",
                     status);
    } else {
        outcome_fail(o, "HTTP %d", status);
        if (status == 429 || status == 503)
            o->retry_after_s =
                retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S;
    }
}

int64_t retry_delay_ms(const struct retry_schedule *s, const struct outcome *o,
                       unsigned tries_before, int64_t created_ms, int64_t now_ms, uint32_t random)
{
    if (o->hopeless)
        return -1;
    size_t step = tries_before < s->n ? tries_before : s->n - 1;
    /* 80 % … 120 %, so that what failed together does not come back together */
    double jitter = 0.8 + 0.4 * ((double)random / UINT32_MAX);
    int64_t delay_ms = (int64_t)(1000.0 * s->backoff_s[step] * jitter);
    if (delay_ms < INT64_C(1000) * o->retry_after_s)
        delay_ms = INT64_C(1000) * o->retry_after_s;
    bool too_old = now_ms + delay_ms - created_ms > RETRY_AGE_MAX_MS;
    return too_old && tries_before + 1 >= RETRY_TRIES_MIN ? -1 : delay_ms;
}

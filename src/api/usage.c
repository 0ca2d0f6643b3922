/* SPDX-License-Identifier: MIT */
/* GET /v1/usage: what the key has drawn, by day. */
#include "api/core_impl.h"

#define DAYS_MAX 366
#define DAYS_DEFAULT 30

struct totals {
    json_t *days;
    int64_t pictures, cost_microcredits;
    double megapixels;
};

static void add_day(void *ctx, const struct usage_day *d)
{
    struct totals *t = ctx;
    t->pictures += d->pictures;
    t->megapixels += d->megapixels;
    t->cost_microcredits += d->cost_microcredits;
    json_array_append_new(t->days, json_pack("{s:s, s:I, s:f, s:o}", "day", d->day, "pictures",
                                             (json_int_t)d->pictures, "megapixels", d->megapixels,
                                             "cost", json_credits(d->cost_microcredits)));
}

static json_t *limit_or_null(int64_t value, int64_t unlimited, json_t *(*make)(int64_t))
{
    return value == unlimited ? json_null() : make(value);
}

static json_t *integer(int64_t value)
{
    return json_integer(value);
}

static json_t *usage_json(const struct api_key *key, const struct totals *t,
                          const struct api_prices *p)
{
    return json_pack("{s:o, s:{s:I, s:f, s:o}, s:o, s:o, s:{s:f, s:f}}", "data", t->days, "total",
                     "pictures", (json_int_t)t->pictures, "megapixels", t->megapixels, "cost",
                     json_credits(t->cost_microcredits), "credits_left",
                     limit_or_null(key->credits_micro, -1, json_credits), "rate_per_minute",
                     limit_or_null(key->rate_per_minute, 0, integer), "prices", "output_mp",
                     p->output_mp, "reference_mp", p->reference_mp);
}

void usage_handle(struct request *q)
{
    struct totals t = {.days = json_array()};
    struct errmsg em;
    int64_t days = DAYS_DEFAULT;
    if (!query_integer(q, "days", 1, DAYS_MAX, &days)) {
        json_decref(t.days);
        reply_failure(q, FAIL_PARAMS, NULL);
        return;
    }
    /* read again: q->key may come from a cache, which does not follow credits */
    struct api_key key;
    enum err rc = store_key_get(q->api->o.store, q->key.id, &key, &em);
    if (!rc) {
        rc = store_usage(q->api->o.store, q->key.id, (size_t)days, add_day, &t, &em);
        if (!rc)
            reply_ok(q, usage_json(&key, &t, &q->api->o.prices));
        api_key_deinit(&key);
    }
    if (rc) {
        json_decref(t.days);
        reply_err(q, rc, &em);
    }
}

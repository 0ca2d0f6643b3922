/* SPDX-License-Identifier: MIT */
/* The access log: one JSON object for each answer. Never in it: keys (their prefix and name tell
 * whose), prompts, queries (signatures are there). Written without a tree in between, because it
 * is done for every answer. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/core_impl.h"
#include "base/size.h"

#define VALUE_BYTES_MAX 1024u

/* A JSON string; what is not printable ASCII is escaped byte by byte, so that no client can
 * write anything into a terminal that shows the log. A long one is cut here: the log would cut the
 * line, and what is left would be no JSON. */
static enum err add_string(struct buf *b, const char *name, const char *value)
{
    enum err rc = buf_printf(b, NULL, "%s\"%s\":\"", b->len > 1 ? "," : "", name);
    size_t end = b->len + VALUE_BYTES_MAX;
    while (!rc && *value && b->len < end) {
        size_t n = 0;
        while (value[n] >= ' ' && value[n] < 0x7f && value[n] != '"' && value[n] != '\\')
            n++;
        n = min_size(n, end - b->len);
        rc = buf_append(b, value, n, NULL);
        value += n;
        if (!rc && *value && b->len < end)
            rc = buf_printf(b, NULL, "\\u%04x", (unsigned char)*value++);
    }
    if (!rc && *value)
        rc = buf_append(b, "...", 3, NULL);
    return rc ? rc : buf_append(b, "\"", 1, NULL);
}

static enum err add_time(struct buf *b)
{
    char text[40];
    int64_t ms = unix_ms();
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%03dZ", (int)(ms % 1000));
    return add_string(b, "time", text);
}

static enum err add_request(struct buf *b, const struct http_request *r)
{
    enum err rc = add_string(b, "request_id", http_request_id(r));
    if (!rc)
        rc = add_string(b, "client", http_client(r));
    if (!rc)
        rc = add_string(b, "method", http_method(r));
    return rc ? rc : add_string(b, "path", http_path(r));
}

static enum err add_key(struct buf *b, const struct api_key *key)
{
    enum err rc = add_string(b, "key", key->prefix);
    return rc ? rc : add_string(b, "key_name", key->name);
}

char *access_line(const struct request *q, const struct http_request *r, int status,
                  uint64_t bytes_sent, double seconds)
{
    struct buf b = {0};
    enum err rc = buf_reserve(&b, 512, NULL);
    if (!rc)
        rc = buf_append(&b, "{", 1, NULL);
    if (!rc)
        rc = add_time(&b);
    if (!rc)
        rc = add_request(&b, r);
    if (!rc && q && q->route)
        rc = add_string(&b, "route", q->route->pattern);
    if (!rc)
        rc = buf_printf(&b, NULL, ",\"status\":%d,\"bytes\":%" PRIu64 ",\"ms\":%.3f", status,
                        bytes_sent, seconds * 1e3);
    if (!rc && q && q->has_key)
        rc = add_key(&b, &q->key);
    if (!rc)
        rc = buf_append(&b, "}", 1, NULL);
    if (rc)
        buf_deinit(&b);
    return (char *)b.ptr;
}

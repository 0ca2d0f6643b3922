/* SPDX-License-Identifier: MIT */
/* Any bytes as what a client may put into Range, If-Range, If-None-Match, dates, queries and
 * paths, and an operator into --listen. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/text.h"

#define TEXT_BYTES_MAX 4096u
#define PAIRS_MAX 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        abort();
}

static void ranges(const char *text)
{
    static const uint64_t sizes[] = {0, 1, 500, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct http_range part = {0, 0};
        if (http_range_read(text, sizes[i], &part) == RANGE_PART)
            check(part.len > 0 && part.first < sizes[i] && part.len <= sizes[i] - part.first);
    }
}

static void conditions(const char *text)
{
    char date[HTTP_DATE_BYTES];
    int64_t t, again;
    (void)http_etag_in_list(text, "\"a\"");
    (void)http_etag_in_list("\"a\", W/\"b\"", text);
    (void)http_etag_in_list(text, text);
    (void)http_if_range_holds(text, "\"a\"", 784111777);
    if (!http_date_read(text, &t))
        return;
    http_date_write(t, date);
    check(http_date_read(date, &again) && again == t);
}

/* The room is exactly as large as the headers of these functions say, for the sanitizer. */
static void escapes(const char *text, size_t len)
{
    struct http_field pairs[PAIRS_MAX];
    char *room = malloc(len + 1);
    size_t n = 0;
    check(room != NULL);
    if (http_query_split(text, len, pairs, PAIRS_MAX, room, &n))
        check(n <= PAIRS_MAX && n <= http_query_bound(text, len));
    for (size_t i = 0; i < n; i++)
        check(strlen(pairs[i].name) + strlen(pairs[i].value) <= len);
    if (http_percent_decode(text, len, false, room, &n))
        check(n <= len && strlen(room) == n);
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_address a;
    struct errmsg em;
    if (size > TEXT_BYTES_MAX)
        return 0;
    char *text = malloc(size + 1); /* its end is watched */
    check(text != NULL);
    memcpy(text, data, size);
    text[size] = 0;
    escapes(text, size);
    ranges(text);
    conditions(text);
    if (http_is_token(text))
        check(http_is_value(text));
    if (!http_address_read(text, &a, &em))
        check(a.port <= 65535 && a.host[0] && strlen(a.host) < sizeof a.host);
    free(text);
    return 0;
}

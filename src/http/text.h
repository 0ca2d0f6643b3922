/* SPDX-License-Identifier: MIT */
/* The small languages of HTTP: escapes, queries, tokens, dates, entity tags, ranges, addresses.
 * Pure functions on bytes from outside. */
#ifndef EASEL_HTTP_TEXT_H
#define EASEL_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Decode %XX, and "+" to a space if asked, into out (len + 1 bytes; may be text itself), with a
 * NUL after it. false: not two hexadecimal digits, or an encoded or plain NUL. */
bool http_percent_decode(const char *text, size_t len, bool plus_is_space, char *out,
                         size_t *out_len);

struct http_field {
    const char *name, *value;
};
/* Split "a=b&c" into at most max pairs. room holds len + 1 bytes and what the pairs point to.
 * false: a bad escape, or more pairs. */
bool http_query_split(const char *text, size_t len, struct http_field *pairs, size_t max,
                      char *room, size_t *n);
/* How many pairs that could be. */
size_t http_query_bound(const char *text, size_t len);

/* A method or the name of a header. */
bool http_is_token(const char *text);
/* The value of a header: no control characters but tabs. */
bool http_is_value(const char *text);

#define HTTP_DATE_BYTES 30u /* "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL */
void http_date_write(int64_t unix_s, char out[HTTP_DATE_BYTES]);
/* All three forms that RFC 9110 lists. */
bool http_date_read(const char *text, int64_t *unix_s);

/* If-None-Match: is the tag in the list, compared weakly? "*" is every tag. */
bool http_etag_in_list(const char *list, const char *etag);
/* If-Range: is that still the file? A date must be the one that was sent. */
bool http_if_range_holds(const char *value, const char *etag, int64_t modified_s);

enum http_range_kind {
    RANGE_WHOLE, /* no range, several, another unit, or not well formed: all of it */
    RANGE_PART,
    RANGE_NONE, /* 416 */
};
struct http_range {
    uint64_t first, len;
};
enum http_range_kind http_range_read(const char *value, uint64_t size_bytes,
                                     struct http_range *out);

struct http_address {
    char host[256];
    unsigned port;
};
/* "127.0.0.1:8080", "[::1]:80", "localhost:0". ERR_USAGE. */
NODISCARD enum err http_address_read(const char *text, struct http_address *out, struct errmsg *em);

#endif

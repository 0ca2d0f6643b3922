/* SPDX-License-Identifier: MIT */
/* Conditions and ranges (RFC 9110, 13 and 14). */
#include <string.h>
#include <strings.h>

#include "http/text.h"

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* The end of an entity tag that begins at p, or NULL. *quote: its first quote. */
static const char *etag_end(const char *p, const char **quote)
{
    if (p[0] == 'W' && p[1] == '/')
        p += 2;
    if (*p != '"')
        return NULL;
    *quote = p;
    p = strchr(p + 1, '"');
    return p ? p + 1 : NULL;
}

bool http_etag_in_list(const char *list, const char *etag)
{
    const char *ours = NULL, *theirs = NULL;
    const char *ours_end = etag ? etag_end(etag, &ours) : NULL;
    const char *p = skip_space(list);
    if (p[0] == '*' && !*skip_space(p + 1))
        return true;
    while (ours_end && *p) {
        const char *end = etag_end(p, &theirs);
        if (!end)
            return false;
        size_t len = (size_t)(end - theirs);
        if (len == (size_t)(ours_end - ours) && memcmp(ours, theirs, len) == 0)
            return true;
        p = skip_space(end);
        if (*p && *p != ',')
            return false;
        while (*p == ',')
            p = skip_space(p + 1);
    }
    return false;
}

bool http_if_range_holds(const char *value, const char *etag, int64_t modified_s)
{
    int64_t theirs_s;
    value = skip_space(value);
    if (value[0] == '"') /* compared strongly: a weak tag never holds */
        return etag && etag[0] == '"' && strcmp(value, etag) == 0;
    return http_date_read(value, &theirs_s) && theirs_s == modified_s;
}

/* Digits into *out, which saturates: a range may end far beyond the file. NULL: no digit. */
static const char *read_number(const char *p, uint64_t *out)
{
    uint64_t v = 0;
    const char *start = p;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
    }
    *out = v;
    return p == start ? NULL : p;
}

/* "-500": the last 500 bytes. */
static enum http_range_kind read_suffix(const char *p, uint64_t size_bytes, struct http_range *out)
{
    uint64_t n;
    p = read_number(p + 1, &n);
    if (!p || *skip_space(p))
        return RANGE_WHOLE;
    if (n == 0 || size_bytes == 0)
        return RANGE_NONE;
    out->len = n < size_bytes ? n : size_bytes;
    out->first = size_bytes - out->len;
    return RANGE_PART;
}

enum http_range_kind http_range_read(const char *value, uint64_t size_bytes, struct http_range *out)
{
    uint64_t first, last = UINT64_MAX;
    const char *p = skip_space(value);
    if (strncasecmp(p, "bytes=", 6) != 0)
        return RANGE_WHOLE;
    p = skip_space(p + 6);
    if (*p == '-')
        return read_suffix(p, size_bytes, out);
    p = read_number(p, &first);
    if (!p || *p != '-')
        return RANGE_WHOLE;
    if (*skip_space(++p)) {
        p = read_number(p, &last);
        if (!p || *skip_space(p) || last < first)
            return RANGE_WHOLE;
    }
    if (first >= size_bytes)
        return RANGE_NONE;
    if (last >= size_bytes)
        last = size_bytes - 1;
    *out = (struct http_range){first, last - first + 1};
    return RANGE_PART;
}

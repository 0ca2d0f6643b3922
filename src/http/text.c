/* SPDX-License-Identifier: MIT */
/* Escapes, queries, tokens. */
#include <string.h>

#include "http/text.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool http_percent_decode(const char *text, size_t len, bool plus_is_space, char *out,
                         size_t *out_len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = len - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = high >= 0 ? hex_value(text[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == 0)
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    *out_len = n;
    return true;
}

size_t http_query_bound(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += text[i] == '&';
    return len ? n + 1 : 0;
}

/* One "a=b" or "a" of the query; room moves on past what was written. */
static bool pair_decode(const char *text, size_t len, struct http_field *pair, char **room)
{
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - text) : len, n;
    pair->name = *room;
    pair->value = "";
    if (!http_percent_decode(text, name_len, true, *room, &n))
        return false;
    *room += n + 1;
    if (!equals)
        return true;
    pair->value = *room;
    if (!http_percent_decode(equals + 1, len - name_len - 1, true, *room, &n))
        return false;
    *room += n + 1;
    return true;
}

bool http_query_split(const char *text, size_t len, struct http_field *pairs, size_t max,
                      char *room, size_t *n)
{
    const char *end = text + len;
    *n = 0;
    while (text < end) {
        const char *amp = memchr(text, '&', (size_t)(end - text));
        size_t pair_len = amp ? (size_t)(amp - text) : (size_t)(end - text);
        if (pair_len) {
            if (*n == max || !pair_decode(text, pair_len, &pairs[*n], &room))
                return false;
            (*n)++;
        }
        text += pair_len + 1;
    }
    return true;
}

bool http_is_token(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++) {
        char c = *text;
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && !strchr("!#$%&'*+-.^_`|~", c))
            return false;
    }
    return true;
}

bool http_is_value(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text == 0x7f || ((unsigned char)*text < 0x20 && *text != '\t'))
            return false;
    return true;
}

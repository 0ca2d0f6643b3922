/* SPDX-License-Identifier: MIT */
/* Hexadecimal digits, and the UUIDs that are made of them. */
#include "crypto/crypto.h"

#include <string.h>

static const char digits[] = "0123456789abcdef";

void hex_encode(const void *bytes, size_t len, char *out)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = 0;
}

/* -1: not a digit, nor an upper-case one. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool hex_decode(const char *text, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(text[2 * i]);
        int low = high < 0 ? -1 : hex_value(text[2 * i + 1]); /* never past the NUL */
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * len] == 0;
}

static bool is_dash(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

enum err uuid_new(char out[UUID_CHARS + 1], struct errmsg *em)
{
    uint8_t bytes[16];
    char hex[2 * sizeof bytes + 1];
    enum err rc = crypto_random(bytes, sizeof bytes, em);
    if (rc)
        return rc;
    bytes[6] = (uint8_t)(0x40 | (bytes[6] & 0x0f)); /* version 4 */
    bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f)); /* variant of RFC 9562 */
    hex_encode(bytes, sizeof bytes, hex);
    for (size_t i = 0, k = 0; i < UUID_CHARS; i++)
        out[i] = is_dash(i) ? '-' : hex[k++];
    out[UUID_CHARS] = 0;
    return ERR_OK;
}

bool uuid_valid(const char *text)
{
    if (!text)
        return false;
    for (size_t i = 0; i < UUID_CHARS; i++)
        if (is_dash(i) ? text[i] != '-' : hex_value(text[i]) < 0)
            return false;
    return text[UUID_CHARS] == 0;
}

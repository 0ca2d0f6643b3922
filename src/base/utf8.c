/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

size_t utf8_decode(const void *bytes, size_t len, uint32_t *code_point)
{
    const uint8_t *p = bytes;
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (len == 0)
        return 0;
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t v = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        v = v << 6 | (p[i] & 0x3fu);
    }
    if (v < smallest[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
        return 0;
    if (code_point)
        *code_point = v;
    return n;
}

bool utf8_valid(const char *text, size_t len, size_t *offset)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_decode(text + i, len - i, NULL);
        if (n)
            continue;
        if (offset)
            *offset = i;
        return false;
    }
    return true;
}

enum err utf8_append(struct buf *b, uint32_t v, struct errmsg *em)
{
    uint8_t s[4];
    size_t n;
    if (v < 0x80) {
        s[0] = (uint8_t)v;
        n = 1;
    } else if (v < 0x800) {
        s[0] = (uint8_t)(0xc0 | v >> 6);
        n = 2;
    } else if (v < 0x10000) {
        s[0] = (uint8_t)(0xe0 | v >> 12);
        n = 3;
    } else {
        s[0] = (uint8_t)(0xf0 | v >> 18);
        n = 4;
    }
    for (size_t i = 1; i < n; i++)
        s[i] = (uint8_t)(0x80 | (v >> (6 * (n - 1 - i)) & 0x3f));
    return buf_append(b, s, n, em);
}

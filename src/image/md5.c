/* SPDX-License-Identifier: MIT */
/* MD5 (RFC 1321), only because XMP names the parts of a long packet by it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "image/image_impl.h"

static uint32_t rotate(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static void block_add(uint32_t state[4], const uint8_t *p)
{
    static const unsigned turns[4][4] = {
        {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (unsigned i = 0; i < 64; i++) {
        uint32_t f;
        unsigned g;
        switch (i / 16) {
        case 0:
            f = (b & c) | (~b & d);
            g = i;
            break;
        case 1:
            f = (d & b) | (~d & c);
            g = (5 * i + 1) % 16;
            break;
        case 2:
            f = b ^ c ^ d;
            g = (3 * i + 5) % 16;
            break;
        default:
            f = c ^ (b | ~d);
            g = 7 * i % 16;
            break;
        }
        uint32_t k = (uint32_t)(fabs(sin(i + 1.0)) * 4294967296.0);
        uint32_t m = (uint32_t)p[4 * g] | (uint32_t)p[4 * g + 1] << 8 |
                     (uint32_t)p[4 * g + 2] << 16 | (uint32_t)p[4 * g + 3] << 24;
        uint32_t next = b + rotate(a + f + k + m, turns[i / 16][i % 4]);
        a = d;
        d = c;
        c = b;
        b = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
}

void image_md5_hex(const uint8_t *bytes, size_t len, char out[33])
{
    uint32_t state[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
    size_t whole = len / 64 * 64, rest = len - whole;
    for (size_t i = 0; i < whole; i += 64)
        block_add(state, bytes + i);
    uint8_t tail[128] = {0};
    if (rest)
        memcpy(tail, bytes + whole, rest);
    tail[rest] = 0x80;
    size_t n_tail = rest < 56 ? 64 : 128;
    for (int i = 0; i < 8; i++)
        tail[n_tail - 8 + i] = (uint8_t)((uint64_t)len * 8 >> (8 * i));
    for (size_t i = 0; i < n_tail; i += 64)
        block_add(state, tail + i);
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02X", state[i / 4] >> (8 * (i % 4)) & 0xff);
}

/* SPDX-License-Identifier: MIT */
/* Base64 (RFC 4648). The decoder gives each byte as soon as its eight bits are there, so that
 * nothing is left to write when the text ends, with padding or without. */
#include "base/base64.h"

#include "base/size.h"

enum err base64_encode(const void *bytes, size_t len, struct buf *out, struct errmsg *em)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = bytes;
    size_t n_chars;
    if (!mul_size(div_up(len, 3), 4, &n_chars))
        return err_nomem(em, len);
    enum err rc = buf_reserve(out, n_chars, em);
    if (rc)
        return rc;
    uint8_t *to = out->ptr + out->len;
    for (size_t i = 0; i < len; i += 3, to += 4) {
        size_t left = len - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (left > 2 ? p[i + 2] : 0);
        to[0] = (uint8_t)alphabet[v >> 18];
        to[1] = (uint8_t)alphabet[v >> 12 & 63];
        to[2] = left > 1 ? (uint8_t)alphabet[v >> 6 & 63] : '=';
        to[3] = left > 2 ? (uint8_t)alphabet[v & 63] : '=';
    }
    out->len += n_chars;
    out->ptr[out->len] = 0;
    return ERR_OK;
}

/* A character's six bits, plus 1; or what else it is. */
#define SPACE 65
#define PADDING 66
/* clang-format off */
static const uint8_t values[256] = {
    ['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
    25, 26,
    ['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48,
    49, 50, 51, 52,
    ['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
    ['+'] = 63, ['-'] = 63, ['/'] = 64, ['_'] = 64, ['='] = PADDING,
    [' '] = SPACE, ['\t'] = SPACE, ['\n'] = SPACE, ['\r'] = SPACE,
};
/* clang-format on */

static enum err bad_character(uint8_t c, struct errmsg *em)
{
    if (c > ' ' && c < 0x7f)
        return err_set(em, ERR_FORMAT, "not base64: it holds the character '%c'", c);
    if (c >= 0x80)
        return err_set(em, ERR_FORMAT, "not base64: it holds a character outside of ASCII");
    return err_set(em, ERR_FORMAT, "not base64: it holds the byte 0x%02x", c);
}

/* Padding completes a group of which two or three characters are there. */
static enum err take_padding(struct base64_decoder *d, struct errmsg *em)
{
    if (d->n_chars < 2 || d->n_chars + d->n_padding >= 4)
        return err_set(em, ERR_FORMAT, "not base64: '=' stands where no padding belongs");
    d->n_padding++;
    return ERR_OK;
}

/* One more character of a group; returns how many bytes it completes, 0 or 1. */
static size_t take_value(struct base64_decoder *d, uint32_t value, uint8_t *out)
{
    d->bits = (d->bits << 6 | value) & 0xffffffu;
    d->n_chars = (d->n_chars + 1) & 3;
    if (d->n_chars == 1)
        return 0;
    *out = (uint8_t)(d->bits >> ((4 - d->n_chars) & 3) * 2);
    return 1;
}

/* Whole groups without anything else among them, which is nearly all there ever is; returns how
 * many characters were used. */
static size_t take_groups(const uint8_t *p, size_t len, uint8_t *out)
{
    size_t i = 0;
    for (; i + 4 <= len; i += 4, out += 3) {
        uint32_t a = values[p[i]] - 1u, b = values[p[i + 1]] - 1u;
        uint32_t c = values[p[i + 2]] - 1u, d = values[p[i + 3]] - 1u;
        if ((a | b | c | d) > 63)
            break;
        uint32_t v = a << 18 | b << 12 | c << 6 | d;
        out[0] = (uint8_t)(v >> 16);
        out[1] = (uint8_t)(v >> 8);
        out[2] = (uint8_t)v;
    }
    return i;
}

enum err base64_decode(struct base64_decoder *d, const char *text, size_t len, uint8_t *out,
                       size_t *out_len, struct errmsg *em)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t n = 0;
    enum err rc = ERR_OK;
    for (size_t i = 0; i < len && !rc;) {
        if (d->n_chars == 0 && d->n_padding == 0) {
            size_t used = take_groups(p + i, len - i, out + n);
            n += used / 4 * 3;
            i += used;
            if (i == len)
                break;
        }
        uint8_t c = p[i++], value = values[c];
        if (value == SPACE)
            continue;
        if (value == PADDING)
            rc = take_padding(d, em);
        else if (value == 0)
            rc = bad_character(c, em);
        else if (d->n_padding)
            rc = err_set(em, ERR_FORMAT, "not base64: text follows the padding");
        else
            n += take_value(d, value - 1u, out + n);
    }
    *out_len = n;
    return rc;
}

enum err base64_decode_end(const struct base64_decoder *d, struct errmsg *em)
{
    if (d->n_chars == 1 || (d->n_padding && d->n_chars + d->n_padding != 4))
        return err_set(em, ERR_FORMAT, "not base64: it is cut inside of a group of four");
    /* the bits past the last whole byte; a text that was cut mostly shows there */
    uint32_t rest = d->n_chars == 2 ? d->bits & 15 : d->n_chars == 3 ? d->bits & 3 : 0;
    if (rest)
        return err_set(em, ERR_FORMAT, "not base64: it ends with bits of a byte that is missing");
    return ERR_OK;
}

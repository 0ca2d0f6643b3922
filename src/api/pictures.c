/* SPDX-License-Identifier: MIT */
/* A picture as a client sends it: base64 in a JSON string, until it is known to be a picture
 * that the pipeline will take. */
#include <string.h>
#include <strings.h>

#include "api/core_impl.h"
#include "base/base64.h"
#include "base/size.h"

#define PIECE_CHARS 512u /* unescaped at a time, where there are escapes */
#define DATA_PREFIX_CHARS 256u
#define NO_ASCII '\x80'

/* The text of a JSON string without its escapes, in pieces. Of \u only ASCII can matter here: all
 * else stands for itself as some byte that is no ASCII, and what is no escape as the backslash
 * that it is, neither of which base64 has. */
struct unescaper {
    const char *ptr, *end;
};

static char ascii_of_hex(const char *digits)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        static const char all[] = "0123456789abcdef0123456789ABCDEF";
        const char *at = memchr(all, digits[i], sizeof all - 1);
        if (!at)
            return '\\';
        v = v << 4 | ((unsigned)(at - all) & 15);
    }
    return v < 0x80 ? (char)v : NO_ASCII;
}

static char unescape_one(struct unescaper *u)
{
    static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
    u->ptr++;
    if (u->ptr == u->end)
        return '\\';
    char c = *u->ptr++;
    if (c == 'u') {
        if (u->end - u->ptr < 4)
            return '\\';
        u->ptr += 4;
        return ascii_of_hex(u->ptr - 4);
    }
    const char *at = strchr(from, c);
    return at && c ? to[at - from] : c;
}

/* The next piece, at most max characters: where it lies if it is long and has no escapes, else in
 * scratch (of PIECE_CHARS). 0: the end. */
static size_t next_piece(struct unescaper *u, size_t max, char *scratch, const char **piece)
{
    size_t scratch_max = min_size(max, PIECE_CHARS);
    size_t left = (size_t)(u->end - u->ptr), n = 0;
    const char *escape = memchr(u->ptr, '\\', left);
    size_t plain = escape ? (size_t)(escape - u->ptr) : left;
    if (plain >= scratch_max || plain == left) {
        *piece = u->ptr;
        plain = min_size(plain, max);
        u->ptr += plain;
        return plain;
    }
    while (n < scratch_max && u->ptr < u->end)
        scratch[n++] = *u->ptr == '\\' ? unescape_one(u) : *u->ptr++;
    *piece = scratch;
    return n;
}

/* A client that took the field for one of an address. */
static bool looks_like_url(const char *head, size_t len)
{
    size_t n = 0;
    while (n < len && n < 8 && ((head[n] | 0x20) >= 'a' && (head[n] | 0x20) <= 'z'))
        n++;
    return n && len - n >= 3 && memcmp(head + n, "://", 3) == 0;
}

static size_t leading_space(const char *head, size_t len)
{
    size_t n = 0;
    while (n < len && strchr(" \t\r\n", head[n]) && head[n])
        n++;
    return n;
}

/* How much of the text's head is "data:image/png;base64,". */
static enum err data_prefix(const char *head, size_t len, size_t *out, struct errmsg *em)
{
    size_t n_space = leading_space(head, len);
    head += n_space;
    len -= n_space;
    *out = n_space;
    if (looks_like_url(head, len))
        return err_set(em, ERR_FORMAT,
                       "is a URL that is not taken here: send the picture itself, in base64");
    if (len < 5 || strncasecmp(head, "data:", 5) != 0)
        return ERR_OK;
    const char *comma = memchr(head, ',', len);
    if (!comma || comma - head < 12 || strncasecmp(comma - 7, ";base64", 7) != 0)
        return err_set(em, ERR_FORMAT,
                       "is a data: URL without \";base64,\" in its first %u characters",
                       DATA_PREFIX_CHARS);
    *out += (size_t)(comma + 1 - head);
    return ERR_OK;
}

static enum err append_decoded(struct base64_decoder *d, const char *text, size_t len,
                               struct buf *out, struct errmsg *em)
{
    size_t n = 0;
    enum err rc = buf_reserve(out, len / 4 * 3 + 3, em);
    if (rc)
        return rc;
    rc = base64_decode(d, text, len, out->ptr + out->len, &n, em);
    out->len += n;
    return rc;
}

enum err picture_decode_base64(const char *text, size_t len, struct buf *out, struct errmsg *em)
{
    struct unescaper u = {text, text + len};
    struct base64_decoder d = {0};
    char scratch[PIECE_CHARS];
    const char *piece;
    size_t prefix;
    /* once, so that it need not grow; the pages are touched as they are filled */
    enum err rc = buf_reserve(out, len / 4 * 3 + 3, em);
    if (rc)
        return rc;
    size_t n = next_piece(&u, DATA_PREFIX_CHARS, scratch, &piece);
    rc = data_prefix(piece, n, &prefix, em);
    if (!rc)
        rc = append_decoded(&d, piece + prefix, n - prefix, out, em);
    while (!rc && u.ptr < u.end) {
        n = next_piece(&u, SIZE_MAX, scratch, &piece);
        rc = append_decoded(&d, piece, n, out, em);
    }
    return rc ? rc : base64_decode_end(&d, em);
}

static enum err check_shape(size_t width_px, size_t height_px, struct errmsg *em)
{
    size_t shorter = min_size(width_px, height_px), longer = max_size(width_px, height_px);
    if (shorter < LIMIT_REFERENCE_SIDE_MIN_PX)
        return err_set(em, ERR_FORMAT,
                       "the picture is %zux%zu pixels: each side must have at least %u", width_px,
                       height_px, LIMIT_REFERENCE_SIDE_MIN_PX);
    if (longer > shorter * LIMIT_REFERENCE_ASPECT_MAX)
        return err_set(em, ERR_FORMAT,
                       "the picture is %zux%zu pixels: its sides may be in proportion %u:1 at most",
                       width_px, height_px, LIMIT_REFERENCE_ASPECT_MAX);
    return ERR_OK;
}

enum err picture_check(const void *bytes, size_t len, enum image_format *format, size_t *width_px,
                       size_t *height_px, struct errmsg *em)
{
    struct image img = {0};
    if (looks_like_url(bytes, len))
        return err_set(em, ERR_FORMAT, "is a URL: send the file of the picture itself");
    enum err rc = image_probe(bytes, len, format, width_px, height_px, em);
    if (!rc)
        rc = check_shape(*width_px, *height_px, em);
    if (!rc)
        rc = image_decode(bytes, len, &img, em);
    image_deinit(&img);
    return rc == ERR_UNSUPPORTED || rc == ERR_USAGE ? ERR_FORMAT : rc;
}

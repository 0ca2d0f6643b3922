/* SPDX-License-Identifier: MIT */
/* XMP → texts. Not an XML parser: a scanner that walks a packet once, from markup to
 * markup, and takes the elements and attributes of our namespace. It follows no
 * references, keeps no tree, and leaves off at the first thing that makes no sense.
 * Prefixes are not scoped: the latest xmlns declaration of our namespace counts. */
#include <stdlib.h>
#include <string.h>

#include "image/image_impl.h"
#include "image/xmp_impl.h"

struct span {
    const char *p;
    size_t len;
};

struct scan {
    const char *p, *end;
    struct span prefix, note_prefix; /* as declared; len 0: not yet */
    struct image_texts *out;
    char *guid;      /* or NULL */
    size_t n_values; /* seen; a packet of endless repetition is not worth the time */
    struct errmsg *em;
};

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

static bool at_text(const struct scan *s, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(s->end - s->p) >= n && memcmp(s->p, text, n) == 0;
}

/* Go behind the next occurrence of text; false: there is none. */
static bool skip_past(struct scan *s, const char *text)
{
    const char *hit = memmem(s->p, (size_t)(s->end - s->p), text, strlen(text));
    if (!hit)
        return false;
    s->p = hit + strlen(text);
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && is_space(*s->p))
        s->p++;
}

static struct span name_read(struct scan *s)
{
    const char *start = s->p;
    while (s->p < s->end && !is_space(*s->p) && !strchr("<>/=\"'", *s->p))
        s->p++;
    return (struct span){start, (size_t)(s->p - start)};
}

/* "prefix:local" with that prefix → local. */
static bool name_split(struct span name, struct span prefix, struct span *local)
{
    if (prefix.len == 0 || name.len <= prefix.len + 1 || name.p[prefix.len] != ':' ||
        memcmp(name.p, prefix.p, prefix.len) != 0)
        return false;
    *local = (struct span){name.p + prefix.len + 1, name.len - prefix.len - 1};
    return true;
}

/* ---- values ------------------------------------------------------------------ */

/* &name; or &#number; at p, appended; its length, or 0 when it is none of these. */
static size_t reference_append(const char *p, size_t len, struct buf *b, enum err *rc,
                               struct errmsg *em)
{
    static const struct {
        const char *name;
        char c;
    } named[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        size_t n = strlen(named[i].name);
        if (len >= n && memcmp(p, named[i].name, n) == 0) {
            *rc = buf_append(b, &named[i].c, 1, em);
            return n;
        }
    }
    if (len < 4 || p[1] != '#')
        return 0;
    bool hex = p[2] == 'x';
    char digits[9] = {0};
    size_t first = hex ? 3 : 2, n = 0;
    while (n < 8 && first + n < len && strchr("0123456789abcdefABCDEF", p[first + n]) &&
           p[first + n])
        n++;
    if (n == 0 || first + n >= len || p[first + n] != ';')
        return 0;
    memcpy(digits, p + first, n);
    char *rest;
    unsigned long v = strtoul(digits, &rest, hex ? 16 : 10);
    if (*rest)
        return 0;
    bool is_char = v > 0 && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff);
    *rc = utf8_append(b, is_char ? (uint32_t)v : 0xfffd, em);
    return first + n + 1;
}

/* Character data with its references replaced and line ends made line feeds. */
static enum err data_append(struct span s, bool references, struct buf *b, struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (size_t i = 0; i < s.len && !rc;) {
        size_t n = 0;
        if (references && s.p[i] == '&')
            n = reference_append(s.p + i, s.len - i, b, &rc, em);
        if (n == 0 && s.p[i] == '\r') {
            n = i + 1 < s.len && s.p[i + 1] == '\n' ? 2 : 1;
            rc = buf_append(b, "\n", 1, em);
        } else if (n == 0) {
            n = 1;
            while (i + n < s.len && s.p[i + n] != '&' && s.p[i + n] != '\r')
                n++;
            rc = buf_append(b, s.p + i, n, em);
        }
        i += n;
    }
    return rc;
}

/* Undo the writer's _xHHHH_. */
static enum err unescape(struct span s, struct buf *b, struct errmsg *em)
{
    enum err rc = buf_append(b, NULL, 0, em);
    for (size_t i = 0; i < s.len && !rc;) {
        const char *hit = memchr(s.p + i, '_', s.len - i);
        size_t n = hit ? (size_t)(hit - (s.p + i)) : s.len - i;
        rc = buf_append(b, s.p + i, n, em);
        i += n;
        if (rc || i == s.len)
            break;
        unsigned long v = 0;
        if (s.len - i >= 7 && s.p[i + 6] == '_' &&
            xmp_is_escape((const uint8_t *)s.p + i + 1, s.len - i - 1))
            v = strtoul((char[5]){s.p[i + 2], s.p[i + 3], s.p[i + 4], s.p[i + 5], 0}, NULL, 16);
        bool is_char = v > 0 && (v < 0xd800 || v > 0xdfff);
        rc = is_char ? utf8_append(b, (uint32_t)v, em) : buf_append(b, "_", 1, em);
        i += is_char ? 7 : 1;
    }
    return rc;
}

static enum err text_add(struct scan *s, struct span name, struct span value)
{
    struct buf key = {0}, text = {0};
    if (s->n_values++ >= IMAGE_TEXTS_MAX)
        return ERR_OK;
    enum err rc = unescape(name, &key, s->em);
    if (!rc)
        rc = unescape(value, &text, s->em);
    if (!rc)
        rc = image_texts_add_foreign(s->out, (char *)key.ptr, key.len, (char *)text.ptr, text.len,
                                     s->em);
    buf_deinit(&key);
    buf_deinit(&text);
    return rc;
}

/* ---- markup ------------------------------------------------------------------ */

static void namespace_see(struct scan *s, struct span name, struct span value)
{
    struct span prefix;
    if (!name_split(name, (struct span){"xmlns", 5}, &prefix))
        return;
    if (span_is(value, XMP_NAMESPACE))
        s->prefix = prefix;
    else if (span_is(value, XMP_NOTE_NAMESPACE))
        s->note_prefix = prefix;
}

static enum err attribute_take(struct scan *s, struct span name, struct span value)
{
    struct span local;
    if (name_split(name, s->note_prefix, &local) && span_is(local, "HasExtendedXMP") &&
        value.len == 32 && s->guid)
        memcpy(s->guid, value.p, 32);
    if (!name_split(name, s->prefix, &local))
        return ERR_OK;
    struct buf text = {0};
    enum err rc = data_append(value, true, &text, s->em);
    if (!rc)
        rc = text_add(s, local, (struct span){(char *)text.ptr, text.len});
    buf_deinit(&text);
    return rc;
}

/* One attribute at s->p; false: no more, or nonsense. */
static bool attribute_next(struct scan *s, struct span *name, struct span *value)
{
    skip_space(s);
    *name = name_read(s);
    skip_space(s);
    if (name->len == 0 || s->p == s->end || *s->p != '=')
        return false;
    s->p++;
    skip_space(s);
    if (s->p == s->end || (*s->p != '"' && *s->p != '\''))
        return false;
    const char *start = s->p + 1;
    const char *quote = memchr(start, *s->p, (size_t)(s->end - start));
    if (!quote)
        return false;
    *value = (struct span){start, (size_t)(quote - start)};
    s->p = quote + 1;
    return true;
}

/* A tag's attributes twice: first what they declare, then what they say. */
static enum err attributes_read(struct scan *s)
{
    struct span name, value;
    const char *start = s->p;
    while (attribute_next(s, &name, &value))
        namespace_see(s, name, value);
    s->p = start;
    enum err rc = ERR_OK;
    while (!rc && attribute_next(s, &name, &value))
        rc = attribute_take(s, name, value);
    skip_space(s);
    return rc;
}

/* The text up to the element's end tag; tags within are passed over. */
static enum err element_read(struct scan *s, struct span name, struct span local)
{
    struct buf text = {0};
    enum err rc = ERR_OK;
    bool ended = false;
    while (!rc && !ended) {
        const char *start = s->p;
        const char *markup = memchr(start, '<', (size_t)(s->end - start));
        if (!markup)
            break;
        rc = data_append((struct span){start, (size_t)(markup - start)}, true, &text, s->em);
        s->p = markup;
        if (rc)
            break;
        if (at_text(s, "<![CDATA[")) {
            start = markup + 9;
            if (!skip_past(s, "]]>"))
                break;
            if (s->p - 3 >= start)
                rc = data_append((struct span){start, (size_t)(s->p - 3 - start)}, false, &text,
                                 s->em);
            continue;
        }
        if (at_text(s, "</")) {
            s->p += 2;
            struct span end = name_read(s);
            ended = end.len == name.len && memcmp(end.p, name.p, name.len) == 0;
        }
        if (!skip_past(s, at_text(s, "<!--") ? "-->" : ">")) {
            ended = false;
            break;
        }
    }
    if (!rc && ended)
        rc = text_add(s, local, (struct span){(char *)text.ptr, text.len});
    if (!ended)
        s->p = s->end;
    buf_deinit(&text);
    return rc;
}

static enum err tag_read(struct scan *s)
{
    s->p++;
    struct span name = name_read(s), local;
    enum err rc = attributes_read(s);
    if (rc)
        return rc;
    bool empty = at_text(s, "/>");
    if (!skip_past(s, ">"))
        s->p = s->end;
    else if (name_split(name, s->prefix, &local))
        rc = empty ? text_add(s, local, (struct span){"", 0}) : element_read(s, name, local);
    return rc;
}

enum err image_xmp_read(const uint8_t *xmp, size_t len, struct image_texts *out,
                        char *extension_guid, struct errmsg *em)
{
    struct scan s = {.p = (const char *)xmp,
                     .end = (const char *)xmp + len,
                     .out = out,
                     .guid = extension_guid,
                     .em = em};
    if (extension_guid)
        memset(extension_guid, 0, 33);
    if (len > IMAGE_XMP_BYTES_MAX)
        return ERR_OK;
    enum err rc = ERR_OK;
    while (!rc && s.n_values < IMAGE_TEXTS_MAX && skip_past(&s, "<")) {
        s.p--;
        bool ok = true;
        if (at_text(&s, "<!--"))
            ok = skip_past(&s, "-->");
        else if (at_text(&s, "<![CDATA["))
            ok = skip_past(&s, "]]>");
        else if (at_text(&s, "<?"))
            ok = skip_past(&s, "?>");
        else if (at_text(&s, "<!") || at_text(&s, "</"))
            ok = skip_past(&s, ">");
        else
            rc = tag_read(&s);
        if (!ok)
            break;
    }
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* Texts → XMP: RDF/XML, one element of our namespace per text.
 * XML 1.0 cannot hold most control characters, and an element's name only some ASCII:
 * those are written as _xHHHH_ (four hex digits, as in Office Open XML), and an underscore
 * that could be taken for the start of one as _x005F_. So every text reads back as it was. */
#include <string.h>

#include "image/image_impl.h"
#include "image/xmp_impl.h"

/* p starts with "xHHHH". */
bool xmp_is_escape(const uint8_t *p, size_t len)
{
    if (len < 5 || p[0] != 'x')
        return false;
    for (int i = 1; i < 5; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'A' && p[i] <= 'F') ||
              (p[i] >= 'a' && p[i] <= 'f')))
            return false;
    return true;
}

static bool xml_allows(uint32_t v)
{
    return v >= 0x20 ? v != 0xfffe && v != 0xffff : v == '\t' || v == '\n' || v == '\r';
}

static bool name_allows(uint32_t v, bool first)
{
    if ((v >= 'A' && v <= 'Z') || (v >= 'a' && v <= 'z') || v == '_')
        return true;
    return !first && ((v >= '0' && v <= '9') || v == '-' || v == '.');
}

/* "_xHHHH_"; what needs it is below 0x10000. */
static enum err escape_append(struct buf *b, uint32_t v, struct errmsg *em)
{
    static const char hex[] = "0123456789ABCDEF";
    const char s[7] = {'_',         'x', hex[v >> 12 & 15], hex[v >> 8 & 15], hex[v >> 4 & 15],
                       hex[v & 15], '_'};
    return buf_append(b, s, sizeof s, em);
}

static enum err name_append(struct buf *b, const char *key, struct errmsg *em)
{
    size_t len = strlen(key);
    enum err rc = ERR_OK;
    for (size_t i = 0; i < len && !rc; i++) {
        const uint8_t *p = (const uint8_t *)key + i;
        if (!name_allows(*p, i == 0) || (*p == '_' && xmp_is_escape(p + 1, len - i - 1)))
            rc = escape_append(b, *p, em);
        else
            rc = buf_append(b, p, 1, em);
    }
    return rc;
}

static enum err char_append(struct buf *b, uint32_t v, const uint8_t *p, size_t n,
                            struct errmsg *em)
{
    switch (v) {
    case '&':
        return buf_append(b, "&amp;", 5, em);
    case '<':
        return buf_append(b, "&lt;", 4, em);
    case '>':
        return buf_append(b, "&gt;", 4, em);
    case '\r': /* a bare one would be read as a line feed */
        return buf_append(b, "&#13;", 5, em);
    default:
        return xml_allows(v) ? buf_append(b, p, n, em) : escape_append(b, v, em);
    }
}

/* How many bytes from p on stand for themselves, as far as ASCII goes. */
static size_t plain_run(const uint8_t *p, size_t len)
{
    size_t n = 0;
    while (n < len && p[n] >= ' ' && p[n] < 0x7f && p[n] != '_' && p[n] != '&' && p[n] != '<' &&
           p[n] != '>')
        n++;
    return n;
}

static enum err value_append(struct buf *b, const char *value, struct errmsg *em)
{
    const uint8_t *p = (const uint8_t *)value;
    size_t len = strlen(value), n;
    enum err rc = ERR_OK;
    for (size_t i = 0; i < len && !rc; i += n) {
        uint32_t v;
        n = plain_run(p + i, len - i);
        if (n > 0) {
            rc = buf_append(b, p + i, n, em);
            continue;
        }
        n = utf8_decode(p + i, len - i, &v);
        if (n == 0)
            return err_set(em, ERR_USAGE, "a picture's text is not valid UTF-8");
        if (v == '_' && xmp_is_escape(p + i + 1, len - i - 1))
            rc = escape_append(b, '_', em);
        else
            rc = char_append(b, v, p + i, n, em);
    }
    return rc;
}

static enum err property_append(struct buf *b, const struct image_text *t, struct errmsg *em)
{
    enum err rc = buf_printf(b, em, "<easel:");
    if (!rc)
        rc = name_append(b, t->key, em);
    if (!rc)
        rc = buf_printf(b, em, ">");
    if (!rc)
        rc = value_append(b, t->value, em);
    if (!rc)
        rc = buf_printf(b, em, "</easel:");
    if (!rc)
        rc = name_append(b, t->key, em);
    if (!rc)
        rc = buf_printf(b, em, ">\n");
    return rc;
}

enum err image_xmp_write(const struct image_texts *t, size_t first, size_t end,
                         const char *extension_guid, bool wrap, struct buf *out, struct errmsg *em)
{
    enum err rc = ERR_OK;
    if (wrap)
        rc = buf_printf(out, em,
                        "<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n");
    if (!rc)
        rc = buf_printf(out, em,
                        "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n"
                        "<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n"
                        "<rdf:Description rdf:about=\"\" xmlns:easel=\"" XMP_NAMESPACE "\"");
    if (!rc && extension_guid)
        rc = buf_printf(out, em,
                        "\n xmlns:xmpNote=\"" XMP_NOTE_NAMESPACE "\""
                        " xmpNote:HasExtendedXMP=\"%.32s\"",
                        extension_guid);
    if (!rc)
        rc = buf_printf(out, em, ">\n");
    for (size_t i = first; i < end && !rc; i++)
        rc = property_append(out, &t->items[i], em);
    if (!rc)
        rc = buf_printf(out, em, "</rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>%s",
                        wrap ? "\n<?xpacket end=\"r\"?>" : "");
    return rc;
}

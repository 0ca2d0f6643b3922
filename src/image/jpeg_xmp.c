/* SPDX-License-Identifier: MIT */
/* XMP in a JPEG. One packet must fit in one APP1 segment (64 KB). When the texts do not,
 * the first of them that do stay in the main packet and the others go into a second one,
 * cut over as many segments as it needs: Adobe's ExtendedXMP (XMP specification part 3,
 * 1.1.3.1), which exiftool and others read too. So nothing is ever shortened.
 * A segment of it: name, NUL, 32 hex digits that the main packet names, the length of the
 * whole and this part's offset (32 bits, big-endian), the part. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "image/jpeg_impl.h"

#define PACKET_BYTES_MAX (JPEG_SEGMENT_BYTES_MAX - sizeof JPEG_XMP_NAME)
#define PART_HEADER_BYTES (sizeof JPEG_EXTENSION_NAME + 32 + 8)
#define PART_BYTES_MAX 65400u

/* The packet of the first n texts, naming an extension when there are more. */
static enum err main_write(struct jpeg_xmp *x, const struct image_texts *t, size_t n,
                           struct errmsg *em)
{
    x->main.len = 0;
    return image_xmp_write(t, 0, n, n < t->n ? x->guid : NULL, true, &x->main, em);
}

/* The largest number of leading texts whose packet fits, by bisection; x->main is left
 * with some packet. */
static enum err split_find(struct jpeg_xmp *x, const struct image_texts *t, size_t *n_fit,
                           struct errmsg *em)
{
    size_t fits = 0, too_many = t->n;
    memset(x->guid, '0', 32); /* only its length matters here */
    while (too_many - fits > 1) {
        size_t middle = fits + (too_many - fits) / 2;
        enum err rc = main_write(x, t, middle, em);
        if (rc)
            return rc;
        if (x->main.len <= PACKET_BYTES_MAX)
            fits = middle;
        else
            too_many = middle;
    }
    *n_fit = fits;
    return ERR_OK;
}

enum err jpeg_xmp_prepare(struct jpeg_xmp *x, const struct image_texts *texts, struct errmsg *em)
{
    *x = (struct jpeg_xmp){0};
    if (!texts || texts->n == 0)
        return ERR_OK;
    size_t n = texts->n;
    enum err rc = main_write(x, texts, n, em);
    if (rc || x->main.len <= PACKET_BYTES_MAX)
        return rc;
    rc = split_find(x, texts, &n, em);
    if (!rc)
        rc = image_xmp_write(texts, n, texts->n, NULL, false, &x->extension, em);
    if (rc)
        return rc;
    image_md5_hex(x->extension.ptr, x->extension.len, x->guid);
    return main_write(x, texts, n, em);
}

void jpeg_xmp_deinit(struct jpeg_xmp *x)
{
    buf_deinit(&x->main);
    buf_deinit(&x->extension);
}

static void bytes_write(struct jpeg_compress_struct *c, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++)
        jpeg_write_m_byte(c, p[i]);
}

static void number_write(struct jpeg_compress_struct *c, size_t v)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        jpeg_write_m_byte(c, (int)(v >> shift & 0xff));
}

void jpeg_xmp_write(struct jpeg_compress_struct *c, const struct jpeg_xmp *x)
{
    if (x->main.len == 0)
        return;
    jpeg_write_m_header(c, JPEG_APP0 + 1, (unsigned)(sizeof JPEG_XMP_NAME + x->main.len));
    bytes_write(c, JPEG_XMP_NAME, sizeof JPEG_XMP_NAME);
    bytes_write(c, x->main.ptr, x->main.len);
    for (size_t at = 0; at < x->extension.len; at += PART_BYTES_MAX) {
        size_t n = min_size(PART_BYTES_MAX, x->extension.len - at);
        jpeg_write_m_header(c, JPEG_APP0 + 1, (unsigned)(PART_HEADER_BYTES + n));
        bytes_write(c, JPEG_EXTENSION_NAME, sizeof JPEG_EXTENSION_NAME);
        bytes_write(c, x->guid, 32);
        number_write(c, x->extension.len);
        number_write(c, at);
        bytes_write(c, x->extension.ptr + at, n);
    }
}

static bool marker_is(const struct jpeg_marker_struct *m, const char *name, size_t name_len)
{
    return m->marker == JPEG_APP0 + 1 && m->data_length >= name_len &&
           memcmp(m->data, name, name_len) == 0;
}

static size_t number_read(const uint8_t *p)
{
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

/* Join the parts of that GUID, which must follow each other without a gap. */
static enum err extension_join(const struct jpeg_marker_struct *markers, const char *guid,
                               struct buf *out, struct errmsg *em)
{
    for (const struct jpeg_marker_struct *m = markers; m; m = m->next) {
        if (!marker_is(m, JPEG_EXTENSION_NAME, sizeof JPEG_EXTENSION_NAME) ||
            m->data_length < PART_HEADER_BYTES)
            continue;
        const uint8_t *p = m->data + sizeof JPEG_EXTENSION_NAME;
        size_t n = m->data_length - PART_HEADER_BYTES;
        if (memcmp(p, guid, 32) != 0 || number_read(p + 36) != out->len ||
            n > IMAGE_XMP_BYTES_MAX - out->len)
            continue;
        enum err rc = buf_append(out, p + 40, n, em);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

enum err jpeg_xmp_read(const struct jpeg_marker_struct *markers, struct image_texts *out,
                       struct errmsg *em)
{
    const size_t name_len = sizeof JPEG_XMP_NAME;
    char guid[33];
    struct buf extension = {0};
    enum err rc = ERR_OK;
    for (const struct jpeg_marker_struct *m = markers; m && !rc; m = m->next) {
        if (!marker_is(m, JPEG_XMP_NAME, name_len))
            continue;
        rc = image_xmp_read(m->data + name_len, m->data_length - name_len, out, guid, em);
        if (!rc && guid[0])
            rc = extension_join(markers, guid, &extension, em);
        if (!rc && extension.len)
            rc = image_xmp_read(extension.ptr, extension.len, out, NULL, em);
        break; /* there is one main packet; a second would be forged or a mistake */
    }
    buf_deinit(&extension);
    return rc;
}

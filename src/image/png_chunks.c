/* SPDX-License-Identifier: MIT */
/* PNG's chunks, read without libpng: the size from IHDR, orientation from eXIf, texts
 * from tEXt, zTXt and iTXt, wherever in the file they stand. */
#include <string.h>
#include <zlib.h>

#include "base/size.h"
#include "image/image_impl.h"

#define SIGNATURE_BYTES 8u

struct chunk {
    const uint8_t *type, *data; /* type: 4 letters */
    size_t len;
};

static uint32_t read32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The chunk at *at; false at the end of the file or of what is whole in it. */
static bool chunk_next(const uint8_t *bytes, size_t len, size_t *at, struct chunk *c)
{
    if (len - *at < 12)
        return false;
    const uint8_t *p = bytes + *at;
    size_t n = read32(p);
    if (n > len - *at - 12)
        return false;
    *c = (struct chunk){.type = p + 4, .data = p + 8, .len = n};
    *at += n + 12;
    return true;
}

static bool chunk_is(const struct chunk *c, const char *type)
{
    return memcmp(c->type, type, 4) == 0;
}

/* Whether the chunk's check sum is right. */
static bool chunk_is_sound(const struct chunk *c)
{
    uLong crc = crc32(0, c->type, (uInt)(c->len + 4));
    return (uint32_t)crc == read32(c->data + c->len);
}

enum err image_png_info(const uint8_t *bytes, size_t len, struct image_info *out, struct errmsg *em)
{
    struct chunk c;
    size_t at = SIGNATURE_BYTES;
    if (!chunk_next(bytes, len, &at, &c))
        return err_set(em, ERR_FORMAT, "the PNG ends within its header (truncated)");
    if (!chunk_is(&c, "IHDR") || c.len != 13 || !chunk_is_sound(&c))
        return err_set(em, ERR_FORMAT, "the PNG's header (IHDR) is damaged");
    *out = (struct image_info){read32(c.data), read32(c.data + 4), 1};
    enum err rc = image_check_size(out->width_px, out->height_px, em);
    if (rc)
        return rc;
    while (chunk_next(bytes, len, &at, &c)) {
        if (chunk_is(&c, "eXIf") && chunk_is_sound(&c)) {
            out->orientation = image_exif_orientation(c.data, c.len);
            break;
        }
    }
    return ERR_OK;
}

/* Inflate what a zTXt or compressed iTXt holds, up to the limit on a value. */
static enum err inflate_text(const uint8_t *p, size_t len, struct buf *out, bool *ok,
                             struct errmsg *em)
{
    z_stream z = {0};
    enum err rc = ERR_OK;
    int status = inflateInit(&z);
    z.next_in = (Bytef *)(uintptr_t)p; /* zlib does not write there */
    z.avail_in = (uInt)len;
    while (status == Z_OK && !rc && out->len <= IMAGE_TEXT_BYTES_MAX) {
        uint8_t block[4096];
        z.next_out = block;
        z.avail_out = sizeof block;
        status = inflate(&z, Z_NO_FLUSH);
        rc = buf_append(out, block, sizeof block - z.avail_out, em);
    }
    inflateEnd(&z);
    *ok = status == Z_STREAM_END && out->len <= IMAGE_TEXT_BYTES_MAX;
    return rc;
}

static enum err latin1_to_utf8(const uint8_t *p, size_t len, struct buf *out, struct errmsg *em)
{
    enum err rc = buf_append(out, NULL, 0, em);
    for (size_t i = 0; i < len && !rc; i++)
        rc = utf8_append(out, p[i], em);
    return rc;
}

/* A text chunk taken apart. */
struct text_parts {
    size_t key_len;
    const uint8_t *value;
    size_t value_len;
    bool compressed, latin1;
};

/* Step over a string that ends in NUL; false: it does not. */
static bool string_skip(const struct chunk *c, size_t *at)
{
    const uint8_t *nul = *at < c->len ? memchr(c->data + *at, 0, c->len - *at) : NULL;
    if (!nul)
        return false;
    *at = (size_t)(nul - c->data) + 1;
    return true;
}

/* tEXt: key 0 value; zTXt: key 0 method value; iTXt: key 0 flag method language 0
 * translated-key 0 value. The only method is 0, deflate. */
static bool text_split(const struct chunk *c, struct text_parts *t)
{
    size_t at = 0;
    bool international = chunk_is(c, "iTXt");
    *t = (struct text_parts){.latin1 = !international, .compressed = chunk_is(c, "zTXt")};
    if (!string_skip(c, &at))
        return false;
    t->key_len = at - 1;
    if (international) {
        if (c->len - at < 2 || c->data[at] > 1)
            return false;
        t->compressed = c->data[at++] == 1;
    }
    if (t->compressed || international) {
        if (at >= c->len || c->data[at++] != 0)
            return false;
    }
    if (international && (!string_skip(c, &at) || !string_skip(c, &at)))
        return false;
    t->value = c->data + at;
    t->value_len = c->len - at;
    return true;
}

static enum err text_take(const struct chunk *c, struct image_texts *out, struct errmsg *em)
{
    struct text_parts t;
    struct buf inflated = {0}, utf8 = {0};
    enum err rc = ERR_OK;
    bool ok = text_split(c, &t);
    if (ok && t.compressed) {
        rc = inflate_text(t.value, t.value_len, &inflated, &ok, em);
        t.value = inflated.ptr;
        t.value_len = inflated.len;
    }
    if (rc || !ok || t.value_len > IMAGE_TEXT_BYTES_MAX)
        goto out;
    if (t.latin1) {
        rc = latin1_to_utf8(t.value, t.value_len, &utf8, em);
        t.value = utf8.ptr;
        t.value_len = utf8.len;
    }
    if (!rc)
        rc = image_texts_add_foreign(out, (const char *)c->data, t.key_len, (const char *)t.value,
                                     t.value_len, em);
out:
    buf_deinit(&inflated);
    buf_deinit(&utf8);
    return rc;
}

enum err image_png_texts(const uint8_t *bytes, size_t len, struct image_texts *out,
                         struct errmsg *em)
{
    struct image_info info;
    struct chunk c;
    size_t at = SIGNATURE_BYTES, n_seen = 0;
    enum err rc = image_png_info(bytes, len, &info, em);
    while (!rc && n_seen < IMAGE_TEXTS_MAX && chunk_next(bytes, len, &at, &c)) {
        if (!chunk_is(&c, "tEXt") && !chunk_is(&c, "zTXt") && !chunk_is(&c, "iTXt"))
            continue;
        n_seen++;
        if (chunk_is_sound(&c))
            rc = text_take(&c, out, em);
    }
    return rc;
}

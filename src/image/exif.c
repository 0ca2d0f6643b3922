/* SPDX-License-Identifier: MIT */
/* The one EXIF tag that changes a picture: orientation. */
#include <string.h>

#include "image/image_impl.h"

#define TAG_ORIENTATION 0x0112u
#define TYPE_SHORT 3u
#define TYPE_LONG 4u

struct tiff {
    const uint8_t *p;
    size_t len;
    bool big_endian;
};

/* Numbers outside the block read as 0, which is no orientation. */
static uint32_t read16(const struct tiff *t, size_t at)
{
    if (at > t->len || t->len - at < 2)
        return 0;
    const uint8_t *p = t->p + at;
    return t->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t read32(const struct tiff *t, size_t at)
{
    uint32_t a = read16(t, at), b = read16(t, at + 2);
    return t->big_endian ? a << 16 | b : b << 16 | a;
}

static bool tiff_open(struct tiff *t, const uint8_t *exif, size_t len)
{
    if (len >= 6 && memcmp(exif, "Exif\0\0", 6) == 0) {
        exif += 6;
        len -= 6;
    }
    if (len < 8)
        return false;
    *t = (struct tiff){exif, len, exif[0] == 'M'};
    if (memcmp(exif, t->big_endian ? "MM" : "II", 2) != 0)
        return false;
    return read16(t, 2) == 42;
}

unsigned image_exif_orientation(const uint8_t *exif, size_t len)
{
    struct tiff t;
    if (!tiff_open(&t, exif, len))
        return 1;
    size_t ifd = read32(&t, 4);
    size_t n = read16(&t, ifd);
    for (size_t i = 0; i < n; i++) {
        size_t entry = ifd + 2 + 12 * i;
        if (entry > len)
            break;
        if (read16(&t, entry) != TAG_ORIENTATION)
            continue;
        uint32_t type = read16(&t, entry + 2);
        uint32_t v = 0;
        if (type == TYPE_SHORT)
            v = read16(&t, entry + 8);
        else if (type == TYPE_LONG)
            v = read32(&t, entry + 8);
        return v >= 1 && v <= 8 ? v : 1;
    }
    return 1;
}

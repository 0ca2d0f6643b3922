/* SPDX-License-Identifier: MIT */
/* Bytes → probe, pixels, texts, for PNG, JPEG and WebP. What is read must hold together:
 * a picture that decodes has the size that the probe told, and texts survive being
 * written as XMP and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "image/image.h"
#include "image/image_impl.h"

#define PIXELS_MAX (1u << 18) /* larger ones are good pictures, but slow to fuzz */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void texts_again(const struct image_texts *t)
{
    struct errmsg em;
    struct buf xmp = {0};
    struct image_texts again = {0};
    require(image_xmp_write(t, 0, t->n, NULL, true, &xmp, &em) == ERR_OK);
    require(image_xmp_read(xmp.ptr, xmp.len, &again, NULL, &em) == ERR_OK);
    require(again.n == t->n);
    for (size_t i = 0; i < t->n; i++) {
        require(strcmp(again.items[i].key, t->items[i].key) == 0);
        require(strcmp(again.items[i].value, t->items[i].value) == 0);
    }
    image_texts_deinit(&again);
    buf_deinit(&xmp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errmsg em;
    enum image_format format;
    size_t w = 0, h = 0;
    struct image img;
    struct image_texts texts;
    enum err probed = image_probe(data, size, &format, &w, &h, &em);
    if (probed || w * h <= PIXELS_MAX) {
        enum err decoded = image_decode(data, size, &img, &em);
        if (decoded == ERR_OK) {
            require(probed == ERR_OK && img.width_px == w && img.height_px == h);
            image_deinit(&img);
        }
    }
    if (image_texts_read(data, size, &texts, &em) == ERR_OK) {
        texts_again(&texts);
        image_texts_deinit(&texts);
    }
    return 0;
}

static uint32_t read32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A PNG's check sums would turn nearly every mutation away: set them right. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, max_size);
    if (seed % 8 == 0 || size < 8 || memcmp(data, "\x89PNG", 4) != 0)
        return size;
    for (size_t at = 8; size - at >= 12;) {
        size_t n = read32(data + at);
        if (n > size - at - 12)
            break;
        uint32_t crc = (uint32_t)crc32(0, data + at + 4, (unsigned)(n + 4));
        for (int i = 0; i < 4; i++)
            data[at + 8 + n + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += n + 12;
    }
    return size;
}

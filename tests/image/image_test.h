/* SPDX-License-Identifier: MIT */
/* What the tests of image/ share: fixture files, the formula's picture, check sums. */
#ifndef EASEL_TESTS_IMAGE_TEST_H
#define EASEL_TESTS_IMAGE_TEST_H

#include "test.h"

#include <zlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "image/image.h"

/* tests/data/image/NAME, whole. */
static inline struct buf fixture(const char *name)
{
    struct errmsg em;
    struct buf b = {0};
    char path[256];
    snprintf(path, sizeof path, "image/%s", name);
    assert_ok(file_read(data_path(path), 16u << 20, &b, &em));
    return b;
}

static inline struct image picture_new(size_t w, size_t h)
{
    struct errmsg em;
    struct image img;
    assert_ok(image_init(&img, w, h, &em));
    return img;
}

/* Noise that is a function of the byte's index: picture() of tools/fixtures/image.py. */
static inline struct image picture_noise(size_t w, size_t h)
{
    struct image img = picture_new(w, h);
    for (size_t i = 0; i < w * h * 3; i++) {
        uint32_t v = (uint32_t)(i * 2654435761u + 12345u);
        v = (v ^ v >> 15) * 2246822519u;
        v = (v ^ v >> 13) * 3266489917u;
        img.rgb[i] = (uint8_t)(v >> 24);
    }
    return img;
}

/* Gradients, which lossy formats hold well. */
static inline struct image picture_smooth(size_t w, size_t h)
{
    struct image img = picture_new(w, h);
    for (size_t y = 0; y < h; y++) {
        for (size_t x = 0; x < w; x++) {
            uint8_t *p = img.rgb + (y * w + x) * 3;
            p[0] = (uint8_t)(x * 255 / w);
            p[1] = (uint8_t)(y * 255 / h);
            p[2] = (uint8_t)((x + y) * 255 / (w + h));
        }
    }
    return img;
}

static inline uint32_t picture_crc(const struct image *img)
{
    return (uint32_t)crc32(0, img->rgb, (unsigned)(img->width_px * img->height_px * 3));
}

/* The largest difference of any channel. */
static inline int pixels_differ(const uint8_t *a, const uint8_t *b, size_t n)
{
    int most = 0;
    for (size_t i = 0; i < n; i++) {
        int d = abs((int)a[i] - (int)b[i]);
        most = d > most ? d : most;
    }
    return most;
}

static const enum image_format all_formats[] = {IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP};

#endif

/* SPDX-License-Identifier: MIT */
/* Element types of stored tensors, and their conversion to float32. */
#ifndef EASEL_BASE_DTYPE_H
#define EASEL_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };

static inline size_t dtype_size(enum dtype t)
{
    return t == DTYPE_F32 ? 4 : 2;
}

static inline float f32_from_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t bf16_from_f32(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

static inline float f32_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = (h >> 10) & 0x1fu;
    uint32_t mantissa = h & 0x3ffu;
    uint32_t u;
    if (exponent == 0) {
        float f = (float)mantissa * 0x1p-24f;
        memcpy(&u, &f, sizeof u);
        u |= sign;
    } else if (exponent == 31) {
        u = sign | 0x7f800000u | (mantissa << 13);
    } else {
        u = sign | ((exponent + 112u) << 23) | (mantissa << 13);
    }
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Element i of an array of the given type, as float32. */
static inline float f32_load(const void *data, enum dtype t, size_t i)
{
    uint16_t h;
    float f;
    switch (t) {
    case DTYPE_F32:
        memcpy(&f, (const char *)data + 4 * i, sizeof f);
        return f;
    case DTYPE_F16:
        memcpy(&h, (const char *)data + 2 * i, sizeof h);
        return f32_from_f16(h);
    case DTYPE_BF16:
        break;
    }
    memcpy(&h, (const char *)data + 2 * i, sizeof h);
    return f32_from_bf16(h);
}

#endif

/* SPDX-License-Identifier: MIT */
/* Size arithmetic that cannot wrap: each returns false on overflow. */
#ifndef EASEL_BASE_SIZE_H
#define EASEL_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>

static inline bool mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static inline size_t div_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

#endif

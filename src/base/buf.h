/* SPDX-License-Identifier: MIT */
/* A byte string that grows. A zeroed struct is an empty one. */
#ifndef EASEL_BASE_BUF_H
#define EASEL_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
};

/* Append bytes; on ERR_NOMEM the buffer is unchanged. There is always a NUL
 * after the last byte once anything was appended (it does not count in len). */
NODISCARD enum err buf_append(struct buf *b, const void *bytes, size_t len, struct errmsg *em);
NODISCARD enum err buf_printf(struct buf *b, struct errmsg *em, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Make room for len more bytes without changing the content. */
NODISCARD enum err buf_reserve(struct buf *b, size_t len, struct errmsg *em);
void buf_deinit(struct buf *b);

#endif

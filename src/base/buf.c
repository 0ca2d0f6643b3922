/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

enum err buf_reserve(struct buf *b, size_t len, struct errmsg *em)
{
    size_t need;
    if (!add_size(b->len, len, &need) || !add_size(need, 1, &need))
        return err_nomem(em, len);
    if (need <= b->cap)
        return ERR_OK;
    size_t cap = max_size(need, b->cap + b->cap / 2);
    uint8_t *p = realloc(b->ptr, cap);
    if (!p)
        return err_nomem(em, cap);
    b->ptr = p;
    b->cap = cap;
    return ERR_OK;
}

enum err buf_append(struct buf *b, const void *bytes, size_t len, struct errmsg *em)
{
    enum err rc = buf_reserve(b, len, em);
    if (rc)
        return rc;
    if (len)
        memcpy(b->ptr + b->len, bytes, len);
    b->len += len;
    b->ptr[b->len] = 0;
    return ERR_OK;
}

enum err buf_printf(struct buf *b, struct errmsg *em, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return err_set(em, ERR_FORMAT, "a text could not be formatted");
    enum err rc = buf_reserve(b, (size_t)n, em);
    if (rc)
        return rc;
    va_start(ap, fmt);
    vsnprintf((char *)b->ptr + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return ERR_OK;
}

void buf_deinit(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){0};
}

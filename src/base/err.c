/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

enum err err_set(struct errmsg *em, enum err code, const char *fmt, ...)
{
    if (em) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(em->text, sizeof em->text, fmt, ap);
        va_end(ap);
    }
    return code;
}

enum err err_prefix(struct errmsg *em, enum err code, const char *fmt, ...)
{
    if (em) {
        struct errmsg old = *em;
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(em->text, sizeof em->text, fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof em->text)
            snprintf(em->text + n, sizeof em->text - (size_t)n, ": %s", old.text);
    }
    return code;
}

enum err err_nomem(struct errmsg *em, unsigned long long size_bytes)
{
    return err_set(em, ERR_NOMEM, "out of memory: %llu bytes more were needed", size_bytes);
}

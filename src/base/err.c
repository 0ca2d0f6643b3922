/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <stdio.h>

void err_write(struct errmsg *em, const char *fmt, ...)
{
    if (!em)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(em->text, sizeof em->text, fmt, ap);
    va_end(ap);
}

void err_write_prefix(struct errmsg *em, const char *fmt, ...)
{
    if (!em)
        return;
    struct errmsg old = *em;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(em->text, sizeof em->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof em->text)
        snprintf(em->text + n, sizeof em->text - (size_t)n, ": %s", old.text);
}

/* SPDX-License-Identifier: MIT */
/* Errors as values. A fallible function returns enum err and, when it fails,
 * writes one line for a human into the caller's struct errmsg: what is wrong,
 * which file or field, and what to do. There is no global error state. */
#ifndef EASEL_BASE_ERR_H
#define EASEL_BASE_ERR_H

#include <stdarg.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

enum err {
    ERR_OK = 0,
    ERR_USAGE,       /* an argument is out of range or contradictory */
    ERR_NOMEM,       /* memory */
    ERR_IO,          /* the operating system refused a file operation */
    ERR_NOTFOUND,    /* no such file, model or tensor */
    ERR_FORMAT,      /* bytes from outside are not what they claim to be */
    ERR_UNSUPPORTED, /* well formed, but not something this program can run */
    ERR_CANCELLED,   /* the caller's callback asked to stop */
    ERR_DEVICE,      /* an accelerator failed */
};

struct errmsg {
    char text[512];
};

/* Write the message and return code, so that callers write
 * `return err_set(em, ERR_FORMAT, ...)`. em may be NULL. */
enum err err_set(struct errmsg *em, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Put "prefix: " in front of the message that is there already. */
enum err err_prefix(struct errmsg *em, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The message for a failed allocation of so many bytes. */
enum err err_nomem(struct errmsg *em, unsigned long long size_bytes);

#endif

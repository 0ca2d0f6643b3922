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
    /* the service's own; the library never returns them */
    ERR_EMPTY,       /* nothing to do */
    ERR_CONFLICT,    /* the same key with another content, or a state that forbids it */
    ERR_BUSY,        /* a bound is reached, or a lock is held: later again */
    ERR_FULL,        /* the disk takes no more: later again, when there is room */
    ERR_NOCREDITS,   /* the key has too few credits left */
    ERR_DENIED,      /* a policy forbids it */
};

struct errmsg {
    char text[512];
};

/* Write the message; the value is code, so that callers write
 * `return err_set(em, ERR_FORMAT, "...", ...)`. em may be NULL. A macro, so that
 * compilers see that the value is not ERR_OK. */
#define err_set(em, code, ...) (err_write((em), __VA_ARGS__), (code))
void err_write(struct errmsg *em, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Put "prefix: " in front of the message that is there already; the value is code. */
#define err_prefix(em, code, ...) (err_write_prefix((em), __VA_ARGS__), (code))
void err_write_prefix(struct errmsg *em, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The message for a failed allocation of so many bytes. */
#define err_nomem(em, size_bytes)                                                                  \
    err_set((em), ERR_NOMEM, "out of memory: %llu bytes more were needed",                         \
            (unsigned long long)(size_bytes))

#endif

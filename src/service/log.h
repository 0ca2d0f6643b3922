/* SPDX-License-Identifier: MIT */
/* Log files: whole lines, appended by one write each, so that several processes may share
 * one. Thread-safe. A line that cannot be written is lost; nobody waits for it. */
#ifndef EASEL_SERVICE_LOG_H
#define EASEL_SERVICE_LOG_H

#include "base/err.h"

#define LOG_LINE_BYTES_MAX 4096u /* longer ones are cut */

struct log;

/* path NULL: standard error. */
NODISCARD enum err log_open(const char *path, struct log **out, struct errmsg *em);
void log_close(struct log *l);
/* Open the path anew, after a rotation; on failure the old file stays. */
NODISCARD enum err log_reopen(struct log *l, struct errmsg *em);

/* "2026-01-31T12:00:00.123Z level message"; level: "info", "warning", "error". Control
 * characters in the message become spaces: one call, one line. */
void log_write(struct log *l, const char *level, const char *message);
void log_printf(struct log *l, const char *level, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The line as it is, and a line end: for the access log. NULL is fine. */
void log_raw(struct log *l, const char *line);

#endif

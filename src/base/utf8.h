/* SPDX-License-Identifier: MIT */
/* UTF-8 from outside, which may be none: overlong forms, surrogates and what lies above U+10FFFF
 * are refused. */
#ifndef EASEL_BASE_UTF8_H
#define EASEL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* The character at bytes: how many of the len bytes are its, and the code point (which may be
 * NULL). 0: there is none. */
size_t utf8_decode(const void *bytes, size_t len, uint32_t *code_point);
/* Whether all of it is UTF-8; if not, *offset (which may be NULL) is the first byte that is not. */
bool utf8_valid(const char *text, size_t len, size_t *offset);
/* Append a code point of at most U+10FFFF. */
NODISCARD enum err utf8_append(struct buf *b, uint32_t code_point, struct errmsg *em);

#endif

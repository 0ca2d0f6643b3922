/* SPDX-License-Identifier: MIT */
/* Base64 (RFC 4648). */
#ifndef EASEL_BASE_BASE64_H
#define EASEL_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Standard alphabet with padding, appended to out. */
NODISCARD enum err base64_encode(const void *bytes, size_t len, struct buf *out, struct errmsg *em);

/* Decoding in pieces, as the text arrives: standard or URL-safe alphabet, with or without
 * padding, whitespace anywhere. A zeroed struct is a fresh decoder. */
struct base64_decoder {
    uint32_t bits;
    unsigned n_chars; /* of the group of four that is under way */
    unsigned n_padding;
};
/* out must hold at least len / 4 * 3 + 3 bytes; *out_len: written, also on failure.
 * ERR_FORMAT: another character, or text after the padding. */
NODISCARD enum err base64_decode(struct base64_decoder *d, const char *text, size_t len,
                                 uint8_t *out, size_t *out_len, struct errmsg *em);
/* After the last piece. ERR_FORMAT: cut inside of a group, padding that is incomplete, or bits
 * beyond the last byte that are not 0. */
NODISCARD enum err base64_decode_end(const struct base64_decoder *d, struct errmsg *em);

#endif

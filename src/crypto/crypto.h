/* SPDX-License-Identifier: MIT */
/* Random bytes, hashes, signatures and their spellings, by OpenSSL. */
#ifndef EASEL_CRYPTO_CRYPTO_H
#define EASEL_CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define SHA256_BYTES 32u
#define UUID_CHARS 36u

/* From the system's generator; it must not be guessable. */
NODISCARD enum err crypto_random(void *out, size_t len, struct errmsg *em);
/* Neither allocates, and neither can fail. bytes may be NULL when len is 0. */
void crypto_sha256(const void *bytes, size_t len, uint8_t out[SHA256_BYTES]);
void crypto_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len,
                        uint8_t out[SHA256_BYTES]);
/* In time that does not depend on where they differ. */
bool crypto_equal(const void *a, const void *b, size_t len);

/* Lower-case; out holds 2 * len + 1 characters. */
void hex_encode(const void *bytes, size_t len, char *out);
/* Exactly len bytes from 2 * len lower-case digits and a NUL, so that each value has one
 * spelling. false: text is something else; out is undefined. */
bool hex_decode(const char *text, uint8_t *out, size_t len);

/* A random UUID (version 4), lower-case, and whether a text is any UUID in that spelling. */
NODISCARD enum err uuid_new(char out[UUID_CHARS + 1], struct errmsg *em);
bool uuid_valid(const char *text);

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

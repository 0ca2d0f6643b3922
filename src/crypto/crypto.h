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

#endif

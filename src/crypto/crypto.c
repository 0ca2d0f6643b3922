/* SPDX-License-Identifier: MIT */
/* SHA-256 by OpenSSL's low-level functions, HMAC from it (RFC 2104). The newer EVP functions
 * allocate and look up providers, and so may fail: a hash that can fail would have to be
 * checked at every use, and one that was not checked compares equal to another. */
#define OPENSSL_API_COMPAT 0x10100000L

#include "crypto/crypto.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#define HMAC_BLOCK_BYTES 64u
#define RANDOM_CHUNK_BYTES ((size_t)1 << 20)

enum err crypto_random(void *out, size_t len, struct errmsg *em)
{
    uint8_t *p = out;
    while (len) {
        size_t n = len < RANDOM_CHUNK_BYTES ? len : RANDOM_CHUNK_BYTES;
        if (RAND_bytes(p, (int)n) != 1) {
            unsigned long code = ERR_get_error();
            return err_set(em, ERR_IO, "the system gives no random numbers: %s",
                           code ? ERR_reason_error_string(code) : "no reason given");
        }
        p += n;
        len -= n;
    }
    return ERR_OK;
}

void crypto_sha256(const void *bytes, size_t len, uint8_t out[SHA256_BYTES])
{
    SHA256_CTX c;
    SHA256_Init(&c);
    SHA256_Update(&c, bytes, len);
    SHA256_Final(out, &c);
    OPENSSL_cleanse(&c, sizeof c);
}

/* SHA-256 of the key, each byte xor pad, and then the bytes. */
static void hash_padded(const uint8_t key[HMAC_BLOCK_BYTES], uint8_t pad, const void *bytes,
                        size_t len, uint8_t out[SHA256_BYTES])
{
    uint8_t block[HMAC_BLOCK_BYTES];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = key[i] ^ pad;
    SHA256_CTX c;
    SHA256_Init(&c);
    SHA256_Update(&c, block, sizeof block);
    SHA256_Update(&c, bytes, len);
    SHA256_Final(out, &c);
    OPENSSL_cleanse(&c, sizeof c);
    OPENSSL_cleanse(block, sizeof block);
}

void crypto_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len,
                        uint8_t out[SHA256_BYTES])
{
    uint8_t block[HMAC_BLOCK_BYTES] = {0}, inner[SHA256_BYTES];
    if (key_len > sizeof block)
        crypto_sha256(key, key_len, block);
    else if (key_len)
        memcpy(block, key, key_len);
    hash_padded(block, 0x36, bytes, len, inner);
    hash_padded(block, 0x5c, inner, sizeof inner, out);
    OPENSSL_cleanse(block, sizeof block);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

/* SPDX-License-Identifier: MIT */
/* Signatures of Standard Webhooks, symmetric (v1): HMAC-SHA256 of "{id}.{timestamp}.{body}"; and
 * those of Black Forest Labs. */
#include <inttypes.h>
#include <string.h>

#include "base/base64.h"
#include "crypto/crypto.h"
#include "webhooks/webhooks_impl.h"

#define SECRET_PREFIX "whsec_"
#define SECRET_TEXT_MAX 256u
#define SECRET_RAW_MIN 16u
#define SECRET_DECODED_MIN 24u
#define SECRET_DECODED_MAX 64u

struct key {
    bool decoded; /* was base64 */
    size_t len;
    uint8_t bytes[SECRET_TEXT_MAX];
};

static enum err secret_decode(const char *text, struct key *key, struct errmsg *em)
{
    struct base64_decoder decoder = {0};
    key->decoded = true;
    enum err rc = base64_decode(&decoder, text, strlen(text), key->bytes, &key->len, em);
    if (!rc)
        rc = base64_decode_end(&decoder, em);
    if (rc)
        return err_set(em, ERR_USAGE, "a webhook secret that starts with %s must go on in base64",
                       SECRET_PREFIX);
    return ERR_OK;
}

/* The caller wipes the key, also on failure. */
static enum err secret_key(const char *secret, struct key *key, struct errmsg *em)
{
    size_t len = strlen(secret);
    *key = (struct key){0};
    if (len == 0 || len > SECRET_TEXT_MAX)
        return err_set(em, ERR_USAGE, "a webhook secret has from 1 to %u characters, not %zu",
                       SECRET_TEXT_MAX, len);
    if (strncmp(secret, SECRET_PREFIX, strlen(SECRET_PREFIX)) == 0)
        return secret_decode(secret + strlen(SECRET_PREFIX), key, em);
    memcpy(key->bytes, secret, len);
    key->len = len;
    return ERR_OK;
}

static enum err key_check_length(const struct key *key, struct errmsg *em)
{
    if (key->decoded && (key->len < SECRET_DECODED_MIN || key->len > SECRET_DECODED_MAX))
        return err_set(em, ERR_USAGE,
                       "the webhook secret decodes to %zu bytes; Standard Webhooks asks for %u to "
                       "%u",
                       key->len, SECRET_DECODED_MIN, SECRET_DECODED_MAX);
    if (key->len < SECRET_RAW_MIN)
        return err_set(em, ERR_USAGE, "the webhook secret has %zu characters; at least %u are safe",
                       key->len, SECRET_RAW_MIN);
    return ERR_OK;
}

enum err webhook_secret_check(const char *secret, struct errmsg *em)
{
    struct key key;
    enum err rc = secret_key(secret, &key, em);
    if (!rc)
        rc = key_check_length(&key, em);
    explicit_bzero(&key, sizeof key);
    return rc;
}

enum err webhook_sign(const char *secret, const char *id, int64_t timestamp_s, const void *body,
                      size_t len, struct buf *out, struct errmsg *em)
{
    struct key key;
    struct buf content = {0};
    uint8_t mac[SHA256_BYTES];
    enum err rc = secret_key(secret, &key, em);
    if (!rc)
        rc = buf_printf(&content, em, "%s.%" PRId64 ".", id, timestamp_s);
    if (!rc)
        rc = buf_append(&content, body, len, em);
    if (rc)
        goto out;
    crypto_hmac_sha256(key.bytes, key.len, content.ptr, content.len, mac);
    rc = buf_append(out, "v1,", 3, em);
    if (!rc)
        rc = base64_encode(mac, sizeof mac, out, em);
out:
    explicit_bzero(&key, sizeof key);
    buf_deinit(&content);
    return rc;
}

enum err webhook_sign_bfl(const char *secret, const void *body, size_t len, struct buf *out,
                          struct errmsg *em)
{
    uint8_t mac[SHA256_BYTES];
    char text[2 * SHA256_BYTES + 1];
    crypto_hmac_sha256(secret, strlen(secret), body, len, mac);
    hex_encode(mac, sizeof mac, text);
    return buf_printf(out, em, "sha256=%s", text);
}

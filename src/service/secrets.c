/* SPDX-License-Identifier: MIT */
#include "service/secrets.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "crypto/crypto.h"
#include "service/service.h"

#define SECRET_BYTES 32u

/* The setting, made of a prefix and random base64 on the first run. */
static enum err setting_or_random(struct store *st, const char *name, const char *prefix,
                                  char **value, struct errmsg *em)
{
    uint8_t random[SECRET_BYTES];
    struct buf text = {0};
    enum err rc = store_setting_get(st, name, value, em);
    if (rc != ERR_NOTFOUND)
        return rc;
    rc = crypto_random(random, sizeof random, em);
    if (!rc)
        rc = buf_append(&text, prefix, strlen(prefix), em);
    if (!rc)
        rc = base64_encode(random, sizeof random, &text, em);
    if (!rc)
        rc = store_setting_init(st, name, (const char *)text.ptr, value, em);
    buf_deinit(&text);
    return rc;
}

enum err service_webhook_secret(struct store *st, char **secret, struct errmsg *em)
{
    return setting_or_random(st, "webhook_secret", "whsec_", secret, em);
}

enum err secrets_signing(struct store *st, char **secret, struct errmsg *em)
{
    return setting_or_random(st, "signing_secret", "", secret, em);
}

static void count_key(void *ctx, const struct api_key *k)
{
    (void)k;
    ++*(size_t *)ctx;
}

enum err secrets_first_key(struct store *st, char **key, struct errmsg *em)
{
    struct api_key made = {0};
    size_t n = 0;
    enum err rc = store_key_list(st, count_key, &n, em);
    if (rc || n)
        return rc;
    rc = store_key_create(st, FIRST_KEY_NAME, KEY_RATE_DEFAULT, -1, key, &made, em);
    if (!rc)
        api_key_deinit(&made);
    return rc;
}

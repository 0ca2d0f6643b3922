/* SPDX-License-Identifier: MIT */
/* Any text as a webhook's URL: what is let through must be what it seems. */
#include <stdlib.h>
#include <string.h>

#include "webhooks/webhooks_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A message for every refusal, and nothing written for the caller to free. */
static bool parse(const char *text, struct webhook_url *u)
{
    struct errmsg em = {{0}};
    enum err rc = webhook_url_parse(text, u, &em);
    if (rc && (rc != ERR_USAGE || !em.text[0] || u->url))
        abort();
    return rc == ERR_OK;
}

/* What curl gets must read the same once more, and must not hold what logs may not. */
static void check_accepted(const struct webhook_url *u)
{
    struct webhook_url again = {0};
    if (!u->host[0] || !u->port || strpbrk(u->url, "\\#\r\n\t "))
        abort();
    if (strpbrk(u->host, "@%/?#\\") || strpbrk(u->receiver, "@%?#\\"))
        abort();
    if (!parse(u->url, &again) || strcmp(again.url, u->url) != 0 ||
        strcmp(again.receiver, u->receiver) != 0 || again.is_address != u->is_address)
        abort();
    webhook_url_deinit(&again);
}

static void check_policy(const struct webhook_url *u)
{
    bool strict = webhook_url_policy(u, false, NULL) == ERR_OK;
    bool lenient = webhook_url_policy(u, true, NULL) == ERR_OK;
    if (strict && !lenient)
        abort();
    if (u->is_address &&
        strict != (address_kind_of((const struct sockaddr *)&u->address) == ADDRESS_PUBLIC))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct webhook_url u = {0};
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    if (parse(text, &u)) {
        check_accepted(&u);
        check_policy(&u);
    }
    webhook_url_deinit(&u);
    free(text);
    return 0;
}

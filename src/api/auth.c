/* SPDX-License-Identifier: MIT */
/* From a header to a key. */
#include <string.h>
#include <strings.h>

#include "api/core_impl.h"

static const char *bearer(const char *value)
{
    static const char scheme[] = "Bearer";
    size_t len = sizeof scheme - 1;
    if (strncasecmp(value, scheme, len) != 0 || value[len] != ' ')
        return NULL;
    return value + len + strspn(value + len, " ");
}

const char *auth_key_text(const struct dialect *d, struct http_request *r)
{
    for (const char *const *name = d->key_headers; *name; name++) {
        const char *value = http_header(r, *name);
        if (value && strcmp(*name, "authorization") == 0)
            value = bearer(value);
        if (value && *value)
            return value;
    }
    return NULL;
}

bool auth_check(struct request *q)
{
    const char *text = auth_key_text(q->dialect, q->http);
    if (!text) {
        reply_failure(q, FAIL_NO_KEY, NULL);
        return false;
    }
    struct errmsg em;
    enum err rc = ERR_NOTFOUND;
    if (strnlen(text, AUTH_KEY_BYTES_MAX + 1) <= AUTH_KEY_BYTES_MAX)
        rc = store_key_find(q->api->o.store, text, &q->key, &em);
    q->has_key = rc == ERR_OK;
    if (rc == ERR_NOTFOUND)
        reply_failure(q, FAIL_BAD_KEY, NULL);
    else if (rc)
        reply_err(q, rc, &em);
    return q->has_key;
}

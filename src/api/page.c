/* SPDX-License-Identifier: MIT */
/* The playground: files that are compiled in, which a browser asks about once and then again
 * only whether they have changed. */
#include <string.h>

#include "api/core_impl.h"

static const struct asset *asset_at(const char *path)
{
    if (strcmp(path, "/") == 0)
        path = "/playground/index.html";
    if (strcmp(path, "/favicon.ico") == 0)
        path = "/playground/icon.svg";
    for (size_t i = 0; i < n_assets; i++)
        if (strcmp(assets[i].path, path) == 0)
            return &assets[i];
    return NULL;
}

void page_handle(struct request *q)
{
    const struct asset *asset = asset_at(http_path(q->http));
    const char *known = http_header(q->http, "If-None-Match");
    if (!asset) {
        reply_failure(q, FAIL_NO_ROUTE, NULL);
        return;
    }
    http_add_header(q->http, "ETag", asset->etag);
    http_add_header(q->http, "Cache-Control", "no-cache");
    if (known && strstr(known, asset->etag))
        http_reply(q->http, 304, asset->media_type, NULL, 0);
    else
        http_reply_static(q->http, 200, asset->media_type, asset->bytes, asset->len);
}

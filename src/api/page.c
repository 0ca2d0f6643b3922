/* SPDX-License-Identifier: MIT */
/* The playground: files that are compiled in. A browser asks whether the page itself has changed,
 * and keeps the rest, whose paths change with what is in them: "/playground/VERSION/NAME". */
#include <string.h>

#include "api/core_impl.h"

static const struct asset *asset_at(const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    if (strcmp(path, "/") == 0)
        name = "index.html";
    if (strcmp(path, "/favicon.ico") == 0)
        name = "icon.svg";
    for (size_t i = 0; i < n_assets; i++)
        if (strcmp(assets[i].name, name) == 0)
            return &assets[i];
    return NULL;
}

void page_handle(struct request *q)
{
    const struct asset *asset = asset_at(http_path(q->http));
    const char *known = http_header(q->http, "If-None-Match");
    /* a page from before an update gets what there is now, but must not keep it */
    bool stays = strcmp(q->args[0], assets_version) == 0;
    if (!asset) {
        reply_failure(q, FAIL_NO_ROUTE, NULL);
        return;
    }
    http_add_header(q->http, "ETag", asset->etag);
    http_add_header(q->http, "Cache-Control",
                    stays ? "public, max-age=31536000, immutable" : "no-cache");
    if (known && strstr(known, asset->etag))
        http_reply(q->http, 304, asset->media_type, NULL, 0);
    else
        http_reply_static(q->http, 200, asset->media_type, asset->bytes, asset->len);
}

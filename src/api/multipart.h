/* SPDX-License-Identifier: MIT */
/* multipart/form-data (RFC 7578, RFC 2046) over a body that is there as a whole, in memory or
 * mapped from a file. Nothing is copied but the names: a part's content points into the body.
 *
 * Strict where two readers could see two different forms: lines end in CRLF, a header field or
 * parameter that matters comes once, a folded header is refused, the last delimiter must be
 * there. A line that only begins like the delimiter is content. What stands before the first
 * delimiter and after the last is passed over. */
#ifndef EASEL_API_MULTIPART_H
#define EASEL_API_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define MULTIPART_BOUNDARY_MAX 70u
#define MULTIPART_PARTS_MAX 64u
#define MULTIPART_HEADERS_MAX 16u
#define MULTIPART_HEADER_BYTES_MAX 4096u /* of all header lines of a part */
#define MULTIPART_NAME_MAX 64u
#define MULTIPART_FILENAME_MAX 255u
#define MULTIPART_MEDIA_TYPE_MAX 127u

struct multipart {
    const char *body;
    size_t len, at;
    char delimiter[4 + MULTIPART_BOUNDARY_MAX + 1]; /* CRLF, "--", the boundary */
    size_t delimiter_len;
    unsigned n_parts;
    bool ended;
};

/* Texts end in NUL and hold none. */
struct multipart_part {
    char name[MULTIPART_NAME_MAX + 1];
    char filename[MULTIPART_FILENAME_MAX + 1];     /* as sent; filename* wins; never a path */
    bool has_filename;                             /* a file, even if it has an empty name */
    char media_type[MULTIPART_MEDIA_TYPE_MAX + 1]; /* without parameters; "" if not said */
    const char *ptr;                               /* in the body; no NUL after it */
    size_t len;
};

/* content_type: the request's header, or NULL. ERR_UNSUPPORTED: another type; ERR_FORMAT: its
 * boundary is missing or malformed. The body must outlive m. */
NODISCARD enum err multipart_init(struct multipart *m, const char *content_type, const char *body,
                                  size_t len, struct errmsg *em);
/* The next part; ERR_EMPTY after the last. ERR_FORMAT: malformed, or over one of the bounds
 * above; ERR_UNSUPPORTED: a Content-Transfer-Encoding. After an error: the same again. */
NODISCARD enum err multipart_next(struct multipart *m, struct multipart_part *out,
                                  struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* A Content-Type (the first line) and a body. Parts must lie in the body, one after another,
 * and hold no delimiter; the end and errors must stay what they are. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_part(const struct multipart *m, const struct multipart_part *p,
                       const char **behind)
{
    if (p->ptr < *behind || p->len > (size_t)(m->body + m->len - p->ptr))
        abort();
    *behind = p->ptr + p->len;
    if (strlen(p->name) > MULTIPART_NAME_MAX || strlen(p->filename) > MULTIPART_FILENAME_MAX ||
        strlen(p->media_type) > MULTIPART_MEDIA_TYPE_MAX)
        abort();
    const char *hit = memmem(p->ptr, p->len, m->delimiter, m->delimiter_len);
    size_t left = hit ? p->len - (size_t)(hit - p->ptr) - m->delimiter_len : 0;
    if (left >= 2 && memcmp(hit + m->delimiter_len, "\r\n", 2) == 0)
        abort();
}

static void read_parts(struct multipart *m)
{
    struct errmsg em;
    struct multipart_part part;
    const char *behind = m->body;
    unsigned n = 0;
    enum err rc;
    while ((rc = multipart_next(m, &part, &em)) == ERR_OK) {
        if (++n > MULTIPART_PARTS_MAX)
            abort();
        check_part(m, &part, &behind);
    }
    if (multipart_next(m, &part, &em) != rc)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errmsg em;
    struct multipart m;
    const uint8_t *line_end = size ? memchr(data, '\n', size) : NULL;
    if (!line_end)
        return 0;
    size_t type_len = (size_t)(line_end - data), body_len = size - type_len - 1;
    /* a copy of exactly this length, so that a read past its end is seen */
    char *type = calloc(1, type_len + 1), *body = malloc(body_len ? body_len : 1);
    if (type && body) {
        memcpy(type, data, type_len);
        memcpy(body, line_end + 1, body_len);
        if (!multipart_init(&m, type, body, body_len, &em))
            read_parts(&m);
    }
    free(type);
    free(body);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* Files as answers: conditions first, then ranges (RFC 9110, 13.2.2). */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "http/http_impl.h"

static bool not_modified(const struct http_request *r, const char *etag, int64_t modified_s)
{
    const char *tags = http_header(r, "if-none-match");
    const char *since = http_header(r, "if-modified-since");
    int64_t since_s;
    if (tags) /* it alone decides then */
        return http_etag_in_list(tags, etag);
    return since && http_date_read(since, &since_s) && modified_s <= since_s;
}

static enum http_range_kind range_wanted(const struct http_request *r, uint64_t size_bytes,
                                         const char *etag, int64_t modified_s,
                                         struct http_range *out)
{
    const char *range = http_header(r, "range"), *condition = http_header(r, "if-range");
    if (!range || strcmp(r->method, "GET") != 0 ||
        (condition && !http_if_range_holds(condition, etag, modified_s)))
        return RANGE_WHOLE;
    return http_range_read(range, size_bytes, out);
}

static void add_content_range(struct http_request *r, const struct http_range *part,
                              uint64_t size_bytes)
{
    char text[80];
    if (part)
        snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, part->first,
                 part->first + part->len - 1, size_bytes);
    else
        snprintf(text, sizeof text, "bytes */%" PRIu64, size_bytes);
    http_add_header(r, "Content-Range", text);
}

static void answer_file(struct http_request *r, int status, const char *media_type, int fd,
                        const struct http_range *part)
{
    http_reply_static(r, status, media_type, NULL, 0);
    if (part->len == 0) { /* nothing to send, which is no file to libmicrohttpd */
        close(fd);
        return;
    }
    r->answer.kind = ANSWER_FILE;
    r->answer.fd = fd;
    r->answer.offset = part->first;
    r->answer.size_bytes = part->len;
}

void http_reply_file(struct http_request *r, const char *media_type, int fd, uint64_t size_bytes,
                     const char *etag, int64_t modified_s)
{
    char date[HTTP_DATE_BYTES];
    struct http_range part = {0, size_bytes};
    assert(r->answer.kind == ANSWER_NONE);
    http_date_write(modified_s, date);
    if (etag)
        http_add_header(r, "ETag", etag);
    http_add_header(r, "Last-Modified", date);
    http_add_header(r, "Accept-Ranges", "bytes");
    if (not_modified(r, etag, modified_s)) {
        answer_file(r, 304, NULL, fd, &part); /* for its length: none of it is sent */
        return;
    }
    switch (range_wanted(r, size_bytes, etag, modified_s, &part)) {
    case RANGE_WHOLE:
        answer_file(r, 200, media_type, fd, &part);
        break;
    case RANGE_PART:
        add_content_range(r, &part, size_bytes);
        answer_file(r, 206, media_type, fd, &part);
        break;
    case RANGE_NONE:
        close(fd);
        add_content_range(r, NULL, size_bytes);
        http_refuse(r, 416, "The file ends before the range that is asked for.");
        break;
    }
}

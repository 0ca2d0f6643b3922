/* SPDX-License-Identifier: MIT */
/* Answers without a length, sent as the application makes them. libmicrohttpd asks for bytes;
 * when there are none the application is called for more, or the connection is suspended. */
#include <assert.h>
#include <string.h>

#include "base/size.h"
#include "http/http_impl.h"

void http_stream_begin(struct http_request *r, int status, const char *media_type)
{
    http_reply_static(r, status, media_type, NULL, 0);
    r->answer.kind = ANSWER_STREAM;
}

bool http_is_streaming(const struct http_request *r)
{
    return r->answer.kind == ANSWER_STREAM;
}

enum err http_stream_send(struct http_request *r, const void *bytes, size_t len, struct errmsg *em)
{
    assert(http_is_streaming(r) && !r->stream_ended);
    if (len > HTTP_STREAM_BYTES_MAX - r->out.len)
        return err_set(em, ERR_BUSY, "more than %u bytes of a stream wait to be sent",
                       HTTP_STREAM_BYTES_MAX);
    return buf_append(&r->out, bytes, len, em);
}

void http_stream_end(struct http_request *r)
{
    r->stream_ended = true;
}

static size_t take(struct http_request *r, char *buf, size_t max)
{
    size_t n = min_size(r->out.len - r->out_sent, max);
    if (n)
        memcpy(buf, r->out.ptr + r->out_sent, n);
    r->out_sent += n;
    if (r->out_sent == r->out.len)
        r->out.len = r->out_sent = 0;
    r->stream_bytes += n;
    return n;
}

ssize_t http_stream_read(void *cls, uint64_t at, char *buf, size_t max)
{
    struct http_request *r = cls;
    (void)at;
    if (!http_unpark(r))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    for (;;) {
        size_t n = take(r, buf, max);
        if (n)
            return (ssize_t)n;
        if (r->stream_ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (r->parked) {
            r->parked = false;
            return http_suspend(r) ? 0 : MHD_CONTENT_READER_END_WITH_ERROR;
        }
        r->server->handler.on_request(r->server->app, r);
        if (!r->out.len && !r->parked)
            r->stream_ended = true;
    }
}

/* SPDX-License-Identifier: MIT */
/* The head of a request: checked more strictly than libmicrohttpd does, so that no two servers
 * in a row can read it in two ways (request smuggling), and taken apart.
 *
 * libmicrohttpd 0.9 takes a line that begins with NUL for the end of the head, cuts lines at a
 * NUL, joins folded lines, and ends lines at a bare LF. It leaves what it read in place, though,
 * with NULs where lines ended; so each part must begin exactly where the one before it ended,
 * two bytes (CR LF) or one (a space) later. That holds of its versions before 1.0; later ones
 * check for themselves. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/http_impl.h"

#define METHOD_BYTES_MAX 32u

/* The next part must begin here; NULL: that is not checked. */
struct head_walk {
    struct http_request *r;
    const char *next;
    size_t n, n_hosts, n_lengths, n_encodings;
    int status;
    const char *why;
};

static bool parts_lie_in_place(void)
{
    static const char old[] = "0.";
    return strncmp(MHD_get_version(), old, sizeof old - 1) == 0;
}

static enum MHD_Result refuse(struct head_walk *w, int status, const char *why)
{
    w->status = status;
    w->why = why;
    return MHD_NO;
}

/* The value without white space behind it: libmicrohttpd has taken what was before it. */
static const char *trimmed(struct http_request *r, const char *value, size_t len)
{
    size_t n = len;
    while (n && (value[n - 1] == ' ' || value[n - 1] == '\t'))
        n--;
    return n == len ? value : http_arena_copy(&r->arena, value, n);
}

/* -1: not a number of at most 18 digits. */
static int64_t length_of(const char *text)
{
    int64_t v = 0;
    size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 18 || text[n])
        return -1;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (text[i] - '0');
    return v;
}

/* What decides where the body ends, and who is meant. */
static enum MHD_Result note_framing(struct head_walk *w, const char *name, const char *value)
{
    struct http_request *r = w->r;
    if (strcasecmp(name, "content-length") == 0) {
        r->content_length = length_of(value);
        if (w->n_lengths++ || r->content_length < 0)
            return refuse(w, 400, "Content-Length must be one number.");
    } else if (strcasecmp(name, "transfer-encoding") == 0) {
        r->chunked = true;
        if (w->n_encodings++ || strcasecmp(value, "chunked") != 0)
            return refuse(w, 501, "The only Transfer-Encoding known here is chunked.");
    } else if (strcasecmp(name, "host") == 0) {
        w->n_hosts++;
    } else if (strcasecmp(name, "expect") == 0) {
        r->expects_continue = true;
        if (strcasecmp(value, "100-continue") != 0)
            return refuse(w, 417, "The only Expect known here is 100-continue.");
    }
    return MHD_YES;
}

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                size_t name_len, const char *value, size_t value_len)
{
    struct head_walk *w = cls;
    (void)kind;
    if (!value) { /* libmicrohttpd gives none for an empty one */
        value = "";
        value_len = 0;
    }
    if (w->next && name != w->next)
        return refuse(w, 400, "A header line holds a NUL, is folded, or does not end in CR LF.");
    if (strlen(name) != name_len || !http_is_token(name) || strlen(value) != value_len ||
        !http_is_value(value))
        return refuse(w, 400, "A header line is malformed.");
    if (w->next)
        w->next = value + value_len + 2;
    value = trimmed(w->r, value, value_len);
    if (!value)
        return refuse(w, 503, "There is no memory for the request now. Try later.");
    w->r->headers[w->n++] = (struct http_field){name, value};
    return note_framing(w, name, value);
}

static void read_fields(struct head_walk *w, struct MHD_Connection *mhd)
{
    struct http_request *r = w->r;
    int n = MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, NULL, NULL);
    if (n > (int)HTTP_HEADERS_MAX) {
        (void)refuse(w, 431, "The request has too many header lines.");
        return;
    }
    r->headers = http_arena_alloc(&r->arena, (size_t)(n + 1) * sizeof *r->headers);
    if (!r->headers) {
        (void)refuse(w, 503, "There is no memory for the request now. Try later.");
        return;
    }
    (void)MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_field, w);
    r->n_headers = w->n;
}

/* "http://host/path" (which a proxy sends) to "/path". */
static const char *without_authority(const char *target)
{
    if (strncasecmp(target, "http://", 7) != 0)
        return target;
    const char *path = target + 7 + strcspn(target + 7, "/?");
    return *path == '/' ? path : "/";
}

static bool target_is_plain(const char *target)
{
    for (; *target; target++)
        if ((unsigned char)*target <= ' ' || *target == 0x7f || *target == '#')
            return false;
    return true;
}

static void read_query(struct head_walk *w, const char *query)
{
    struct http_request *r = w->r;
    size_t len = strlen(query), max = http_query_bound(query, len);
    if (max > HTTP_QUERY_MAX) {
        (void)refuse(w, 400, "The query has too many parameters.");
        return;
    }
    char *room = http_arena_alloc(&r->arena, len + 1);
    r->query = http_arena_alloc(&r->arena, (max + 1) * sizeof *r->query);
    if (!room || !r->query)
        (void)refuse(w, 503, "There is no memory for the request now. Try later.");
    else if (!http_query_split(query, len, r->query, max, room, &r->n_query))
        (void)refuse(w, 400, "The query holds a malformed escape (%) or a NUL.");
}

static void read_target(struct head_walk *w)
{
    struct http_request *r = w->r;
    size_t len = strlen(r->target), decoded_len;
    if (len > HTTP_TARGET_BYTES_MAX) {
        (void)refuse(w, 414, "The address is too long.");
        return;
    }
    const char *path = without_authority(r->target);
    size_t path_len = strcspn(path, "?");
    char *decoded = http_arena_alloc(&r->arena, path_len + 1);
    if (!decoded)
        (void)refuse(w, 503, "There is no memory for the request now. Try later.");
    else if (path[0] != '/' || !target_is_plain(path))
        (void)refuse(w, 400, "The address must be a path that begins with a slash.");
    else if (!http_percent_decode(path, path_len, false, decoded, &decoded_len))
        (void)refuse(w, 400, "The path holds a malformed escape (%) or a NUL.");
    else
        r->path = decoded;
    if (!w->status && path[path_len])
        read_query(w, path + path_len + 1);
}

static bool id_is_good(const char *id)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";
    size_t n = id ? strlen(id) : 0;
    return n > 0 && n <= HTTP_REQUEST_ID_MAX && strspn(id, allowed) == n;
}

/* The finaliser of SplitMix64: different for each counter, and no pattern to be seen. */
static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

/* The client's, or a random one. */
static const char *request_id(struct http_request *r)
{
    static const char digits[] = "0123456789abcdef";
    struct http_server *s = r->server;
    const char *given = http_header(r, "x-request-id");
    if (id_is_good(given))
        return given;
    char *id = http_arena_alloc(&r->arena, 33);
    if (!id)
        return "";
    uint64_t count = atomic_fetch_add(&s->id_counter, 1);
    for (unsigned half = 0; half < 2; half++) {
        uint64_t v = mix(s->id_seed[half] + (count + 1) * 0x9e3779b97f4a7c15u);
        for (unsigned i = 0; i < 16; i++)
            id[16 * half + i] = digits[v >> (60 - 4 * i) & 15];
    }
    id[32] = 0;
    return id;
}

/* "METHOD target HTTP/1.1", one space between: the parts lie one byte behind each other. */
static void read_line(struct head_walk *w, const char *method, const char *version)
{
    struct http_request *r = w->r;
    r->http10 = strcmp(version, "HTTP/1.0") == 0;
    r->is_head = strcmp(method, "HEAD") == 0;
    r->method = http_arena_copy(&r->arena, method, strlen(method));
    if (!r->method)
        (void)refuse(w, 503, "There is no memory for the request now. Try later.");
    else if (parts_lie_in_place() &&
             (r->target_start != method + strlen(method) + 1 || version != r->target_end + 1))
        (void)refuse(w, 400, "The request line is malformed.");
    else if (!http_is_token(method))
        (void)refuse(w, 400, "The method is malformed.");
    else if (strlen(method) > METHOD_BYTES_MAX || strcmp(method, "CONNECT") == 0)
        (void)refuse(w, 501, "The method is not known here.");
}

static size_t head_size(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return info ? info->header_size : 0;
}

static void check_framing(struct head_walk *w, const char *head_end)
{
    struct http_request *r = w->r;
    if (w->next && w->next + 2 != head_end)
        (void)refuse(w, 400, "A header line holds a NUL, is folded, or does not end in CR LF.");
    else if (w->n_lengths && w->n_encodings)
        (void)refuse(w, 400, "Content-Length and Transfer-Encoding exclude each other.");
    else if (r->chunked && r->http10)
        (void)refuse(w, 400, "HTTP/1.0 has no Transfer-Encoding.");
    else if (w->n_hosts > 1 || (!w->n_hosts && !r->http10))
        (void)refuse(w, 400, "The request needs exactly one Host header.");
}

int http_head_read(struct http_request *r, struct MHD_Connection *mhd, const char *method,
                   const char *version, const char **why)
{
    struct head_walk w = {.r = r};
    size_t size = head_size(mhd);
    if (parts_lie_in_place())
        w.next = version + strlen(version) + 2;
    read_line(&w, method, version);
    if (size > r->server->header_bytes_max)
        (void)refuse(&w, 431, "The head of the request is too large.");
    if (!w.status)
        read_fields(&w, mhd);
    r->id = request_id(r); /* refusals carry it too */
    if (!w.status)
        check_framing(&w, method + size);
    if (!w.status)
        read_target(&w);
    /* chunks are read leniently too (bare LF): nothing may follow them on this connection */
    r->must_close = r->chunked;
    *why = w.why;
    return w.status;
}

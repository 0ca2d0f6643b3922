/* SPDX-License-Identifier: MIT */
/* multipart/form-data in one pass: find the delimiter, read the header lines, find the next
 * delimiter. Every position is an index into the body; no text is assumed to end in NUL. */
#include "api/multipart.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* A text with its end: part of the body, or of a header. */
struct span {
    const char *ptr;
    size_t len;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 9110: the characters of a token. */
static bool is_token_char(char c)
{
    return c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?={}", c);
}

static void skip_blanks(struct span *s)
{
    while (s->len > 0 && is_blank(s->ptr[0])) {
        s->ptr++;
        s->len--;
    }
}

static struct span take(struct span *s, size_t len)
{
    struct span out = {s->ptr, len};
    s->ptr += len;
    s->len -= len;
    return out;
}

static struct span take_token(struct span *s)
{
    size_t n = 0;
    while (n < s->len && is_token_char(s->ptr[n]))
        n++;
    return take(s, n);
}

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.ptr, text, s.len) == 0;
}

static bool span_copy(struct span s, char *out, size_t out_max)
{
    if (s.len > out_max)
        return false;
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return true;
}

/* After the opening quote. Only \" and \\ are escapes: clients send Windows paths unescaped. */
static bool take_quoted(struct span *s, char *out, size_t out_max)
{
    size_t n = 0;
    while (s->len > 0) {
        char c = take(s, 1).ptr[0];
        if (c == '"') {
            out[n] = '\0';
            return true;
        }
        if (c == '\\' && s->len > 0 && (s->ptr[0] == '"' || s->ptr[0] == '\\'))
            c = take(s, 1).ptr[0];
        if (n == out_max)
            return false;
        out[n++] = c;
    }
    return false;
}

/* The next "; name=value" of a header: 1; none left: 0; malformed or too long: -1. */
static int take_parameter(struct span *s, struct span *name, char *value, size_t value_max)
{
    skip_blanks(s);
    if (s->len == 0)
        return 0;
    if (take(s, 1).ptr[0] != ';')
        return -1;
    skip_blanks(s);
    if (s->len == 0)
        return 0; /* a semicolon at the end */
    *name = take_token(s);
    if (name->len == 0 || s->len == 0 || take(s, 1).ptr[0] != '=')
        return -1;
    if (s->len > 0 && s->ptr[0] == '"') {
        take(s, 1);
        return take_quoted(s, value, value_max) ? 1 : -1;
    }
    struct span token = take_token(s);
    return token.len > 0 && span_copy(token, value, value_max) ? 1 : -1;
}

/* ---- the request's Content-Type ---- */

static bool boundary_valid(const char *boundary)
{
    size_t len = strlen(boundary);
    if (len == 0 || len > MULTIPART_BOUNDARY_MAX || boundary[len - 1] == ' ')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)boundary[i]) && !strchr("'()+_,-./:=? ", boundary[i]))
            return false;
    return true;
}

static enum err read_boundary(struct span parameters, char *boundary, struct errmsg *em)
{
    char value[256];
    struct span name;
    bool found = false;
    int more;
    while ((more = take_parameter(&parameters, &name, value, sizeof value - 1)) > 0) {
        if (!span_is(name, "boundary"))
            continue;
        if (found || !boundary_valid(value))
            return err_set(em, ERR_FORMAT,
                           "the boundary in Content-Type must come once and be 1 to %u characters",
                           MULTIPART_BOUNDARY_MAX);
        memcpy(boundary, value, strlen(value) + 1);
        found = true;
    }
    if (more < 0 || !found)
        return err_set(em, ERR_FORMAT,
                       "Content-Type: multipart/form-data needs a boundary; let "
                       "your HTTP client set this header");
    return ERR_OK;
}

enum err multipart_init(struct multipart *m, const char *content_type, const char *body, size_t len,
                        struct errmsg *em)
{
    static const char type[] = "multipart/form-data";
    if (!content_type || strncasecmp(content_type, type, sizeof type - 1) != 0)
        return err_set(em, ERR_UNSUPPORTED, "Content-Type must be multipart/form-data");
    const char *rest = content_type + sizeof type - 1;
    *m = (struct multipart){.body = body, .len = len};
    memcpy(m->delimiter, "\r\n--", 4);
    enum err rc = read_boundary((struct span){rest, strlen(rest)}, m->delimiter + 4, em);
    m->delimiter_len = strlen(m->delimiter);
    return rc;
}

/* ---- delimiters ---- */

/* What follows a boundary: the length of the rest of its line; *last: it closes the form.
 * 0: the line goes on, so it is no delimiter. The body's end stands for the line's. */
static size_t delimiter_tail(const char *p, size_t len, bool *last)
{
    size_t n = 0;
    *last = len >= 2 && p[0] == '-' && p[1] == '-';
    if (*last)
        n = 2;
    while (n < len && is_blank(p[n]))
        n++;
    if (*last && n == len)
        return n;
    return n + 2 <= len && p[n] == '\r' && p[n + 1] == '\n' ? n + 2 : 0;
}

/* From `from`, where the content's end is sought: *end: where the CRLF of the delimiter begins,
 * *next: what follows its line. */
static bool find_delimiter(struct multipart *m, size_t from, size_t *end, size_t *next)
{
    while (from < m->len) {
        const char *hit = memmem(m->body + from, m->len - from, m->delimiter, m->delimiter_len);
        if (!hit)
            return false;
        size_t after = (size_t)(hit - m->body) + m->delimiter_len;
        size_t tail = delimiter_tail(m->body + after, m->len - after, &m->ended);
        if (tail > 0) {
            *end = (size_t)(hit - m->body);
            *next = after + tail;
            return true;
        }
        from = after;
    }
    m->ended = false;
    return false;
}

/* The first delimiter needs no CRLF before it where the body begins with it. */
static bool find_first(struct multipart *m, size_t *next)
{
    size_t n = m->delimiter_len - 2, end;
    if (m->len >= n && memcmp(m->body, m->delimiter + 2, n) == 0) {
        size_t tail = delimiter_tail(m->body + n, m->len - n, &m->ended);
        if (tail > 0) {
            *next = n + tail;
            return true;
        }
    }
    return find_delimiter(m, 0, &end, next);
}

/* ---- a part's header ---- */

struct header_seen {
    bool disposition, media_type;
};

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* RFC 8187: UTF-8'language'percent-encoded. */
static bool decode_extended(const char *value, char *out, size_t out_max)
{
    const char *p = strchr(value, '\'');
    if (!p || strncasecmp(value, "UTF-8'", 6) != 0 || !(p = strchr(p + 1, '\'')))
        return false;
    size_t n = 0;
    for (p++; *p; p++) {
        char c = *p;
        if (c == '%') {
            int high = hex_value(p[1]), low = high < 0 ? -1 : hex_value(p[2]);
            if (low < 0)
                return false;
            c = (char)(high << 4 | low);
            p += 2;
        }
        if (c == '\0' || n == out_max)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return true;
}

static enum err bad_disposition(struct errmsg *em)
{
    return err_set(em, ERR_FORMAT,
                   "each part needs a header Content-Disposition: form-data; name=\"…\" with a "
                   "name of at most %u bytes",
                   MULTIPART_NAME_MAX);
}

static enum err read_disposition(struct span value, struct multipart_part *part, struct errmsg *em)
{
    char text[3 * MULTIPART_FILENAME_MAX + 32];
    bool named = false, plain = false, extended = false;
    struct span name;
    int more;
    if (!span_is(take_token(&value), "form-data"))
        return bad_disposition(em);
    while ((more = take_parameter(&value, &name, text, sizeof text - 1)) > 0) {
        struct span given = {text, strlen(text)};
        if (span_is(name, "name")) {
            if (named || !span_copy(given, part->name, MULTIPART_NAME_MAX))
                return bad_disposition(em);
            named = true;
        } else if (span_is(name, "filename")) {
            if (plain || (!extended && !span_copy(given, part->filename, MULTIPART_FILENAME_MAX)))
                return err_set(em, ERR_FORMAT, "a file name is over %u bytes or comes twice",
                               MULTIPART_FILENAME_MAX);
            plain = true;
        } else if (span_is(name, "filename*")) {
            if (extended || !decode_extended(text, part->filename, MULTIPART_FILENAME_MAX))
                return err_set(em, ERR_FORMAT,
                               "filename* must be UTF-8'' and percent-encoded, of "
                               "at most %u bytes, once",
                               MULTIPART_FILENAME_MAX);
            extended = true;
        }
    }
    if (more < 0 || !named)
        return bad_disposition(em);
    part->has_filename = plain || extended;
    return ERR_OK;
}

static enum err read_header_line(struct span line, struct multipart_part *part,
                                 struct header_seen *seen, struct errmsg *em)
{
    struct span name = take_token(&line);
    if (name.len == 0 || line.len == 0 || take(&line, 1).ptr[0] != ':')
        return err_set(em, ERR_FORMAT, "a part's header line is not \"Name: value\"");
    skip_blanks(&line);
    if (span_is(name, "Content-Disposition")) {
        if (seen->disposition)
            return bad_disposition(em);
        seen->disposition = true;
        return read_disposition(line, part, em);
    }
    if (span_is(name, "Content-Type")) {
        size_t n = 0;
        while (n < line.len && line.ptr[n] != ';' && !is_blank(line.ptr[n]))
            n++;
        if (seen->media_type ||
            !span_copy((struct span){line.ptr, n}, part->media_type, MULTIPART_MEDIA_TYPE_MAX))
            return err_set(em, ERR_FORMAT, "a part's Content-Type is too long or comes twice");
        seen->media_type = true;
    }
    if (span_is(name, "Content-Transfer-Encoding")) {
        struct span encoding = take_token(&line);
        if (!span_is(encoding, "binary") && !span_is(encoding, "8bit") &&
            !span_is(encoding, "7bit"))
            return err_set(em, ERR_UNSUPPORTED,
                           "send parts as they are, without a Content-Transfer-Encoding");
    }
    return ERR_OK;
}

/* Up to its CRLF, which is skipped. Control characters never belong in a header. */
static bool take_line(struct span *rest, struct span *line)
{
    const char *end = memmem(rest->ptr, rest->len, "\r\n", 2);
    if (!end)
        return false;
    *line = take(rest, (size_t)(end - rest->ptr));
    take(rest, 2);
    for (size_t i = 0; i < line->len; i++)
        if (((unsigned char)line->ptr[i] < ' ' && line->ptr[i] != '\t') || line->ptr[i] == 0x7f)
            return false;
    return true;
}

/* Reads the header at m->at, and moves behind it. */
static enum err read_header(struct multipart *m, struct multipart_part *part, struct errmsg *em)
{
    size_t len = m->len - m->at;
    struct span rest = {m->body + m->at,
                        len < MULTIPART_HEADER_BYTES_MAX ? len : MULTIPART_HEADER_BYTES_MAX};
    struct header_seen seen = {0};
    struct span line;
    for (unsigned i = 0; i <= MULTIPART_HEADERS_MAX; i++) {
        if (!take_line(&rest, &line))
            break;
        if (line.len == 0) {
            m->at = (size_t)(rest.ptr - m->body);
            return seen.disposition ? ERR_OK : bad_disposition(em);
        }
        enum err rc = read_header_line(line, part, &seen, em);
        if (rc)
            return rc;
    }
    return err_set(em, ERR_FORMAT,
                   "a part's header is malformed, cut short, or over %u lines or %u bytes",
                   MULTIPART_HEADERS_MAX, MULTIPART_HEADER_BYTES_MAX);
}

enum err multipart_next(struct multipart *m, struct multipart_part *out, struct errmsg *em)
{
    struct multipart s = *m; /* kept where it is on failure */
    struct multipart_part part = {0};
    size_t end, next;
    if (s.n_parts == 0 && !s.ended && !find_first(&s, &s.at))
        return err_set(em, ERR_FORMAT,
                       "the form does not begin with the boundary that "
                       "Content-Type names");
    if (s.ended) {
        *m = s;
        return err_set(em, ERR_EMPTY, "no more parts");
    }
    if (s.n_parts++ == MULTIPART_PARTS_MAX)
        return err_set(em, ERR_FORMAT, "the form has more than %u parts", MULTIPART_PARTS_MAX);
    enum err rc = read_header(&s, &part, em);
    if (rc)
        return rc;
    /* an empty part may end with the CRLF that also ends its header */
    if (!find_delimiter(&s, s.at - 2, &end, &next))
        return err_set(em, ERR_FORMAT, "the form is cut short: its last boundary is missing");
    part.ptr = s.body + s.at;
    part.len = end > s.at ? end - s.at : 0;
    s.at = next;
    *m = s;
    *out = part;
    return ERR_OK;
}

/* SPDX-License-Identifier: MIT */
/* A JSON body of which most is pictures. It is scanned once: strings that are the values of
 * top-level picture fields stay where they are, and jansson gets the rest, in which each of
 * them is "". So a body of 100 MB in a mapped file costs a few hundred bytes.
 *
 * The scanner finds the same strings as a JSON parser if the text is valid; whether it is,
 * jansson says. Inside of a picture's string only the decoder of base64 will look: there,
 * line breaks that JSON forbids are let pass, for scripts that put the output of base64(1)
 * between quotes. */
#include <stdlib.h>
#include <string.h>

#include "api/core_impl.h"
#include "formats/json.h"

struct scanner {
    const char *ptr, *end;
    size_t depth;
    bool expects_name;   /* at depth 1: the next string is a member's name */
    const char *picture; /* the member that was named is this picture field, or NULL */
    const char *kept;    /* everything before is in out already */
    const char *const *picture_fields;
    struct buf out;
};

/* The closing quote of the string that begins behind an opening one; NULL: there is none. */
static const char *string_end(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && (p = memchr(p, '"', (size_t)(end - p)))) {
        const char *q = p;
        while (q > start && q[-1] == '\\')
            q--;
        if ((p - q) % 2 == 0)
            return p;
        p++;
    }
    return NULL;
}

/* Names may be spelled with escapes: then jansson unfolds them. quoted: with both quotes. */
static const char *picture_field(const struct scanner *s, const char *quoted, size_t len)
{
    char name[API_FIELD_CHARS] = "";
    if (memchr(quoted, '\\', len)) {
        json_t *v = json_loadb(quoted, len, JSON_DECODE_ANY, NULL);
        if (v && json_string_length(v) < sizeof name)
            memcpy(name, json_string_value(v), json_string_length(v) + 1);
        json_decref(v);
    } else if (len - 2 < sizeof name) {
        memcpy(name, quoted + 1, len - 2);
        name[len - 2] = 0;
    }
    for (const char *const *f = s->picture_fields; *f; f++)
        if (strcmp(*f, name) == 0)
            return *f;
    return NULL;
}

/* Only the first of two members of one name: jansson refuses the body for the second. */
static void add_picture(struct body *b, const char *field, const char *ptr, size_t len)
{
    if (b->n_pictures < LIMIT_REFERENCES_MAX && !body_picture(b, field))
        b->pictures[b->n_pictures++] = (struct body_picture){field, ptr, len};
}

static enum err keep_until(struct scanner *s, const char *p, struct errmsg *em)
{
    size_t len = (size_t)(p - s->kept);
    if (s->out.len + len > API_BODY_JSON_BYTES_MAX)
        return err_set(em, ERR_FORMAT, "The body without its pictures is over %u bytes long.",
                       API_BODY_JSON_BYTES_MAX);
    return buf_append(&s->out, s->kept, len, em);
}

static enum err scan_string(struct scanner *s, struct body *b, struct errmsg *em)
{
    const char *open = s->ptr, *close = string_end(open + 1, s->end);
    if (!close)
        return err_set(em, ERR_FORMAT,
                       "The body is not valid JSON: it ends inside of a string. Was it cut off?");
    s->ptr = close + 1;
    if (s->depth != 1)
        return ERR_OK;
    if (s->expects_name) {
        s->picture = picture_field(s, open, (size_t)(close + 1 - open));
        s->expects_name = false;
    } else if (s->picture) {
        enum err rc = keep_until(s, open + 1, em);
        if (rc)
            return rc;
        s->kept = close;
        add_picture(b, s->picture, open + 1, (size_t)(close - open - 1));
    }
    return ERR_OK;
}

static void scan_sign(struct scanner *s)
{
    switch (*s->ptr++) {
    case '{':
        s->expects_name = s->depth++ == 0;
        break;
    case '[':
        s->depth++;
        break;
    case '}':
    case ']':
        if (s->depth)
            s->depth--;
        break;
    case ',':
        s->expects_name = s->depth == 1;
        if (s->depth == 1)
            s->picture = NULL;
        break;
    default:
        break;
    }
}

static enum err scan(struct scanner *s, struct body *b, struct errmsg *em)
{
    enum err rc = ERR_OK;
    while (!rc && s->ptr < s->end) {
        if (*s->ptr == '"')
            rc = scan_string(s, b, em);
        else
            scan_sign(s);
    }
    return rc ? rc : keep_until(s, s->end, em);
}

static int field_index(const char *const *fields, const char *field)
{
    int i = 0;
    while (fields[i] && fields[i] != field)
        i++;
    return i;
}

/* By insertion: there are ten at most. */
static void sort_pictures(struct body *b, const char *const *fields)
{
    for (size_t i = 1; i < b->n_pictures; i++)
        for (size_t j = i; j > 0 && field_index(fields, b->pictures[j].field) <
                                        field_index(fields, b->pictures[j - 1].field);
             j--) {
            struct body_picture t = b->pictures[j];
            b->pictures[j] = b->pictures[j - 1];
            b->pictures[j - 1] = t;
        }
}

enum err body_parse(const char *text, size_t len, const char *const *picture_fields,
                    struct body *out, struct errmsg *em)
{
    if (len == 0)
        return err_set(em, ERR_FORMAT, "The body is empty. Send a JSON object.");
    struct body b = {0};
    struct scanner s = {
        .ptr = text, .end = text + len, .kept = text, .picture_fields = picture_fields};
    enum err rc = scan(&s, &b, em);
    if (!rc)
        rc = json_parse_object_reals((const char *)s.out.ptr, s.out.len, API_BODY_VALUES_MAX,
                                     "The body", &b.root, em);
    buf_deinit(&s.out);
    if (rc)
        return rc;
    sort_pictures(&b, picture_fields);
    *out = b;
    return ERR_OK;
}

void body_deinit(struct body *b)
{
    json_decref(b->root);
    *b = (struct body){0};
}

const struct body_picture *body_picture(const struct body *b, const char *field)
{
    for (size_t i = 0; i < b->n_pictures; i++)
        if (strcmp(b->pictures[i].field, field) == 0)
            return &b->pictures[i];
    return NULL;
}

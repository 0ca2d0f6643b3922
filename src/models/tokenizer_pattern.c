/* SPDX-License-Identifier: MIT */
/* The pattern that cuts text into words. Files write it for Oniguruma (Ruby syntax,
 * Unicode 16); it runs in PCRE2, whose tables and dialect differ a little. So it is
 * translated, and only what means the same in both is let through:
 * - \s and \S become the explicit list of White_Space (PCRE2's \s has U+180E too);
 * - letters, marks and numbers get what Unicode 15 and 16 added (PCRE2 10.42 knows 14);
 * - groups, escapes and classes are checked against what is known to agree. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/tokenizer_impl.h"

#define PATTERN_BYTES_MAX 8192u
#define MATCH_STEPS_MAX 10000000u /* of one word; a sane pattern needs a few per byte */

#define SPACE_RANGES                                                                               \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define NOT_SPACE_RANGES                                                                           \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}"                   \
    "\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}"                 \
    "\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define NEWER_UPPER "\\x{1c89}\\x{a7cb}-\\x{a7cc}\\x{a7da}\\x{a7dc}\\x{10d50}-\\x{10d65}"
#define NEWER_LOWER "\\x{1c8a}\\x{a7cd}\\x{a7db}\\x{10d70}-\\x{10d85}\\x{1df25}-\\x{1df2a}"
#define NEWER_MODIFIERS                                                                            \
    "\\x{10d4e}\\x{10d6f}\\x{16d40}-\\x{16d42}\\x{16d6b}-\\x{16d6c}"                               \
    "\\x{1e030}-\\x{1e06d}\\x{1e4eb}"
#define NEWER_OTHER_LETTERS                                                                        \
    "\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d4d}\\x{10d4f}\\x{10ec2}-\\x{10ec4}"                    \
    "\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}"                               \
    "\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}"                     \
    "\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}\\x{1342f}"                               \
    "\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"                              \
    "\\x{16d43}-\\x{16d6a}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1e4d0}-\\x{1e4ea}"                     \
    "\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}"                               \
    "\\x{31350}-\\x{323af}"
#define NEWER_LETTERS NEWER_UPPER NEWER_LOWER NEWER_MODIFIERS NEWER_OTHER_LETTERS
#define NEWER_MARKS                                                                                \
    "\\x{897}\\x{cf3}\\x{ece}\\x{10d69}-\\x{10d6d}\\x{10efc}-\\x{10eff}"                           \
    "\\x{11241}\\x{113b8}-\\x{113c0}\\x{113c2}\\x{113c5}\\x{113c7}-\\x{113ca}"                     \
    "\\x{113cc}-\\x{113d0}\\x{113d2}\\x{113e1}-\\x{113e2}\\x{11f00}-\\x{11f01}"                    \
    "\\x{11f03}\\x{11f34}-\\x{11f3a}\\x{11f3e}-\\x{11f42}\\x{11f5a}\\x{13440}"                     \
    "\\x{13447}-\\x{13455}\\x{1611e}-\\x{1612f}\\x{1e08f}\\x{1e4ec}-\\x{1e4ef}"                    \
    "\\x{1e5ee}-\\x{1e5ef}"
#define NEWER_NUMBERS                                                                              \
    "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}"         \
    "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}"         \
    "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"

struct pattern {
    pcre2_code *code;
    pcre2_match_context *limits;
};

struct translation {
    const char *source;
    size_t at;
    bool in_class;
    const char *name;
    struct buf out;
    struct errmsg *em;
};

static enum err put(struct translation *t, const char *text)
{
    return buf_append(&t->out, text, strlen(text), t->em);
}

static enum err refuse(const struct translation *t, const char *what)
{
    return err_set(
        t->em, ERR_UNSUPPORTED,
        "%s: the pattern of the pre_tokenizer has %s at its byte %zu, which this program "
        "cannot run",
        t->name, what, t->at);
}

/* A set: itself inside a class, in brackets outside. */
static enum err put_set(struct translation *t, const char *ranges, bool negated)
{
    if (t->in_class)
        return put(t, ranges);
    enum err rc = put(t, negated ? "[^" : "[");
    if (!rc)
        rc = put(t, ranges);
    return rc ? rc : put(t, "]");
}

/* \p{…} or \P{…}: at is behind the p. */
static enum err translate_property(struct translation *t, bool negated)
{
    static const struct {
        const char *name, *newer;
    } amended[] = {
        {"L", NEWER_LETTERS},    {"Lu", NEWER_UPPER},         {"Ll", NEWER_LOWER},
        {"Lm", NEWER_MODIFIERS}, {"Lo", NEWER_OTHER_LETTERS}, {"M", NEWER_MARKS},
        {"N", NEWER_NUMBERS},
    };
    static const char *const known[] = {"Lt", "Mn", "Mc", "Nd", "Nl", "No", "P",
                                        "S",  "Sc", "Sm", "So", "Z",  "Zs", "Han"};
    const char *p = t->source + t->at;
    const char *end = *p == '{' ? strchr(p, '}') : NULL;
    if (!end || end - p > 8)
        return refuse(t, "an unknown property");
    char property[8] = {0};
    memcpy(property, p + 1, (size_t)(end - p - 1));
    t->at += (size_t)(end - p) + 1;
    for (size_t i = 0; i < sizeof amended / sizeof amended[0]; i++)
        if (!strcmp(property, amended[i].name)) {
            char set[sizeof "\\p{L}" NEWER_LETTERS]; /* the longest */
            if (t->in_class && negated)
                return refuse(t, "a negated property in a class");
            snprintf(set, sizeof set, "\\p{%s}%s", property, amended[i].newer);
            return put_set(t, set, negated);
        }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(property, known[i])) {
            enum err rc = put(t, negated ? "\\P{" : "\\p{");
            if (!rc)
                rc = put(t, property);
            return rc ? rc : put(t, "}");
        }
    return refuse(t, "an unknown property");
}

/* at is behind the backslash. */
static enum err translate_escape(struct translation *t)
{
    char c = t->source[t->at];
    char copy[3] = {'\\', c, 0};
    if (c)
        t->at++;
    switch (c) {
    case 's':
        return put_set(t, SPACE_RANGES, false);
    case 'S':
        return t->in_class ? put(t, NOT_SPACE_RANGES) : put_set(t, SPACE_RANGES, true);
    case 'p':
    case 'P':
        return translate_property(t, c == 'P');
    case 'd':
        return put(t, "\\p{Nd}");
    case 'r':
    case 'n':
    case 't':
    case 'f':
        return put(t, copy);
    default:
        if (!strchr("\\/.,*?+()[]{}|^$-'\"#&~_!@%=:;<> ", c) || !c)
            return refuse(t, "an unknown escape");
        return put(t, copy);
    }
}

/* at is behind the opening parenthesis. */
static enum err translate_group(struct translation *t)
{
    static const char *const known[] = {"?:", "?i:", "?=", "?!", "?>", "?<=", "?<!"};
    const char *p = t->source + t->at;
    if (*p != '?' && *p != '*')
        return put(t, "(?:"); /* what a group captured is never asked for */
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strncmp(p, known[i], strlen(known[i]))) {
            t->at += strlen(known[i]);
            enum err rc = put(t, "(");
            return rc ? rc : put(t, known[i]);
        }
    return refuse(t, "an unknown kind of group");
}

/* One item of the pattern; c is its first byte, at is behind it. */
static enum err translate_item(struct translation *t, char c)
{
    const char *p = t->source + t->at;
    char copy[2] = {c, 0};
    if (c == '\\')
        return translate_escape(t);
    if (t->in_class) {
        if (c == '[' || (c == '&' && *p == '&'))
            return refuse(t, "a class in a class");
        t->in_class = c != ']';
        return put(t, copy);
    }
    switch (c) {
    case '(':
        return translate_group(t);
    case '[':
        t->in_class = true;
        if (*p == ']' || (*p == '^' && p[1] == ']'))
            return refuse(t, "an empty class");
        if (*p == '^') {
            t->at++;
            return put(t, "[^");
        }
        return put(t, copy);
    case '}':
        if (*p == '+')
            return refuse(t, "a possessive interval");
        return put(t, copy);
    case '{':
        if (*p < '0' || *p > '9')
            return refuse(t, "an open brace");
        return put(t, copy);
    case '^':
    case '$':
        return refuse(t, "an anchor");
    default:
        return put(t, copy);
    }
}

static enum err compile(struct pattern *p, const struct buf *source, const char *name,
                        struct errmsg *em)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_compile_context *cc = pcre2_compile_context_create(NULL);
    p->limits = pcre2_match_context_create(NULL);
    if (!cc || !p->limits) {
        pcre2_compile_context_free(cc);
        return err_nomem(em, source->len);
    }
    pcre2_set_parens_nest_limit(cc, 50);
    pcre2_set_newline(cc, PCRE2_NEWLINE_LF); /* what "." does not match */
    pcre2_set_match_limit(p->limits, MATCH_STEPS_MAX);
    p->code = pcre2_compile(source->ptr ? source->ptr : (const uint8_t *)"", source->len,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE,
                            &code, &offset, cc);
    pcre2_compile_context_free(cc);
    if (!p->code) {
        PCRE2_UCHAR text[128] = {0};
        pcre2_get_error_message(code, text, sizeof text);
        return err_set(em, ERR_FORMAT, "%s: the pattern of the pre_tokenizer is not valid: %s",
                       name, (const char *)text);
    }
    /* without it, pcre2_match interprets: slower, the same result */
    (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
    return ERR_OK;
}

enum err pattern_new(const char *source, const char *name, struct pattern **out, struct errmsg *em)
{
    struct translation t = {.source = source, .name = name, .em = em};
    enum err rc = ERR_OK;
    if (strlen(source) > PATTERN_BYTES_MAX)
        return err_set(em, ERR_FORMAT, "%s: the pattern of the pre_tokenizer is too long", name);
    struct pattern *p = calloc(1, sizeof *p);
    if (!p)
        return err_nomem(em, sizeof *p);
    while (!rc && source[t.at]) {
        char c = source[t.at++];
        rc = translate_item(&t, c);
    }
    if (!rc)
        rc = compile(p, &t.out, name, em);
    buf_deinit(&t.out);
    if (rc)
        pattern_free(p);
    else
        *out = p;
    return rc;
}

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    pcre2_match_context_free(p->limits);
    free(p);
}

void pattern_iter_restart(struct pattern_iter *it, const struct pattern *p, const char *text,
                          size_t len)
{
    it->pattern = p;
    it->text = text;
    it->len = len;
    it->at = 0;
    it->last_end = 0;
    it->any = false;
}

void pattern_iter_deinit(struct pattern_iter *it)
{
    pcre2_match_data_free(it->match_data);
    it->match_data = NULL;
}

enum err pattern_next(struct pattern_iter *it, bool *found, size_t *start, size_t *end,
                      struct errmsg *em)
{
    *found = false;
    if (!it->match_data)
        it->match_data = pcre2_match_data_create(1, NULL);
    if (!it->match_data)
        return err_nomem(em, 64);
    while (it->at <= it->len) {
        PCRE2_SPTR text = (PCRE2_SPTR)it->text;
        /* the text was checked once; checking it again for each word is quadratic */
        uint32_t options = PCRE2_NO_UTF_CHECK;
        int rc = pcre2_match(it->pattern->code, text, it->len, it->at, options, it->match_data,
                             it->pattern->limits);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(it->pattern->code, text, it->len, it->at, options | PCRE2_NO_JIT,
                             it->match_data, it->pattern->limits);
        if (rc == PCRE2_ERROR_NOMATCH)
            return ERR_OK;
        if (rc == PCRE2_ERROR_NOMEMORY)
            return err_nomem(em, it->len);
        if (rc < 0)
            return err_set(em, ERR_FORMAT,
                           "the tokenizer's pattern needs too many steps for this text (PCRE2: %d)",
                           rc);
        const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(it->match_data);
        *start = pair[0];
        *end = pair[1];
        /* an empty match right behind the last one would repeat for ever */
        if (*start >= *end && it->any && it->last_end == *end) {
            if (it->at == it->len)
                return ERR_OK;
            (void)utf8_next(it->text, &it->at);
            continue;
        }
        it->at = it->last_end = *end;
        it->any = true;
        *found = true;
        return ERR_OK;
    }
    return ERR_OK;
}

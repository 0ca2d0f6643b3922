/* SPDX-License-Identifier: MIT */
/* One member of a body each: read, or found at fault. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "api/core_impl.h"
#include "formats/json.h"

#define FAULTS_STEP 4u

void faults_add(struct faults *f, unsigned rank, const char *field, const char *fmt, ...)
{
    if (f->n == API_FAULTS_MAX)
        return;
    if (f->n % FAULTS_STEP == 0) {
        struct fault *items = realloc(f->items, (f->n + FAULTS_STEP) * sizeof *items);
        if (!items)
            return;
        f->items = items;
    }
    struct fault *fault = &f->items[f->n++];
    fault->rank = rank;
    snprintf(fault->field, sizeof fault->field, "%s", field);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(fault->reason, sizeof fault->reason, fmt, ap);
    va_end(ap);
}

void field_fault(struct fields *f, const char *name, const char *fmt, ...)
{
    char reason[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    faults_add(f->faults, f->rank, name, "%s", reason);
}

/* NULL: absent. A null where none may be is a value of the wrong type. */
static const json_t *member(const struct fields *f, const char *name)
{
    const json_t *v = json_object_get(f->root, name);
    return json_is_null(v) && !f->null_is_wrong ? NULL : v;
}

static size_t count_chars(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Nothing that can be seen: spaces of any script, controls, joiners. */
static bool is_blank(const char *s)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n;
    for (; *s; s += n) {
        n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c);
        if (n <= 0)
            return false;
        switch (utf8proc_category(c)) {
        case UTF8PROC_CATEGORY_ZS:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_CF:
            break;
        default:
            return false;
        }
    }
    return true;
}

/* Any number of a body is a real. */
static const char *kind_name(const json_t *v)
{
    return json_is_real(v) ? "a number" : json_kind_name(v);
}

/* One that came, and was refused before it became a member. */
static bool is_at_fault(const struct faults *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->items[i].field, name) == 0)
            return true;
    return false;
}

static const char *string_of(struct fields *f, const char *name, unsigned flags, size_t chars_max)
{
    const json_t *v = member(f, name);
    if (!v) {
        if ((flags & FIELD_REQUIRED) && !is_at_fault(f->faults, name))
            field_fault(f, name, "is required");
        return NULL;
    }
    const char *s = json_string_value(v);
    if (!s)
        field_fault(f, name, "must be a string, not %s", kind_name(v));
    else if ((flags & FIELD_NOT_BLANK) && is_blank(s))
        field_fault(f, name, "must not be blank");
    else if (count_chars(s) > chars_max)
        field_fault(f, name, "must be at most %zu characters long", chars_max);
    else
        return s;
    return NULL;
}

const char *field_string(struct fields *f, const char *name, unsigned flags, size_t chars_max)
{
    const char *s = string_of(f, name, flags, chars_max);
    f->rank++;
    return s;
}

enum err field_keep(char **out, const char *text, struct errmsg *em)
{
    if (text && !(*out = strdup(text)))
        return err_nomem(em, strlen(text) + 1);
    return ERR_OK;
}

/* All numbers of a body are reals: JSON does not tell 1024.0 from 1024. */
static bool integer_of(const json_t *v, int64_t *out)
{
    double d = json_real_value(v);
    if (!json_is_real(v) || d != trunc(d) || fabs(d) >= 0x1p53)
        return false;
    *out = (int64_t)d;
    return true;
}

static bool read_integer(struct fields *f, const char *name, int64_t min, int64_t max,
                         bool zero_too, int64_t fallback, int64_t *out)
{
    const json_t *v = member(f, name);
    int64_t i = fallback;
    bool good = !v || (integer_of(v, &i) && ((i >= min && i <= max) || (zero_too && i == 0)));
    if (good)
        *out = i;
    else
        field_fault(f, name, "must be an integer from %" PRId64 " to %" PRId64 "%s", min, max,
                    zero_too ? ", or 0" : "");
    f->rank++;
    return good;
}

bool field_integer(struct fields *f, const char *name, int64_t min, int64_t max, int64_t fallback,
                   int64_t *out)
{
    return read_integer(f, name, min, max, false, fallback, out);
}

bool field_integer_or_zero(struct fields *f, const char *name, int64_t min, int64_t max,
                           int64_t *out)
{
    return read_integer(f, name, min, max, true, 0, out);
}

bool field_boolean(struct fields *f, const char *name, bool fallback, bool *out)
{
    const json_t *v = member(f, name);
    bool good = !v || json_is_boolean(v);
    if (good)
        *out = v ? json_is_true(v) : fallback;
    else
        field_fault(f, name, "must be true or false, not %s", kind_name(v));
    f->rank++;
    return good;
}

static void choice_fault(struct fields *f, const char *name, const char *const *choices)
{
    char list[200] = "";
    for (size_t len = 0; *choices && len < sizeof list; choices++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", len ? ", " : "", *choices);
    field_fault(f, name, "must be one of: %s", list);
}

static int choice_of(const json_t *v, const char *const *choices)
{
    const char *s = json_string_value(v);
    for (int i = 0; s && choices[i]; i++)
        if (strcmp(s, choices[i]) == 0)
            return i;
    return -2;
}

int field_choice(struct fields *f, const char *name, const char *const *choices)
{
    const json_t *v = member(f, name);
    int i = v ? choice_of(v, choices) : -1;
    if (i == -2)
        choice_fault(f, name, choices);
    f->rank++;
    return i;
}

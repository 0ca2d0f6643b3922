/* SPDX-License-Identifier: MIT */
/* config.json, asked field by field. A null field counts as an absent one, as the
 * Python readers of these files treat it. */
#include "formats/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "formats/json.h"

#define CONFIG_VALUES_MAX 200000u

struct config {
    json_t *root;
    char name[]; /* for messages */
};

typedef enum err parser(const char *bytes, size_t len, size_t max_values, const char *name,
                        json_t **root, struct errmsg *em);

static enum err parse_with(parser *parse, const char *bytes, size_t len, const char *name,
                           struct config **out, struct errmsg *em)
{
    if (len > LIMIT_JSON_BYTES_MAX)
        return err_set(em, ERR_FORMAT, "%s is too large: more than %u bytes", name,
                       LIMIT_JSON_BYTES_MAX);
    json_t *root;
    enum err rc = parse(bytes, len, CONFIG_VALUES_MAX, name, &root, em);
    if (rc)
        return rc;
    size_t name_bytes = strlen(name) + 1;
    struct config *c = malloc(sizeof *c + name_bytes);
    if (!c) {
        json_decref(root);
        return err_nomem(em, sizeof *c + name_bytes);
    }
    c->root = root;
    memcpy(c->name, name, name_bytes);
    *out = c;
    return ERR_OK;
}

static enum err open_with(parser *parse, const char *path, struct config **out, struct errmsg *em)
{
    struct buf text = {0};
    enum err rc = file_read(path, LIMIT_JSON_BYTES_MAX, &text, em);
    if (!rc)
        rc = parse_with(parse, text.ptr ? (const char *)text.ptr : "", text.len, path, out, em);
    buf_deinit(&text);
    return rc;
}

enum err config_parse(const char *bytes, size_t len, const char *name, struct config **out,
                      struct errmsg *em)
{
    return parse_with(json_parse_object, bytes, len, name, out, em);
}

enum err config_open(const char *path, struct config **out, struct errmsg *em)
{
    return open_with(json_parse_object, path, out, em);
}

enum err config_open_texts(const char *path, struct config **out, struct errmsg *em)
{
    return open_with(json_parse_object_reals, path, out, em);
}

void config_close(struct config *c)
{
    if (!c)
        return;
    json_decref(c->root);
    free(c);
}

/* The field at a path of names with dots; NULL when it is absent or null. */
static const json_t *find(const struct config *c, const char *key)
{
    const json_t *value = c->root;
    while (value) {
        const char *dot = strchr(key, '.');
        size_t n = dot ? (size_t)(dot - key) : strlen(key);
        value = json_object_getn(value, key, n); /* NULL for what is not an object */
        if (!dot)
            break;
        key = dot + 1;
    }
    return json_is_null(value) ? NULL : value;
}

bool config_has(const struct config *c, const char *key)
{
    return find(c, key) != NULL;
}

static enum err missing(const struct config *c, const char *key, struct errmsg *em)
{
    return err_set(em, ERR_FORMAT, "%s: the field \"%s\" is missing", c->name, key);
}

static enum err wrong_kind(const struct config *c, const char *key, const char *expected,
                           const json_t *found, struct errmsg *em)
{
    return err_set(em, ERR_FORMAT, "%s: the field \"%s\" must be %s, not %s", c->name, key,
                   expected, json_kind_name(found));
}

/* One integer of the field (the field itself, or an element of its array). */
static enum err read_size(const struct config *c, const char *key, const json_t *value, size_t min,
                          size_t max, size_t *out, struct errmsg *em)
{
    if (!json_is_integer(value))
        return wrong_kind(c, key, "an integer", value, em);
    json_int_t v = json_integer_value(value);
    if (v < 0 || (unsigned long long)v < min || (unsigned long long)v > max)
        return err_set(em, ERR_FORMAT, "%s: the field \"%s\" must be from %zu to %zu, not %lld",
                       c->name, key, min, max, (long long)v);
    *out = (size_t)v;
    return ERR_OK;
}

enum err config_size(const struct config *c, const char *key, size_t min, size_t max,
                     long long fallback, size_t *out, struct errmsg *em)
{
    const json_t *value = find(c, key);
    if (value)
        return read_size(c, key, value, min, max, out, em);
    if (fallback < 0)
        return missing(c, key, em);
    *out = (size_t)fallback;
    return ERR_OK;
}

enum err config_double(const struct config *c, const char *key, double min, double max,
                       double fallback, double *out, struct errmsg *em)
{
    const json_t *value = find(c, key);
    if (!value) {
        if (fallback == CONFIG_REQUIRED)
            return missing(c, key, em);
        *out = fallback;
        return ERR_OK;
    }
    if (!json_is_number(value))
        return wrong_kind(c, key, "a number", value, em);
    double v = json_number_value(value);
    if (!isfinite(v) || v < min || v > max)
        return err_set(em, ERR_FORMAT, "%s: the field \"%s\" must be from %g to %g, not %g",
                       c->name, key, min, max, v);
    *out = v;
    return ERR_OK;
}

enum err config_bool(const struct config *c, const char *key, int fallback, bool *out,
                     struct errmsg *em)
{
    const json_t *value = find(c, key);
    if (!value) {
        if (fallback < 0)
            return missing(c, key, em);
        *out = fallback != 0;
        return ERR_OK;
    }
    if (!json_is_boolean(value))
        return wrong_kind(c, key, "true or false", value, em);
    *out = json_is_true(value);
    return ERR_OK;
}

enum err config_string(const struct config *c, const char *key, const char *fallback,
                       const char **out, struct errmsg *em)
{
    const json_t *value = find(c, key);
    if (!value) {
        if (!fallback)
            return missing(c, key, em);
        *out = fallback;
        return ERR_OK;
    }
    if (!json_is_string(value))
        return wrong_kind(c, key, "a string", value, em);
    *out = json_string_value(value);
    return ERR_OK;
}

/* The field's array, or NULL and *n = 0 when it is absent. */
static enum err find_array(const struct config *c, const char *key, const char *of, size_t max_n,
                           const json_t **array, size_t *n, struct errmsg *em)
{
    const json_t *value = find(c, key);
    *array = NULL;
    *n = 0;
    if (!value)
        return ERR_OK;
    if (!json_is_array(value))
        return wrong_kind(c, key, of, value, em);
    if (json_array_size(value) > max_n)
        return err_set(em, ERR_FORMAT, "%s: the field \"%s\" has %zu elements, at most %zu can be",
                       c->name, key, json_array_size(value), max_n);
    *array = value;
    *n = json_array_size(value);
    return ERR_OK;
}

/* The name of an element, for messages. */
static const char *element_name(char (*buf)[128], const char *key, size_t i)
{
    snprintf(*buf, sizeof *buf, "%s[%zu]", key, i);
    return *buf;
}

enum err config_sizes(const struct config *c, const char *key, size_t min, size_t max, size_t *out,
                      size_t max_n, size_t *n, struct errmsg *em)
{
    const json_t *array;
    char name[128];
    enum err rc = find_array(c, key, "an array of integers", max_n, &array, n, em);
    for (size_t i = 0; !rc && i < *n; i++)
        rc = read_size(c, element_name(&name, key, i), json_array_get(array, i), min, max, &out[i],
                       em);
    return rc;
}

enum err config_strings(const struct config *c, const char *key, const char **out, size_t max_n,
                        size_t *n, struct errmsg *em)
{
    const json_t *array;
    char name[128];
    enum err rc = find_array(c, key, "an array of strings", max_n, &array, n, em);
    for (size_t i = 0; !rc && i < *n; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_string(value))
            return wrong_kind(c, element_name(&name, key, i), "a string", value, em);
        out[i] = json_string_value(value);
    }
    return rc;
}

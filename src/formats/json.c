/* SPDX-License-Identifier: MIT */
#include "formats/json.h"

#include <stdbool.h>

/* The bounds, before jansson allocates anything. Brackets that do not match are
 * left for jansson to report. */
static enum err check_bounds(const char *bytes, size_t len, size_t max_values, const char *name,
                             struct errmsg *em)
{
    size_t depth = 0, n_values = 1;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = bytes[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        switch (c) {
        case '"':
            in_string = true;
            break;
        case '{':
        case '[':
            if (++depth > JSON_LIMIT_DEPTH)
                return err_set(em, ERR_FORMAT, "%s: JSON nested deeper than %u levels", name,
                               JSON_LIMIT_DEPTH);
            n_values++;
            break;
        case '}':
        case ']':
            if (depth)
                depth--;
            break;
        case ',':
            n_values++;
            break;
        default:
            break;
        }
    }
    if (n_values > max_values)
        return err_set(em, ERR_FORMAT, "%s: JSON with more than %zu values", name, max_values);
    return ERR_OK;
}

static enum err parse(const char *bytes, size_t len, size_t max_values, size_t flags,
                      const char *name, json_t **root, struct errmsg *em)
{
    enum err rc = check_bounds(bytes, len, max_values, name, em);
    if (rc)
        return rc;
    json_error_t je;
    json_t *value = json_loadb(bytes, len, JSON_REJECT_DUPLICATES | flags, &je);
    if (!value) {
        /* out of memory, jansson mostly says nothing at all */
        if (json_error_code(&je) == json_error_out_of_memory || !je.text[0])
            return err_prefix(em, err_nomem(em, len), "%s", name);
        /* jansson names its own flag there */
        const char *what = json_error_code(&je) == json_error_null_character
                               ? "a NUL character (\\u0000) is not taken"
                               : je.text;
        return err_set(em, ERR_FORMAT, "%s: not valid JSON at line %d, column %d: %s", name,
                       je.line, je.column, what);
    }
    if (!json_is_object(value)) {
        rc = err_set(em, ERR_FORMAT, "%s: expected a JSON object, found %s", name,
                     json_kind_name(value));
        json_decref(value);
        return rc;
    }
    *root = value;
    return ERR_OK;
}

enum err json_parse_object(const char *bytes, size_t len, size_t max_values, const char *name,
                           json_t **root, struct errmsg *em)
{
    return parse(bytes, len, max_values, 0, name, root, em);
}

enum err json_parse_object_reals(const char *bytes, size_t len, size_t max_values, const char *name,
                                 json_t **root, struct errmsg *em)
{
    return parse(bytes, len, max_values, JSON_DECODE_INT_AS_REAL, name, root, em);
}

const char *json_kind_name(const json_t *value)
{
    if (!value)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        break;
    }
    return "null";
}

/* SPDX-License-Identifier: MIT */
/* A request as JSON, the form in which the store keeps it. Members that are absent are left out;
 * members that are not known (of a newer version) are passed over. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "store/task.h"

#define REQUEST_VALUES_MAX 64u
#define SIDE_MAX_PX 65536

static enum err set_text(json_t *root, const char *name, const char *text, struct errmsg *em)
{
    if (!text)
        return ERR_OK;
    json_t *value = json_string(text);
    if (!value && strlen(text) <= LIMIT_PROMPT_BYTES_MAX) {
        value = json_string("");
        if (value) { /* there is memory: it is the text */
            json_decref(value);
            return err_set(em, ERR_USAGE, "%s is not valid UTF-8", name);
        }
    }
    if (json_object_set_new(root, name, value))
        return err_set(em, ERR_NOMEM, "out of memory for a request");
    return ERR_OK;
}

static enum err set_value(json_t *root, const char *name, json_t *value, struct errmsg *em)
{
    return json_object_set_new(root, name, value)
               ? err_set(em, ERR_NOMEM, "out of memory for a request")
               : ERR_OK;
}

static enum err set_references(json_t *root, const struct gen_request *r, struct errmsg *em)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < r->n_references; i++)
        ok = json_array_append_new(list, json_string(r->references[i])) == 0;
    if (ok)
        return set_value(root, "references", list, em);
    json_decref(list);
    return err_set(em, ERR_NOMEM, "out of memory for a request");
}

static enum err set_all(json_t *root, const struct gen_request *r, struct errmsg *em)
{
    const struct {
        const char *name, *text;
    } texts[] = {{"prompt", r->prompt},
                 {"model", r->model},
                 {"format", r->format},
                 {"webhook_url", r->webhook_url},
                 {"webhook_secret", r->webhook_secret}};
    enum err rc = ERR_OK;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && !rc; i++)
        rc = set_text(root, texts[i].name, texts[i].text, em);
    if (!rc)
        rc = set_value(root, "width", json_integer(r->width_px), em);
    if (!rc)
        rc = set_value(root, "height", json_integer(r->height_px), em);
    if (!rc)
        rc = set_value(root, "seed", json_integer(r->seed), em);
    if (!rc)
        rc = set_value(root, "enhance", json_boolean(r->enhance), em);
    if (!rc)
        rc = set_value(root, "quality", json_integer(r->quality), em);
    if (!rc)
        rc = set_value(root, "references_mp", json_real(r->references_mp), em);
    return rc || !r->n_references ? rc : set_references(root, r, em);
}

/* What could not be read back must not get in. */
static enum err check(const struct gen_request *r, struct errmsg *em)
{
    if (!r->prompt || !r->model)
        return err_set(em, ERR_USAGE, "a request needs a prompt and a model");
    if (r->width_px > SIDE_MAX_PX || r->height_px > SIDE_MAX_PX || r->seed < 0 ||
        r->seed > UINT32_MAX || r->quality < 0 || r->quality > 100 ||
        r->n_references > LIMIT_REFERENCES_MAX || !isfinite(r->references_mp))
        return err_set(em, ERR_USAGE,
                       "a request's size, seed, quality or references are out of "
                       "range");
    return ERR_OK;
}

enum err gen_request_write(const struct gen_request *r, char **text, struct errmsg *em)
{
    enum err rc = check(r, em);
    if (rc)
        return rc;
    json_t *root = json_object();
    rc = root ? set_all(root, r, em) : err_set(em, ERR_NOMEM, "out of memory for a request");
    char *out = rc ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (rc)
        return rc;
    if (!out)
        return err_set(em, ERR_NOMEM, "out of memory for a request");
    *text = out;
    return ERR_OK;
}

/* ---- back ---- */

static enum err wrong(const char *name, const char *what, const json_t *value, struct errmsg *em)
{
    return err_set(em, ERR_FORMAT, "a stored request: \"%s\" must be %s, found %s", name, what,
                   json_kind_name(value));
}

static enum err get_text(const json_t *root, const char *name, char **out, struct errmsg *em)
{
    const json_t *value = json_object_get(root, name);
    if (!value)
        return ERR_OK;
    if (!json_is_string(value))
        return wrong(name, "a string", value, em);
    *out = strdup(json_string_value(value));
    return *out ? ERR_OK : err_set(em, ERR_NOMEM, "out of memory for a request");
}

static enum err get_integer(const json_t *root, const char *name, int64_t max, int64_t *out,
                            struct errmsg *em)
{
    const json_t *value = json_object_get(root, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max)
        return wrong(name, "an integer in range", value, em);
    *out = json_integer_value(value);
    return ERR_OK;
}

static enum err get_references(const json_t *root, struct gen_request *out, struct errmsg *em)
{
    const json_t *list = json_object_get(root, "references");
    if (!list)
        return ERR_OK;
    if (!json_is_array(list) || json_array_size(list) > LIMIT_REFERENCES_MAX)
        return wrong("references", "a short array", list, em);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_string(value))
            return wrong("references", "an array of strings", value, em);
        out->references[i] = strdup(json_string_value(value));
        if (!out->references[i])
            return err_set(em, ERR_NOMEM, "out of memory for a request");
        out->n_references++;
    }
    return ERR_OK;
}

static enum err get_numbers(const json_t *root, struct gen_request *out, struct errmsg *em)
{
    int64_t width = 0, height = 0, quality = 0;
    enum err rc = get_integer(root, "width", SIDE_MAX_PX, &width, em);
    if (!rc)
        rc = get_integer(root, "height", SIDE_MAX_PX, &height, em);
    if (!rc)
        rc = get_integer(root, "seed", UINT32_MAX, &out->seed, em);
    if (!rc)
        rc = get_integer(root, "quality", 100, &quality, em);
    out->width_px = (unsigned)width;
    out->height_px = (unsigned)height;
    out->quality = (int)quality;
    out->enhance = json_is_true(json_object_get(root, "enhance"));
    out->references_mp = json_number_value(json_object_get(root, "references_mp"));
    return rc;
}

static enum err get_all(const json_t *root, struct gen_request *out, struct errmsg *em)
{
    enum err rc = get_text(root, "prompt", &out->prompt, em);
    if (!rc)
        rc = get_text(root, "model", &out->model, em);
    if (!rc && (!out->prompt || !out->model))
        rc = wrong(out->prompt ? "model" : "prompt", "a string", NULL, em);
    if (!rc)
        rc = get_text(root, "format", &out->format, em);
    if (!rc)
        rc = get_text(root, "webhook_url", &out->webhook_url, em);
    if (!rc)
        rc = get_text(root, "webhook_secret", &out->webhook_secret, em);
    if (!rc)
        rc = get_numbers(root, out, em);
    return rc ? rc : get_references(root, out, em);
}

enum err gen_request_read(const char *text, struct gen_request *out, struct errmsg *em)
{
    json_t *root = NULL;
    struct gen_request r = {0};
    enum err rc =
        json_parse_object(text, strlen(text), REQUEST_VALUES_MAX, "a stored request", &root, em);
    if (rc)
        return rc;
    rc = get_all(root, &r, em);
    json_decref(root);
    if (rc) {
        gen_request_deinit(&r);
        return rc;
    }
    *out = r;
    return ERR_OK;
}

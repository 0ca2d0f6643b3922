/* SPDX-License-Identifier: MIT */
/* JSON from outside, parsed by jansson inside limits. jansson spends up to a
 * hundred bytes on one byte of text ("[[],[],…"), and recurses: so the text is
 * scanned first, and its depth and number of values are bounded. */
#ifndef EASEL_FORMATS_JSON_H
#define EASEL_FORMATS_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

#define JSON_LIMIT_DEPTH 32u

/* bytes: one JSON object, UTF-8, without duplicate keys, NaN or NUL characters.
 * max_values: bound on its values (each element or member is one). name: for
 * messages. ERR_FORMAT names the line. The caller owns *root (json_decref). */
NODISCARD enum err json_parse_object(const char *bytes, size_t len, size_t max_values,
                                     const char *name, json_t **root, struct errmsg *em);

/* The same, but every number is a real: an integer of more digits than 64 bits hold, in a member
 * that nobody reads, is no error then. */
NODISCARD enum err json_parse_object_reals(const char *bytes, size_t len, size_t max_values,
                                           const char *name, json_t **root, struct errmsg *em);

/* "an integer", "a string", … for messages; NULL gives "nothing". */
const char *json_kind_name(const json_t *value);

#endif

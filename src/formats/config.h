/* SPDX-License-Identifier: MIT */
/* config.json and its kin: read with limits, asked field by field. Every getter
 * names the file and the field in its message, checks the type and the range, and
 * takes a default for an absent (or null) field, or CONFIG_REQUIRED. */
#ifndef EASEL_FORMATS_CONFIG_H
#define EASEL_FORMATS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct config;

#define CONFIG_REQUIRED (-1)

NODISCARD enum err config_open(const char *path, struct config **out, struct errmsg *em);
/* The same for a file of which only texts are asked: its numbers may be too large for 64 bits
 * (transformers writes 10^30 for "no limit"), and none of them is an integer. */
NODISCARD enum err config_open_texts(const char *path, struct config **out, struct errmsg *em);
/* bytes: JSON text; name: for messages. */
NODISCARD enum err config_parse(const char *bytes, size_t len, const char *name,
                                struct config **out, struct errmsg *em);
void config_close(struct config *c);

/* key: a field, or a path of fields with dots ("rope_parameters.rope_theta"). */
bool config_has(const struct config *c, const char *key);
/* fallback: the value when the field is absent, or CONFIG_REQUIRED. */
NODISCARD enum err config_size(const struct config *c, const char *key, size_t min, size_t max,
                               long long fallback, size_t *out, struct errmsg *em);
NODISCARD enum err config_double(const struct config *c, const char *key, double min, double max,
                                 double fallback, double *out, struct errmsg *em);
/* fallback: 0, 1 or CONFIG_REQUIRED. */
NODISCARD enum err config_bool(const struct config *c, const char *key, int fallback, bool *out,
                               struct errmsg *em);
/* *out is borrowed from the config; fallback NULL means required. */
NODISCARD enum err config_string(const struct config *c, const char *key, const char *fallback,
                                 const char **out, struct errmsg *em);
/* An array of integers, each in min…max, at most max_n of them. Absent: *n = 0. */
NODISCARD enum err config_sizes(const struct config *c, const char *key, size_t min, size_t max,
                                size_t *out, size_t max_n, size_t *n, struct errmsg *em);
/* An array of strings, borrowed. Absent: *n = 0. */
NODISCARD enum err config_strings(const struct config *c, const char *key, const char **out,
                                  size_t max_n, size_t *n, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* What the operator's commands (key, task, webhook) share: the database beside a running
 * server or without one, and how times, credits and tables look. */
#ifndef EASEL_CLI_OPERATOR_H
#define EASEL_CLI_OPERATOR_H

#include <jansson.h>

#include "cli/settings.h"
#include "store/store.h"

#define CREDITS_UNLIMITED (-1)
#define TIME_CHARS 20u /* "2026-01-31 12:00:00" and NUL */

/* One of a command's words ("list", "show ID"), and what does it: an exit code. */
struct operator_action {
    const char *name; /* NULL ends a list */
    bool has_arg;
    int (*run)(void *ctx, const char *arg); /* arg NULL without one */
};
struct operator_command {
    const char *name, *help;
    const char *hint; /* "list, show ID or …": what may be said */
    const struct own_flag *flags;
    const struct operator_action *actions;
    /* The values of its flags: 0, or the exit code after it said what is wrong. May be NULL. */
    int (*check)(void *ctx, const struct operator_action *action);
};
/* From the words to an exit code. What is wrong with them is said before the database of the data
 * folder is looked for. The settings and the store belong to ctx, for the time of the call. */
int operator_run(const struct operator_command *command, int argc, char **argv, struct settings *s,
                 struct store **st, void *ctx);
/* Print a store's error; the exit code that goes with it. */
int operator_failed(enum err rc, const struct errmsg *em);

/* "3.5", "unlimited" <-> micro-credits. */
bool operator_parse_credits(const char *text, int64_t *micro);
const char *operator_credits(int64_t micro, char *buf, size_t size);
/* Local time; "-" for 0. */
const char *operator_time(int64_t ms, char buf[TIME_CHARS]);
/* For JSON: seconds since 1970 with fraction, null for 0. */
json_t *operator_json_time(int64_t ms);
/* Cut to so many characters. */
const char *operator_cut(const char *text, size_t chars, char *buf, size_t size);
/* Print one object and free it; an exit code. */
int operator_print_json(json_t *object);

/* A list of things: rows of a table whose columns are as wide as they must be, or a JSON array.
 * Whoever adds looks at `json` to know which. On a terminal that is too narrow, the columns that
 * do not fit go on below, indented: everywhere else a row is a line. */
#define LISTING_COLUMNS_MAX 8u
struct listing {
    bool json;
    json_t *array; /* json: append objects */
    size_t n_columns, n_cells;
    char **cells; /* else: listing_cell, row by row, the head first */
    bool failed;  /* out of memory */
};
void listing_init(struct listing *l, bool json, const char *const *head, size_t n_columns);
void listing_cell(struct listing *l, const char *text);
/* Without rows: if_empty, on standard error (JSON: []). Returns an
 * exit code. */
int listing_print(const struct listing *l, const char *if_empty);
void listing_deinit(struct listing *l);

#endif

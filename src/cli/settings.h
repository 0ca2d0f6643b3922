/* SPDX-License-Identifier: MIT */
/* What the service is told, in three ways that say the same: --NAME VALUE, EASEL_NAME=VALUE
 * in the environment, and "name = value" in a file (--config FILE). A flag wins over the
 * environment, the environment over the file. One table holds the names, the bounds and the
 * help. */
#ifndef EASEL_CLI_SETTINGS_H
#define EASEL_CLI_SETTINGS_H

#include "base/buf.h"
#include "service/service.h"

/* Who knows a setting as a flag; the file and the environment may name any. */
enum { FOR_SERVE = 1u << 0, FOR_WORKER = 1u << 1, FOR_OPERATOR = 1u << 2 };

/* A command's own flags, besides the table's. */
struct own_flag {
    const char *name; /* without "--"; NULL ends a list */
    bool has_value;
    const char **value; /* its value, or "" for a flag without one; untouched if not given */
};

struct settings {
    struct service_options service;
    const char **args; /* what is no flag; into argv */
    int n_args;
    char *default_data_dir;
    struct buf file; /* the config file: texts point into it */
};

enum settings_result { SETTINGS_OK, SETTINGS_HELP, SETTINGS_WRONG };

/* Read everything for a command ("serve"). argv[0] is its name. On SETTINGS_WRONG the error was
 * printed and *exit_code says what to return. Free it in any case. */
enum settings_result settings_load(struct settings *s, const char *command, unsigned who, int argc,
                                   char **argv, const struct own_flag *own, int *exit_code);
void settings_free(struct settings *s);

/* The table's part of the help, on standard output. */
void settings_print_help(unsigned who);

#endif

/* SPDX-License-Identifier: MIT */
/* The command line: parse arguments, call one thing, print. Drawing uses easel.h and nothing
 * else of the house; the service's commands use service/ and store/. */
#ifndef EASEL_CLI_CLI_H
#define EASEL_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "easel.h"

/* Of a picture's file. */
#define CLI_PICTURE_BYTES_MAX ((size_t)256 << 20)

/* What main returns. */
enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* One command: argv[0] is its own name. */
int cmd_draw(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_worker(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_task(int argc, char **argv);
int cmd_webhook(int argc, char **argv);

/* "easel: " and the line, on standard error. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, then a hint at `easel COMMAND --help`; returns EXIT_USAGE. */
int cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Print the library's error; returns the exit code that goes with it. */
int cli_failed(enum easel_status status, const struct easel_error *error);

/* For a command with no options but --json and --help: -1 to go on with the words from optind, or
 * what the command returns. */
int cli_json_option(const char *command, const char *help, int argc, char **argv, bool *json);

/* A whole decimal number in min … max; false otherwise. */
bool cli_parse_int(const char *text, int64_t min, int64_t max, int64_t *out);
bool cli_parse_double(const char *text, double min, double max, double *out);
/* "1024x768"; any positive numbers. */
bool cli_parse_size(const char *text, unsigned *width, unsigned *height);

/* Of the terminal at fd; 80×24 if it does not say. */
struct winsize cli_screen_size(int fd);

/* Options that several commands have: the value goes to *out, or a message is printed; an exit
 * code. A reference's bytes are freed with easel_free. */
int cli_option_steps(const char *command, const char *arg, unsigned *out);
int cli_option_threads(const char *command, const char *arg, unsigned *out);
int cli_option_reference(const char *path, struct easel_reference *out);

/* The seconds of each stage, by its name. */
json_t *cli_json_seconds(const struct easel_picture *p);
/* Print an object, where NULL is one that could not be made, and free it; an exit code. flags:
 * jansson's. */
int cli_print_json(json_t *object, size_t flags);
/* How many bytes at p are a control character, which a terminal would obey (ASCII's, DEL, and
 * U+0080 to U+009F in UTF-8); 0: none. */
size_t cli_control_length(const char *p);
/* Text of others as one line of a table: white space becomes a space, any other control character
 * a ? for each of its bytes. In place, returned. */
char *cli_make_plain(char *text);
/* Text of others, as it is safe on a terminal: control characters become \x1b and the like, and
 * after a line end come indent spaces. */
void cli_print_text(const char *text, int indent);

/* Ctrl-C and SIGTERM: the first asks to stop, the second ends the program. */
void cli_catch_interrupts(void);
bool cli_interrupted(void);

/* "12 s", "3 min 20 s"; "940 kB", "7.8 GB". Into buf, returned. */
const char *cli_duration(double seconds, char *buf, size_t size);
const char *cli_bytes(uint64_t bytes, char *buf, size_t size);

#endif

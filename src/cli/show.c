/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define PICTURE_FILE_BYTES_MAX ((size_t)256 << 20)

static const char help[] =
    "Usage: easel show FILE [--json]\n"
    "\n"
    "Print what a picture drawn by Easel says of itself, and the command that draws\n"
    "it again.\n"
    "\n"
    "Example:\n"
    "  easel show apple.png\n";

/* The keys that easel writes, in the order they are shown in. */
enum { KEY_PROMPT, KEY_ENHANCED, KEY_MODEL, KEY_SIZE, KEY_SEED, KEY_STEPS, KEY_GUIDANCE,
       KEY_REFERENCES, KEY_SOFTWARE, N_KEYS };
static const char *const key_names[N_KEYS] = {"prompt", "enhanced_prompt", "model", "size", "seed",
                                              "steps", "guidance", "references", "Software"};

struct picture_facts {
    char *values[N_KEYS];
};

static void on_text(void *user, const char *key, const char *value)
{
    struct picture_facts *f = user;
    for (int i = 0; i < N_KEYS; i++)
        if (!strcmp(key, key_names[i]) && !f->values[i])
            f->values[i] = strdup(value);
}

/* A word for the shell, in single quotes. */
static void print_quoted(const char *s)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
    if (*s && s[strspn(s, plain)] == '\0') {
        fputs(s, stdout);
        return;
    }
    putchar('\'');
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*s);
    }
    putchar('\'');
}

/* The command that draws the picture again. An enhanced prompt is given as it was
 * drawn: writing it anew would be slower and no surer. */
static void print_command(const struct picture_facts *f)
{
    static const struct {
        int key;
        const char *option;
    } options[] = {{KEY_MODEL, "-m"}, {KEY_SIZE, "-s"}, {KEY_SEED, "--seed"},
                   {KEY_STEPS, "--steps"}, {KEY_GUIDANCE, "--guidance"}};
    const char *prompt = f->values[KEY_ENHANCED] ? f->values[KEY_ENHANCED] : f->values[KEY_PROMPT];
    bool like_an_option = prompt[0] == '-'; /* then it stands behind them all */
    fputs("\nDraw it again:\n  easel draw", stdout);
    if (!like_an_option) {
        putchar(' ');
        print_quoted(prompt);
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (f->values[options[i].key]) {
            printf(" %s ", options[i].option);
            print_quoted(f->values[options[i].key]);
        }
    int64_t n = 0;
    if (f->values[KEY_REFERENCES] && cli_parse_int(f->values[KEY_REFERENCES], 1, 10, &n))
        for (int64_t i = 0; i < n; i++)
            printf(" -i REFERENCE%lld", (long long)i + 1);
    if (like_an_option) {
        fputs(" -- ", stdout);
        print_quoted(prompt);
    }
    putchar('\n');
}

static void print_facts(const struct picture_facts *f, unsigned width, unsigned height)
{
    printf("%-16s %ux%u\n", "picture", width, height);
    for (int i = 0; i < N_KEYS; i++)
        if (f->values[i])
            printf("%-16s %s\n", key_names[i], f->values[i]);
}

static void print_json(const struct picture_facts *f, unsigned width, unsigned height)
{
    json_t *o = json_pack("{s:i, s:i}", "width", (int)width, "height", (int)height);
    for (int i = 0; i < N_KEYS; i++)
        if (f->values[i])
            json_object_set_new(o, key_names[i], json_string(f->values[i]));
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

static int show(const char *path, bool json)
{
    struct picture_facts facts = {{NULL}};
    struct easel_error error;
    unsigned width = 0, height = 0;
    void *bytes = NULL;
    size_t len = 0;
    int rc = 0;
    enum easel_status status = easel_file_read(path, PICTURE_FILE_BYTES_MAX, &bytes, &len, &error);
    if (!status)
        status = easel_metadata_read(bytes, len, on_text, &facts, &width, &height, &error);
    if (status) {
        cli_error("%s%s%s", strstr(error.message, path) ? "" : path,
                  strstr(error.message, path) ? "" : ": ", error.message);
        rc = EXIT_FAILED;
    } else if (json) {
        print_json(&facts, width, height);
    } else {
        for (int i = 0; i < N_KEYS; i++)
            if (facts.values[i])
                cli_make_plain(facts.values[i], "\n\t");
        print_facts(&facts, width, height);
        if (facts.values[KEY_PROMPT])
            print_command(&facts);
        else
            printf("\nThis picture carries no prompt: Easel did not draw it, or its metadata was "
                   "removed.\n");
    }
    easel_free(bytes);
    for (int i = 0; i < N_KEYS; i++)
        free(facts.values[i]);
    return rc;
}

int cmd_show(int argc, char **argv)
{
    bool json;
    int code = cli_json_option("show", help, argc, argv, &json);
    if (code >= 0)
        return code;
    if (optind + 1 != argc)
        return cli_usage("show", "name one picture file");
    return show(argv[optind], json);
}

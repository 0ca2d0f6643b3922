/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char help[] =
    "Usage: easel show FILE [--json]\n"
    "\n"
    "Print what a picture drawn by Easel says of itself, and the command that draws\n"
    "it again.\n"
    "\n"
    "Example:\n"
    "  easel show apple.png\n";

/* The keys that easel writes, in the order they are shown in. */
enum {
    KEY_PROMPT,
    KEY_ENHANCED,
    KEY_MODEL,
    KEY_TRANSFORMER,
    KEY_AUTOENCODER,
    KEY_SIZE,
    KEY_SEED,
    KEY_STEPS,
    KEY_GUIDANCE,
    KEY_REFERENCES,
    KEY_SOFTWARE,
    N_KEYS
};
static const char *const key_names[N_KEYS] = {
    "prompt", "enhanced_prompt", "model",    "transformer_file", "autoencoder_file", "size",
    "seed",   "steps",           "guidance", "references",       "Software"};

#define NAME_COLUMNS 16

struct picture_facts {
    const char *format; /* of the file */
    unsigned width, height;
    char *values[N_KEYS];
};

static void on_text(void *user, const char *key, const char *value)
{
    struct picture_facts *f = user;
    for (int i = 0; i < N_KEYS; i++)
        if (!strcmp(key, key_names[i]) && !f->values[i])
            f->values[i] = strdup(value);
}

/* Whether a terminal would obey some of it; line ends and tabs are taken for harmless. */
static bool has_controls(const char *s)
{
    for (; *s; s++)
        if (*s != '\n' && *s != '\t' && cli_control_length(s))
            return true;
    return false;
}

/* In single quotes; control characters need the form that bash, zsh and ksh have for them. */
static void print_quoted(const char *s)
{
    bool escapes = has_controls(s);
    fputs(escapes ? "$'" : "'", stdout);
    while (*s) {
        size_t n = escapes ? cli_control_length(s) : 0;
        for (size_t i = 0; i < n; i++)
            printf("\\%03o", (unsigned char)s[i]);
        s += n;
        if (n)
            continue;
        if (*s == '\'')
            fputs(escapes ? "\\'" : "'\\''", stdout);
        else if (*s == '\\' && escapes)
            fputs("\\\\", stdout);
        else
            putchar(*s);
        s++;
    }
    putchar('\'');
}

/* A word for the shell. The file may come from anywhere, and its words are meant to be run. */
static void print_word(const char *s)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (*s && !s[strspn(s, plain)])
        fputs(s, stdout);
    else
        print_quoted(s);
}

/* The command that draws the picture again. An enhanced prompt is given as it was
 * drawn: writing it anew would be slower and no surer. A prompt that looks like an option goes
 * last, and one that means standard input goes there. */
static void print_command(const struct picture_facts *f)
{
    static const struct {
        int key;
        const char *option;
    } options[] = {{KEY_MODEL, "-m"},           {KEY_TRANSFORMER, "--transformer"},
                   {KEY_AUTOENCODER, "--vae"},  {KEY_SIZE, "-s"},
                   {KEY_SEED, "--seed"},        {KEY_STEPS, "--steps"},
                   {KEY_GUIDANCE, "--guidance"}};
    const char *prompt = f->values[KEY_ENHANCED] ? f->values[KEY_ENHANCED] : f->values[KEY_PROMPT];
    bool is_last = prompt[0] == '-' && prompt[1];
    printf("\nDraw it again:\n  %seasel draw", strcmp(prompt, "-") ? "" : "echo - | ");
    if (!is_last) {
        putchar(' ');
        print_quoted(prompt);
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (f->values[options[i].key]) {
            printf(" %s ", options[i].option);
            print_word(f->values[options[i].key]);
        }
    if (f->format && strcmp(f->format, "png"))
        printf(" --format %s", f->format);
    int64_t n = 0;
    if (f->values[KEY_REFERENCES] && cli_parse_int(f->values[KEY_REFERENCES], 1, 10, &n))
        for (int64_t i = 0; i < n; i++)
            printf(" -i REFERENCE%lld", (long long)i + 1);
    if (is_last) {
        fputs(" -- ", stdout);
        print_quoted(prompt);
    }
    putchar('\n');
}

struct search {
    const char *name;
    bool found;
};

static void compare_name(void *user, const char *name, const char *path, const char *error)
{
    struct search *s = user;
    (void)path;
    (void)error;
    s->found = s->found || !strcmp(name, s->name);
}

/* What the command needs that the picture does not hold. */
static void print_hints(const struct picture_facts *f)
{
    struct search s = {.name = f->values[KEY_MODEL]};
    if (s.name && !easel_model_list(compare_name, &s, NULL) && !s.found)
        printf("\nThe model is not installed here under that name: put its folder after -m.\n");
    if (f->values[KEY_TRANSFORMER] || f->values[KEY_AUTOENCODER])
        printf("\nIt was drawn with single files: put their folders before their names.\n");
}

static void print_facts(const struct picture_facts *f)
{
    printf("%-*s %ux%u\n", NAME_COLUMNS, "picture", f->width, f->height);
    for (int i = 0; i < N_KEYS; i++)
        if (f->values[i]) {
            printf("%-*s ", NAME_COLUMNS, key_names[i]);
            cli_print_text(f->values[i], NAME_COLUMNS + 1);
            putchar('\n');
        }
    if (f->values[KEY_PROMPT]) {
        print_hints(f);
        print_command(f);
    } else {
        printf("\nThis picture carries no prompt: Easel did not draw it, or its metadata was "
               "removed.\n");
    }
}

static int print_json(const struct picture_facts *f)
{
    json_t *o = json_pack("{s:i, s:i}", "width", (int)f->width, "height", (int)f->height);
    for (int i = 0; i < N_KEYS; i++)
        if (f->values[i])
            json_object_set_new(o, key_names[i], json_string(f->values[i]));
    return cli_print_json(o, JSON_COMPACT);
}

static int show(const char *path, bool json)
{
    struct picture_facts facts = {0};
    struct easel_error error;
    void *bytes = NULL;
    size_t len = 0;
    int rc = 0;
    enum easel_status status = easel_file_read(path, CLI_PICTURE_BYTES_MAX, &bytes, &len, &error);
    if (!status)
        status =
            easel_metadata_read(bytes, len, on_text, &facts, &facts.width, &facts.height, &error);
    facts.format = status ? NULL : easel_format_of_bytes(bytes, len);
    if (status) {
        bool is_named = strstr(error.message, path);
        cli_error("%s%s%s", is_named ? "" : path, is_named ? "" : ": ", error.message);
        rc = EXIT_FAILED;
    } else if (json) {
        rc = print_json(&facts);
    } else {
        print_facts(&facts);
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

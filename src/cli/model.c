/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const char help[] =
    "Usage: easel model list [--json]\n"
    "       easel model show [MODEL] [--json]\n"
    "       easel model random SHAPE DIR\n"
    "\n"
    "  list    the installed models\n"
    "  show    a model's parts, parameters, memory needed, licence, defaults\n"
    "          (MODEL: a name or a folder; default: the embedded one)\n"
    "  random  write a model of a known shape with random weights, for timing:\n"
    "          klein-4b, klein-base-4b, klein-9b, klein-base-9b, dev, tiny or tiny-dev\n"
    "\n"
    "A model is a folder in the diffusers layout. To install one, put it into\n"
    "~/.local/share/easel/models, or name its parent folder in $EASEL_MODELS.\n"
    "\n"
    "Examples:\n"
    "  easel model show nano\n"
    "  easel model random klein-4b /tmp/klein && easel bench model /tmp/klein -s 256x256\n";

struct listed {
    json_t *array; /* NULL: print rows */
    size_t n;
    bool failed;
};

static void list_one(void *user, const char *name, const char *path, const char *error)
{
    struct listed *l = user;
    l->n++;
    if (l->array) {
        json_t *o = json_pack("{s:s, s:s, s:s?}", "name", name, "folder", path, "error", error);
        l->failed = json_array_append_new(l->array, o) || l->failed;
        return;
    }
    printf("%-20s %s\n", name, path);
    if (error)
        printf("%-20s cannot be used: %s\n", "", error);
}

static int list(bool json)
{
    struct easel_error error;
    struct listed l = {.array = json ? json_array() : NULL};
    enum easel_status status = easel_model_list(list_one, &l, &error);
    if (status || l.failed) {
        json_decref(l.array);
        return status ? cli_failed(status, &error) : cli_print_json(NULL, 0);
    }
    if (json)
        return cli_print_json(l.array, JSON_INDENT(2));
    if (!l.n)
        printf("No model is installed. Put a folder in the diffusers layout into "
               "~/.local/share/easel/models,\nor name its parent folder in $EASEL_MODELS.\n");
    return 0;
}

static const char *millions(uint64_t n, char *buf, size_t size)
{
    if (n < 1000000000)
        snprintf(buf, size, "%.1f M", (double)n / 1e6);
    else
        snprintf(buf, size, "%.2f B", (double)n / 1e9);
    return buf;
}

/* A text that the model's files may have worded. */
static void print_fact(const char *name, const char *text)
{
    printf("%-14s ", name);
    cli_print_text(text, 15);
    putchar('\n');
}

static void print_text(const struct easel_model_info *m)
{
    char n[32], b[32];
    print_fact("name", m->name);
    print_fact("folder", m->path);
    if (*m->description)
        print_fact("", m->description);
    print_fact("licence", *m->licence ? m->licence : "not stated here; see the model's own page");
    for (unsigned i = 0; i < m->n_parts; i++)
        printf("%-14s %s parameters, %s: %s\n", m->parts[i].name,
               millions(m->parts[i].n_params, n, sizeof n),
               cli_bytes(m->parts[i].weight_bytes, b, sizeof b), m->parts[i].summary);
    printf("%-14s about %s for a picture of 1024x768, weights included\n", "memory",
           cli_bytes(m->memory_bytes, b, sizeof b));
    printf("%-14s %u steps, guidance %g%s, prompts of up to %u tokens\n", "defaults", m->steps,
           m->guidance, m->uses_cfg ? " (two passes a step)" : "", m->max_tokens);
    if (m->native_pixels)
        printf("%-14s at about %llu pixels, then enlarged to the asked size\n", "draws",
               (unsigned long long)m->native_pixels);
    if (m->references_max)
        printf("%-14s up to %u\n", "references", m->references_max);
    else
        printf("%-14s none (it never learned to edit)\n", "references");
    printf("%-14s %s\n", "enhancement",
           m->can_enhance ? "yes" : "no (its text encoder has no output head)");
    printf("%-14s %s kernels, %u threads\n", "runs on", m->cpu, m->n_threads);
}

static int print_json(const struct easel_model_info *m)
{
    json_t *parts = json_array();
    for (unsigned i = 0; i < m->n_parts; i++)
        json_array_append_new(
            parts, json_pack("{s:s, s:s, s:I, s:I}", "name", m->parts[i].name, "summary",
                             m->parts[i].summary, "parameters", (json_int_t)m->parts[i].n_params,
                             "weight_bytes", (json_int_t)m->parts[i].weight_bytes));
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:i, s:f, s:b, s:b, s:I, s:i, s:i, s:I, s:s, s:i}", "name",
        m->name, "folder", m->path, "description", m->description, "licence", m->licence,
        "architecture", m->architecture, "parts", parts, "steps", (int)m->steps, "guidance",
        m->guidance, "uses_cfg", m->uses_cfg, "can_enhance", m->can_enhance, "native_pixels",
        (json_int_t)m->native_pixels, "max_tokens", (int)m->max_tokens, "references_max",
        (int)m->references_max, "memory_bytes", (json_int_t)m->memory_bytes, "cpu", m->cpu,
        "threads", (int)m->n_threads);
    return cli_print_json(o, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
}

static int show(const char *name, bool json)
{
    struct easel_model_options options;
    struct easel_model *model = NULL;
    struct easel_error error;
    int rc = 0;
    easel_model_defaults(&options);
    options.cpu = getenv("EASEL_CPU");
    enum easel_status status = easel_model_open(name, &options, &model, &error);
    if (status)
        return cli_failed(status, &error);
    if (json)
        rc = print_json(easel_model_info(model));
    else
        print_text(easel_model_info(model));
    easel_model_close(model);
    return rc;
}

static int on_progress(void *user, double fraction)
{
    int *last = user, percent = (int)(100 * fraction);
    if (percent != *last && isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kwriting %d %%", percent);
    *last = percent;
    return cli_interrupted();
}

static int write_random(const char *shape, const char *dir)
{
    struct easel_error error;
    int last = -1;
    cli_catch_interrupts();
    enum easel_status status = easel_model_write_random(shape, dir, on_progress, &last, &error);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (status)
        return cli_failed(status, &error);
    printf("%s\n", dir);
    return 0;
}

int cmd_model(int argc, char **argv)
{
    bool json;
    int code = cli_json_option("model", help, argc, argv, &json);
    if (code >= 0)
        return code;
    int n = argc - optind;
    char **args = argv + optind;
    if (n == 1 && !strcmp(args[0], "list"))
        return list(json);
    if ((n == 1 || n == 2) && !strcmp(args[0], "show"))
        return show(n == 2 ? args[1] : NULL, json);
    if (n == 3 && !strcmp(args[0], "random") && !json)
        return write_random(args[1], args[2]);
    return cli_usage("model", "say list [--json], show [MODEL] [--json], or random SHAPE DIR");
}

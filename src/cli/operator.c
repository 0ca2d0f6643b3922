/* SPDX-License-Identifier: MIT */
#include "cli/operator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"

#define CREDITS_MAX 1e12
#define CELLS_GROW 256u
#define COLUMN_GAP 2u

int operator_failed(enum err rc, const struct errmsg *em)
{
    cli_error("%s", em->text);
    return rc == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

/* On failure the error was printed and *exit_code set. */
static bool open_store(const struct settings *s, struct store **st, int *exit_code)
{
    struct errmsg em = {""};
    struct store_options options = {.must_exist = true,
                                    .queue_max = s->service.queue_max,
                                    .result_lifetime_ms = s->service.result_lifetime_ms};
    char *path = service_database_path(s->service.data_dir);
    enum err rc = path ? ERR_OK : err_nomem(&em, strlen(s->service.data_dir));
    if (!rc && !file_exists(path))
        rc = err_set(&em, ERR_NOTFOUND,
                     "there is no database in %s; name the server's data folder with --data, or "
                     "start easel serve first",
                     s->service.data_dir);
    if (!rc) {
        options.path = path;
        rc = store_open(&options, st, &em);
    }
    free(path);
    if (rc)
        *exit_code = operator_failed(rc, &em);
    return rc == ERR_OK;
}

static const struct operator_action *find_action(const struct operator_command *c,
                                                 const struct settings *s)
{
    for (const struct operator_action *a = c->actions; s->n_args && a->name; a++)
        if (!strcmp(s->args[0], a->name) && s->n_args == 1 + a->has_arg)
            return a;
    return NULL;
}

int operator_run(const struct operator_command *command, int argc, char **argv, struct settings *s,
                 struct store **st, void *ctx)
{
    int code = 0;
    const struct operator_action *action = NULL;
    enum settings_result result =
        settings_load(s, command->name, FOR_OPERATOR, argc, argv, command->flags, &code);
    if (result == SETTINGS_HELP) {
        fputs(command->help, stdout);
    } else if (result == SETTINGS_OK) {
        action = find_action(command, s);
        if (!action)
            code = cli_usage(command->name, "say %s", command->hint);
        else if (command->check)
            code = command->check(ctx, action);
    }
    if (action && !code && open_store(s, st, &code))
        code = action->run(ctx, action->has_arg ? s->args[1] : NULL);
    store_close(*st);
    settings_free(s);
    return code;
}

/* ---- values ---- */

bool operator_parse_credits(const char *text, int64_t *micro)
{
    double v;
    if (!strcmp(text, "unlimited")) {
        *micro = CREDITS_UNLIMITED;
        return true;
    }
    if (!cli_parse_double(text, 0, CREDITS_MAX, &v))
        return false;
    *micro = (int64_t)llround(v * 1e6);
    return true;
}

const char *operator_credits(int64_t micro, char *buf, size_t size)
{
    if (micro < 0)
        snprintf(buf, size, "unlimited");
    else
        snprintf(buf, size, "%.15g", (double)micro / 1e6);
    return buf;
}

const char *operator_time(int64_t ms, char buf[TIME_CHARS])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    if (!ms || !localtime_r(&seconds, &parts) ||
        !strftime(buf, TIME_CHARS, "%Y-%m-%d %H:%M:%S", &parts))
        snprintf(buf, TIME_CHARS, "-");
    return buf;
}

json_t *operator_json_time(int64_t ms)
{
    return ms ? json_real((double)ms / 1000) : json_null();
}

const char *operator_cut(const char *text, size_t chars, char *buf, size_t size)
{
    size_t n = 0, shown = 0;
    const char *p = text;
    for (; *p && n + 8 < size; p++) {
        bool starts = ((unsigned char)*p & 0xc0) != 0x80; /* UTF-8: a character's first byte */
        if (starts && shown++ == chars)
            break;
        buf[n++] = *p;
    }
    snprintf(buf + n, size - n, "%s", *p ? "…" : "");
    return buf;
}

int operator_print_json(json_t *object)
{
    return cli_print_json(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
}

/* ---- lists ---- */

void listing_init(struct listing *l, bool json, const char *const *head, size_t n_columns)
{
    *l = (struct listing){.json = json, .n_columns = n_columns};
    if (json)
        l->array = json_array();
    for (size_t i = 0; !json && i < n_columns; i++)
        listing_cell(l, head[i]);
}

void listing_cell(struct listing *l, const char *text)
{
    if (l->n_cells % CELLS_GROW == 0) {
        char **more = realloc(l->cells, (l->n_cells + CELLS_GROW) * sizeof *more);
        l->failed |= !more;
        if (!more)
            return;
        l->cells = more;
    }
    char *cell = strdup(text);
    l->failed |= !cell;
    if (cell)
        l->cells[l->n_cells++] = cli_make_plain(cell);
}

/* Characters on the terminal, where each of UTF-8's takes one column. */
static size_t text_width(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Where each column stands: below the row's first line if it would end beyond the screen. */
struct layout {
    struct {
        size_t line, at, width;
    } columns[LISTING_COLUMNS_MAX];
};

static struct layout lay_out(const struct listing *l, size_t screen)
{
    struct layout y = {0};
    size_t line = 0, at = 0;
    for (size_t i = 0; i < l->n_cells; i++) {
        size_t w = text_width(l->cells[i]), column = i % l->n_columns;
        y.columns[column].width = w > y.columns[column].width ? w : y.columns[column].width;
    }
    for (size_t i = 0; i < l->n_columns; i++) {
        if (i && at + y.columns[i].width > screen) {
            line++;
            at = COLUMN_GAP;
        }
        y.columns[i].line = line;
        y.columns[i].at = at;
        at += y.columns[i].width + COLUMN_GAP;
    }
    return y;
}

static void print_row(const struct layout *y, char *const *cells, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && y->columns[i].line != y->columns[i - 1].line) {
            putchar('\n');
            at = 0;
        }
        printf("%*s%s", (int)(y->columns[i].at - at), "", cells[i]);
        at = y->columns[i].at + text_width(cells[i]);
    }
    putchar('\n');
}

static void print_rows(const struct listing *l)
{
    size_t screen = isatty(STDOUT_FILENO) ? cli_screen_size(STDOUT_FILENO).ws_col : SIZE_MAX;
    struct layout y = lay_out(l, screen);
    for (size_t i = 0; i < l->n_cells; i += l->n_columns)
        print_row(&y, l->cells + i, l->n_columns);
}

int listing_print(const struct listing *l, const char *if_empty)
{
    if (l->json)
        return operator_print_json(json_incref(l->array));
    if (l->failed) {
        cli_error("out of memory");
        return EXIT_FAILED;
    }
    if (l->n_cells > l->n_columns)
        print_rows(l);
    else
        fprintf(stderr, "%s\n", if_empty);
    return 0;
}

void listing_deinit(struct listing *l)
{
    json_decref(l->array);
    for (size_t i = 0; i < l->n_cells; i++)
        free(l->cells[i]);
    free(l->cells);
    *l = (struct listing){0};
}

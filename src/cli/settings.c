/* SPDX-License-Identifier: MIT */
#include "cli/settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "cli/cli.h"

#define CONFIG_BYTES_MAX ((size_t)64 << 10)
#define NAME_CHARS_MAX 32u
#define SOURCE_CHARS_MAX 256u
#define HELP_INDENT 8

enum kind { TEXT, URL, COUNT_U, COUNT_Z, HOURS, NUMBER, FLAG, FLAG_OFF };

struct setting {
    const char *name;  /* as flag and in the file; EASEL_NAME in the environment */
    const char *value; /* what its value is called */
    enum kind kind;
    unsigned who;
    size_t offset; /* in struct service_options */
    double min, max;
    bool is_secret; /* its value is in no message */
    const char *help;
};

#define AT(field) offsetof(struct service_options, field)
#define ALL (FOR_SERVE | FOR_WORKER | FOR_OPERATOR)
#define BOTH (FOR_SERVE | FOR_WORKER)

static const struct setting table[] = {
    {"data", "DIR", TEXT, ALL, AT(data_dir), 0, 0, false,
     "database, pictures, secrets (default: ~/.local/share/easel;\nfor root /var/lib/easel)"},
    {"listen", "HOST:PORT", TEXT, FOR_SERVE, AT(listen), 0, 0, false,
     "where to listen (default: 127.0.0.1:8080); port 0: any free one"},
    {"model", "MODEL", TEXT, BOTH, AT(model), 0, 0, false,
     "an installed model's name, or a folder (default: the embedded one)"},
    {"workers", "N", COUNT_U, FOR_SERVE, AT(n_workers), 0, WORKERS_MAX, false,
     "processes that draw (default: 1); 0: start easel worker yourself"},
    {"threads", "N", COUNT_U, BOTH, AT(n_threads), 0, LIMIT_THREADS_MAX, false,
     "of each worker (default: 0, the processors shared out)"},
    {"public-url", "URL", URL, FOR_SERVE, AT(public_url), 0, 0, false,
     "how clients reach the service, for links to pictures\n(default: as each request says)"},
    {"webhook-secret", "SECRET", TEXT, FOR_SERVE, AT(webhook_secret), 0, 0, true,
     "signs webhooks (default: made on the first run); as a flag,\n"
     "others can see it in ps: use the environment or the file"},
    {"allow-private-webhooks", NULL, FLAG, FOR_SERVE, AT(allow_private_webhooks), 0, 0, false,
     "deliver webhooks to private and loopback addresses, too"},
    {"queue-max", "N", COUNT_Z, FOR_SERVE, AT(queue_max), 1, 1e7, false,
     "tasks that may wait (default: 1000); then clients get 503"},
    {"result-hours", "X", HOURS, BOTH, AT(result_lifetime_ms), 0.0001, 24 * 3650, false,
     "how long pictures and their links live (default: 24)"},
    {"price-output", "X", NUMBER, FOR_SERVE, AT(price_output_mp), 0, 1e6, false,
     "credits for a megapixel drawn (default: 1)"},
    {"price-reference", "X", NUMBER, FOR_SERVE, AT(price_reference_mp), 0, 1e6, false,
     "credits for a megapixel of reference pictures (default: 1)"},
    {"no-previews", NULL, FLAG_OFF, BOTH, AT(previews), 0, 0, false,
     "do not show pictures while they form: a little faster"},
    {"grace", "SECONDS", COUNT_U, FOR_SERVE, AT(grace_s), 0, 86400, false,
     "on SIGTERM, for the running picture to finish (default: 30)"},
    {"log", "FILE", TEXT, BOTH, AT(log_file), 0, 0, false,
     "(default: standard error); opened anew on SIGHUP"},
    {"access-log", "FILE", TEXT, FOR_SERVE, AT(access_log_file), 0, 0, false,
     "a JSON line for each request (default: none)"},
    {"http-threads", "N", COUNT_U, FOR_SERVE, AT(http_threads), 0, LIMIT_THREADS_MAX, false,
     "(default: 0, one for each processor, at least 4)"},
    {"stub", NULL, FLAG, BOTH, AT(stub), 0, 0, false,
     "draw nothing but plain pictures, at once: for load tests"},
};
enum { N_SETTINGS = sizeof table / sizeof *table };

/* ---- one value ---- */

static void *field(struct service_options *o, const struct setting *d)
{
    return (char *)o + d->offset;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
            *out = !strcmp(text, yes[i]);
            return true;
        }
    }
    return false;
}

static int wrong(const char *command, const struct setting *d, const char *source, const char *text,
                 const char *expected)
{
    if (d->is_secret)
        return cli_usage(command, "%s must be %s", source, expected);
    return cli_usage(command, "%s must be %s, not \"%s\"", source, expected, text);
}

static int set_number(const char *command, struct service_options *o, const struct setting *d,
                      const char *source, const char *text)
{
    char expected[80];
    double v = 0;
    int64_t n = 0;
    bool whole = d->kind == COUNT_U || d->kind == COUNT_Z;
    bool ok = whole ? cli_parse_int(text, (int64_t)d->min, (int64_t)d->max, &n)
                    : cli_parse_double(text, d->min, d->max, &v);
    if (!ok) {
        snprintf(expected, sizeof expected, "a %snumber from %.9g to %.9g", whole ? "whole " : "",
                 d->min, d->max);
        return wrong(command, d, source, text, expected);
    }
    if (d->kind == COUNT_U)
        *(unsigned *)field(o, d) = (unsigned)n;
    else if (d->kind == COUNT_Z)
        *(size_t *)field(o, d) = (size_t)n;
    else if (d->kind == HOURS)
        *(int64_t *)field(o, d) = (int64_t)(v * 3600e3);
    else
        *(double *)field(o, d) = v;
    return 0;
}

/* "https://draw.example.org", also with a path: what can stand before "/v1/…". */
static bool is_base_url(const char *text)
{
    const char *host = strstr(text, "://");
    if ((strncmp(text, "http://", 7) && strncmp(text, "https://", 8)) || !host)
        return false;
    host += 3;
    return *host && !strchr("/:", *host) && !strpbrk(host, "?#@\" ");
}

/* source: "--listen", "EASEL_LISTEN" or "easel.conf, line 3: listen". */
static int set_value(const char *command, struct service_options *o, const struct setting *d,
                     const char *source, const char *text)
{
    bool on = false;
    switch (d->kind) {
    case URL:
        if (!is_base_url(text))
            return wrong(command, d, source, text,
                         "an http:// or https:// address without \"?\" and \"#\"");
        break;
    case FLAG:
    case FLAG_OFF:
        if (!parse_bool(text, &on))
            return wrong(command, d, source, text, "yes or no");
        *(bool *)field(o, d) = d->kind == FLAG ? on : !on;
        return 0;
    case TEXT:
        break;
    default:
        return set_number(command, o, d, source, text);
    }
    if (!*text)
        return cli_usage(command, "%s is empty", source);
    *(const char **)field(o, d) = text;
    return 0;
}

/* ---- the file ---- */

static const struct setting *find(const char *name, size_t len)
{
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (strlen(table[i].name) == len && !memcmp(table[i].name, name, len))
            return &table[i];
    return NULL;
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    return text;
}

/* From a # that begins the line or a word: one within a word is a part of it. */
static void cut_comment(char *line)
{
    for (char *hash = strchr(line, '#'); hash; hash = strchr(hash + 1, '#'))
        if (hash == line || isspace((unsigned char)hash[-1])) {
            *hash = '\0';
            return;
        }
}

static bool is_quoted(const char *text)
{
    size_t n = strlen(text);
    return n > 1 && strchr("\"'", text[0]) && text[n - 1] == text[0];
}

static int read_line(const char *command, struct service_options *o, const char *path,
                     unsigned number, char *line)
{
    char source[SOURCE_CHARS_MAX];
    cut_comment(line);
    char *text = trim(line);
    if (!*text)
        return 0;
    char *equals = strchr(text, '=');
    if (!equals)
        return cli_usage(command, "%s, line %u: say \"name = value\", or # for a comment", path,
                         number);
    *equals = '\0';
    char *name = trim(text);
    const struct setting *d = find(name, strlen(name));
    if (!d)
        return cli_usage(command, "%s, line %u: there is no setting \"%s\"", path, number, name);
    snprintf(source, sizeof source, "%s, line %u: %s", path, number, name);
    char *value = trim(equals + 1);
    if (is_quoted(value)) /* they would be a part of it, which nobody means */
        return cli_usage(command, "%s: write the value without quotes", source);
    return set_value(command, o, d, source, value);
}

static int read_config(const char *command, struct settings *s, const char *path)
{
    struct errmsg em;
    unsigned number = 0;
    int rc = 0;
    if (file_read(path, CONFIG_BYTES_MAX, &s->file, &em)) {
        cli_error("%s", em.text);
        return EXIT_FAILED;
    }
    char *rest = (char *)s->file.ptr;
    if (rest && strlen(rest) != s->file.len)
        return cli_usage(command, "%s is no text: it holds a NUL byte", path);
    while (!rc && rest && *rest) {
        char *line = strsep(&rest, "\n");
        rc = read_line(command, &s->service, path, ++number, line);
    }
    return rc;
}

/* ---- the environment ---- */

static void env_name(const char *name, char out[NAME_CHARS_MAX + 6])
{
    size_t n =
        (size_t)snprintf(out, NAME_CHARS_MAX + 6, "EASEL_%.*s", (int)NAME_CHARS_MAX - 1, name);
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* Empty counts as not set. */
static const char *env_value(const char *name, char variable[NAME_CHARS_MAX + 6])
{
    env_name(name, variable);
    const char *text = getenv(variable);
    return text && *text ? text : NULL;
}

static int read_environment(const char *command, struct service_options *o)
{
    char variable[NAME_CHARS_MAX + 6];
    int rc = 0;
    for (size_t i = 0; !rc && i < N_SETTINGS; i++) {
        const char *text = env_value(table[i].name, variable);
        if (text)
            rc = set_value(command, o, &table[i], variable, text);
    }
    return rc;
}

/* ---- the command line ---- */

struct given {
    const char *values[N_SETTINGS]; /* NULL: not given */
    const char *config;
    bool help;
};

/* Where the value of a flag goes, or NULL for an unknown flag. */
static const char **flag_target(struct given *g, unsigned who, const struct own_flag *own,
                                const char *name, size_t len, bool *has_value)
{
    *has_value = true;
    if (len == 6 && !memcmp(name, "config", 6))
        return &g->config;
    for (; own && own->name; own++) {
        *has_value = own->has_value;
        if (strlen(own->name) == len && !memcmp(own->name, name, len))
            return own->value;
    }
    const struct setting *d = find(name, len);
    if (!d || !(d->who & who))
        return NULL;
    *has_value = d->kind != FLAG && d->kind != FLAG_OFF;
    return &g->values[d - table];
}

/* argv[*i], which begins with "--", and its value. */
static int read_flag(const char *command, struct given *g, unsigned who, const struct own_flag *own,
                     int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    bool has_value;
    const char **target = flag_target(g, who, own, name, len, &has_value);
    if (!target)
        return cli_usage(command, "--%.*s is not an option", (int)len, name);
    if (!has_value && equals)
        return cli_usage(command, "--%.*s takes no value", (int)len, name);
    if (!has_value)
        *target = "yes";
    else if (equals)
        *target = equals + 1;
    else if (*i + 1 < argc)
        *target = argv[++*i];
    else
        return cli_usage(command, "--%s lacks its value", name);
    return 0;
}

static int read_arguments(const char *command, struct settings *s, struct given *g, unsigned who,
                          const struct own_flag *own, int argc, char **argv)
{
    bool only_args = false;
    int rc = 0;
    for (int i = 1; !rc && i < argc; i++) {
        if (only_args || argv[i][0] != '-' || !argv[i][1])
            s->args[s->n_args++] = argv[i];
        else if (!strcmp(argv[i], "--"))
            only_args = true;
        else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
            g->help = true;
        else if (argv[i][1] == '-')
            rc = read_flag(command, g, who, own, argc, argv, &i);
        else
            rc = cli_usage(command, "%s is not an option", argv[i]);
        if (g->help)
            break;
    }
    return rc;
}

static int apply_flags(const char *command, struct service_options *o, const struct given *g)
{
    char source[NAME_CHARS_MAX + 3];
    int rc = 0;
    for (size_t i = 0; !rc && i < N_SETTINGS; i++) {
        snprintf(source, sizeof source, "--%s", table[i].name);
        if (g->values[i])
            rc = set_value(command, o, &table[i], source, g->values[i]);
    }
    return rc;
}

/* ---- all together ---- */

static int load(struct settings *s, struct given *g, const char *command, unsigned who, int argc,
                char **argv, const struct own_flag *own)
{
    char variable[NAME_CHARS_MAX + 6];
    s->args = calloc((size_t)argc + 1, sizeof *s->args);
    s->default_data_dir = service_default_data_dir();
    if (!s->args || !s->default_data_dir) {
        cli_error("out of memory");
        return EXIT_FAILED;
    }
    s->service.data_dir = s->default_data_dir;
    int rc = read_arguments(command, s, g, who, own, argc, argv);
    if (rc || g->help)
        return rc;
    const char *config = g->config ? g->config : env_value("config", variable);
    if (config)
        rc = read_config(command, s, config);
    if (!rc)
        rc = read_environment(command, &s->service);
    if (!rc)
        rc = apply_flags(command, &s->service, g);
    return rc;
}

enum settings_result settings_load(struct settings *s, const char *command, unsigned who, int argc,
                                   char **argv, const struct own_flag *own, int *exit_code)
{
    struct given given = {0};
    *s = (struct settings){0};
    service_defaults(&s->service);
    *exit_code = load(s, &given, command, who, argc, argv, own);
    if (*exit_code)
        return SETTINGS_WRONG;
    return given.help ? SETTINGS_HELP : SETTINGS_OK;
}

void settings_free(struct settings *s)
{
    free(s->args);
    free(s->default_data_dir);
    buf_deinit(&s->file);
    *s = (struct settings){0};
}

/* ---- help ---- */

static void print_indented(const char *text)
{
    printf("%*s", HELP_INDENT, "");
    for (const char *p = text; *p; p++) {
        putchar(*p);
        if (*p == '\n')
            printf("%*s", HELP_INDENT, "");
    }
    putchar('\n');
}

void settings_print_help(unsigned who)
{
    char variable[NAME_CHARS_MAX + 6];
    for (size_t i = 0; i < N_SETTINGS; i++) {
        const struct setting *d = &table[i];
        if (!(d->who & who))
            continue;
        env_name(d->name, variable);
        printf("  --%s%s%s   (%s)\n", d->name, d->value ? " " : "", d->value ? d->value : "",
               variable);
        print_indented(d->help);
    }
    printf("  --config FILE   (EASEL_CONFIG)\n");
    print_indented("a file of lines such as \"listen = 0.0.0.0:8080\", without dashes and\n"
                   "quotes; # begins a comment, an unknown name is an error");
    printf("\n"
           "A flag wins over the variable (in brackets), the variable over the file. Flags\n"
           "without a value take yes or no as a variable and in the file.\n");
}

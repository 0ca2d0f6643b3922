/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void print_error(const char *fmt, va_list ap)
{
    fputs("easel: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

void cli_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    print_error(fmt, ap);
    va_end(ap);
}

int cli_usage(const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    print_error(fmt, ap);
    va_end(ap);
    fprintf(stderr, "Try: easel %s%s--help\n", command, *command ? " " : "");
    return EXIT_USAGE;
}

int cli_failed(enum easel_status status, const struct easel_error *error)
{
    if (status == EASEL_CANCELLED) {
        cli_error("stopped; nothing was written");
        return EXIT_INTERRUPTED;
    }
    cli_error("%s", error->message);
    return status == EASEL_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

int cli_json_option(const char *command, const char *help, int argc, char **argv, bool *json)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int option;
    opterr = 0;
    *json = false;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option != 'j')
            return cli_usage(command, "%s is not an option", argv[optind - 1]);
        *json = true;
    }
    return -1;
}

bool cli_parse_int(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max || strspn(text, " \t\n"))
        return false;
    *out = v;
    return true;
}

bool cli_parse_double(const char *text, double min, double max, double *out)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || !(v >= min && v <= max) || strspn(text, " \t\n"))
        return false;
    *out = v;
    return true;
}

bool cli_parse_size(const char *text, unsigned *width, unsigned *height)
{
    char part[16];
    int64_t w, h;
    size_t n = strcspn(text, "xX");
    if (!text[n] || n >= sizeof part)
        return false;
    memcpy(part, text, n);
    part[n] = '\0';
    if (!cli_parse_int(part, 1, 1 << 20, &w) || !cli_parse_int(text + n + 1, 1, 1 << 20, &h))
        return false;
    *width = (unsigned)w;
    *height = (unsigned)h;
    return true;
}

struct winsize cli_screen_size(int fd)
{
    struct winsize w = {0};
    if (ioctl(fd, TIOCGWINSZ, &w) || !w.ws_row || !w.ws_col)
        w = (struct winsize){.ws_row = 24, .ws_col = 80};
    return w;
}

int cli_option_steps(const char *command, const char *arg, unsigned *out)
{
    int64_t v;
    if (!cli_parse_int(arg, 1, 1000, &v))
        return cli_usage(command, "the steps must be from 1 to 1000, not \"%s\"", arg);
    *out = (unsigned)v;
    return 0;
}

int cli_option_threads(const char *command, const char *arg, unsigned *out)
{
    int64_t v;
    if (!cli_parse_int(arg, 1, 256, &v))
        return cli_usage(command, "the threads must be from 1 to 256, not \"%s\"", arg);
    *out = (unsigned)v;
    return 0;
}

int cli_option_reference(const char *path, struct easel_reference *out)
{
    struct easel_error error;
    void *bytes;
    size_t len;
    enum easel_status rc = easel_file_read(path, CLI_PICTURE_BYTES_MAX, &bytes, &len, &error);
    if (rc)
        return cli_failed(rc, &error);
    *out = (struct easel_reference){.bytes = bytes, .len = len, .name = path};
    return 0;
}

json_t *cli_json_seconds(const struct easel_picture *p)
{
    json_t *seconds = json_object();
    for (int i = 0; i < EASEL_N_STAGES; i++)
        json_object_set_new(seconds, easel_stage_name((enum easel_stage)i),
                            json_real(p->seconds[i]));
    return seconds;
}

int cli_print_json(json_t *object, size_t flags)
{
    if (!object) {
        cli_error("out of memory, or a name that is no UTF-8, which JSON cannot hold");
        return EXIT_FAILED;
    }
    json_dumpf(object, stdout, flags);
    putchar('\n');
    fflush(stdout);
    json_decref(object);
    return 0;
}

size_t cli_control_length(const char *p)
{
    unsigned char c = (unsigned char)p[0], next = (unsigned char)p[1];
    if (c < 0x20 || c == 0x7f)
        return 1;
    return c == 0xc2 && next >= 0x80 && next < 0xa0 ? 2 : 0;
}

char *cli_make_plain(char *text)
{
    for (char *p = text; *p; p++) {
        bool is_space = *p == '\n' || *p == '\t' || *p == '\r';
        for (size_t n = cli_control_length(p); n; n--)
            p[n - 1] = is_space ? ' ' : '?';
    }
    return text;
}

void cli_print_text(const char *text, int indent)
{
    while (*text) {
        size_t n = cli_control_length(text);
        if (*text == '\n')
            printf("\n%*s", indent, "");
        else if (!n || *text == '\t')
            putchar(*text);
        else
            for (size_t i = 0; i < n; i++)
                printf("\\x%02x", (unsigned char)text[i]);
        text += n ? n : 1;
    }
}

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void cli_catch_interrupts(void)
{
    /* SA_RESETHAND: a second Ctrl-C acts as if nobody had caught the first */
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool cli_interrupted(void)
{
    return interrupted;
}

const char *cli_duration(double seconds, char *buf, size_t size)
{
    if (seconds < 9.95) {
        snprintf(buf, size, "%.1f s", seconds);
        return buf;
    }
    unsigned long s = (unsigned long)lround(seconds);
    if (s < 60)
        snprintf(buf, size, "%lu s", s);
    else if (s < 3600)
        snprintf(buf, size, "%lu min %02lu s", s / 60, s % 60);
    else
        snprintf(buf, size, "%lu h %02lu min", s / 3600, s / 60 % 60);
    return buf;
}

const char *cli_bytes(uint64_t bytes, char *buf, size_t size)
{
    if (bytes < 1000000)
        snprintf(buf, size, "%.0f kB", (double)bytes / 1e3);
    else if (bytes < 1000000000)
        snprintf(buf, size, "%.0f MB", (double)bytes / 1e6);
    else
        snprintf(buf, size, "%.1f GB", (double)bytes / 1e9);
    return buf;
}

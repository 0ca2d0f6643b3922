/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/settings.h"

static const char serve_usage[] =
    "Usage: easel serve [options]\n"
    "\n"
    "Serve the FLUX.2 image API, and a playground to try it in. The first run makes the\n"
    "data folder, the database and one key, and prints the key once.\n"
    "\n";

static const char serve_examples[] =
    "\n"
    "Examples:\n"
    "  easel serve\n"
    "  easel serve --listen 0.0.0.0:8080 --data /srv/easel --model FLUX.2-klein-4B\n"
    "  EASEL_WEBHOOK_SECRET=whsec_... easel serve --public-url https://draw.example.org\n"
    "  easel serve --config /etc/easel.conf\n"
    "\n"
    "SIGTERM and Ctrl-C: takes no more requests, lets the running picture finish (--grace)\n"
    "or puts its task back into the queue, and ends; a second one ends at once.\n"
    "SIGHUP: opens the log files anew.\n"
    "\n"
    "Exit status: 0 after SIGTERM or Ctrl-C, 1 if it failed, 2 if the settings were wrong.\n";

static const char worker_usage[] =
    "Usage: easel worker [options]\n"
    "\n"
    "Draw the tasks of a server on this machine. easel serve starts workers itself; this\n"
    "is for those who want to start them otherwise (with easel serve --workers 0).\n"
    "\n";

static const char worker_examples[] =
    "\n"
    "Examples:\n"
    "  easel worker --data /srv/easel --model FLUX.2-klein-4B --threads 8\n"
    "\n"
    "SIGTERM: puts the running task back into the queue and ends. Ctrl-C: finishes the\n"
    "picture first; a second one puts it back.\n"
    "\n"
    "Exit status: 0 after a signal, 2 if the settings were wrong, 3 if it cannot work (no\n"
    "model, no database).\n";

static void print_help(const char *usage, unsigned who, const char *examples)
{
    fputs(usage, stdout);
    settings_print_help(who);
    fputs(examples, stdout);
}

static void print_first_steps(const char *url, const char *key)
{
    printf("\n"
           "Your key, shown this once:\n"
           "  %s\n"
           "\n"
           "Playground:\n"
           "  %s/\n"
           "\n"
           "Ask for a picture:\n"
           "  curl -s %s/v1/ai/text-to-image/flux-2-pro -H 'x-magnific-api-key: %s' "
           "-H 'content-type: application/json' "
           "-d '{\"prompt\":\"a red apple on a blue background\"}'\n"
           "and see how it goes, with the task_id of the answer:\n"
           "  curl -s %s/v1/ai/text-to-image/flux-2-pro/TASK_ID -H 'x-magnific-api-key: %s'\n"
           "\n",
           key, url, url, key, url, key);
}

static void print_welcome_back(const char *url, const char *data_dir, bool is_default)
{
    printf("Playground: %s/\n"
           "A new key:  easel key create NAME%s%s\n",
           url, is_default ? "" : " --data ", is_default ? "" : data_dir);
}

static void on_started(void *ctx, const char *url, const char *first_key)
{
    const struct settings *s = ctx;
    if (first_key)
        print_first_steps(url, first_key);
    else
        print_welcome_back(url, s->service.data_dir, s->service.data_dir == s->default_data_dir);
    fflush(stdout);
}

static int failed(enum err rc, const struct errmsg *em)
{
    cli_error("%s", em->text);
    return rc == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

/* Is standard output the journal? What is shown there once is kept for all to read. */
static bool output_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           !fstat(STDOUT_FILENO, &st) && st.st_dev == device && st.st_ino == inode;
}

int cmd_serve(int argc, char **argv)
{
    struct settings s;
    struct errmsg em = {""};
    int code = 0;
    enum settings_result result = settings_load(&s, "serve", FOR_SERVE, argc, argv, NULL, &code);
    if (result == SETTINGS_HELP) {
        print_help(serve_usage, FOR_SERVE, serve_examples);
    } else if (result == SETTINGS_OK && s.n_args) {
        code = cli_usage("serve", "\"%s\" is no option", s.args[0]);
    } else if (result == SETTINGS_OK) {
        s.service.make_first_key = !output_is_journal();
        enum err rc = service_run(&s.service, on_started, &s, &em);
        if (rc)
            code = failed(rc, &em);
    }
    settings_free(&s);
    return code;
}

/* What a supervisor gives its worker besides the settings. */
static int set_leash(struct service_options *o, const char *name, const char *ready_fd)
{
    int64_t fd = -1;
    if (ready_fd && !cli_parse_int(ready_fd, 3, 1023, &fd))
        return cli_usage("worker", "--ready-fd must be from 3 to 1023, not \"%s\"", ready_fd);
    o->worker_name = name;
    o->ready_fd = (int)fd;
    return 0;
}

static int run_worker(const struct service_options *o)
{
    struct errmsg em = {""};
    if (!service_worker_run(o, &em))
        return 0;
    if (o->ready_fd < 0)
        cli_error("%s", em.text); /* otherwise the supervisor has it */
    return WORKER_EXIT_UNUSABLE;
}

int cmd_worker(int argc, char **argv)
{
    struct settings s;
    const char *name = NULL, *ready_fd = NULL;
    const struct own_flag own[] = {
        {"name", true, &name}, {"ready-fd", true, &ready_fd}, {NULL, false, NULL}};
    int code = 0;
    enum settings_result result = settings_load(&s, "worker", FOR_WORKER, argc, argv, own, &code);
    if (result == SETTINGS_HELP)
        print_help(worker_usage, FOR_WORKER, worker_examples);
    else if (result == SETTINGS_OK && s.n_args)
        code = cli_usage("worker", "\"%s\" is no option", s.args[0]);
    else if (result == SETTINGS_OK)
        code = set_leash(&s.service, name, ready_fd);
    if (result == SETTINGS_OK && !code)
        code = run_worker(&s.service);
    settings_free(&s);
    return code;
}

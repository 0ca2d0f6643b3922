/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char help[] =
    "Easel draws pictures from text, on your own machine.\n"
    "\n"
    "  easel draw \"a red apple on a blue background\" -o apple.png\n"
    "  easel serve\n"
    "\n"
    "Commands:\n"
    "  draw     a picture from a prompt, or from a prompt and reference pictures\n"
    "  show     the prompt, seed and settings that a picture file carries\n"
    "  model    list the installed models, show one, make one with random weights\n"
    "  bench    measure the kernels of this machine, or a model\n"
    "\n"
    "  serve    the FLUX.2 image API and a playground, on this machine\n"
    "  worker   draw for a server (easel serve starts its own)\n"
    "  key      make, list, limit and revoke the server's keys\n"
    "  task     list, show, cancel and retry its tasks\n"
    "  webhook  list and redeliver its webhooks\n"
    "\n"
    "  version  print the version\n"
    "\n"
    "easel COMMAND --help explains a command, with examples.\n"
    "\n"
    "Environment:\n"
    "  EASEL_MODELS  folders where models are looked for, separated by colons\n"
    "  EASEL_CPU     scalar, avx2 or avx512: use no better kernels than these\n";

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"draw", cmd_draw},
    {"show", cmd_show},
    {"model", cmd_model},
    {"bench", cmd_bench},
    {"serve", cmd_serve},
    {"worker", cmd_worker},
    {"key", cmd_key},
    {"task", cmd_task},
    {"webhook", cmd_webhook},
};

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        fputs(help, stdout);
        return 0;
    }
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        printf("easel %s\n", easel_version());
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(name, commands[i].name)) {
            int rc = commands[i].run(argc - 1, argv + 1);
            if (fflush(stdout) && !rc) {
                cli_error("cannot write to standard output");
                rc = EXIT_FAILED;
            }
            return rc;
        }
    return cli_usage("", "there is no command \"%s\"", name);
}

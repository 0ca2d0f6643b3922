/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* Files opened later must not come to stand where a closed standard stream was. */
static void open_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            return;
}

static int run(int argc, char **argv)
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
        if (!strcmp(name, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    return cli_usage("", "there is no command \"%s\"", name);
}

int main(int argc, char **argv)
{
    open_standard_streams();
    int rc = run(argc, argv);
    /* ferror: what failed may have been flushed before */
    if ((fflush(stdout) || ferror(stdout)) && !rc) {
        cli_error("cannot write to standard output");
        rc = EXIT_FAILED;
    }
    return rc;
}

/* SPDX-License-Identifier: MIT */
#include "service/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ARGS_MAX 20
#define EXIT_NO_EXEC 127

extern char **environ;

struct worker_argv {
    const char *items[ARGS_MAX + 1]; /* NULL-terminated */
    size_t n;
    char threads[16], ready_fd[16], hours[32];
};

static void add(struct worker_argv *a, const char *item)
{
    if (a->n < ARGS_MAX)
        a->items[a->n++] = item;
}

static void add_option(struct worker_argv *a, const char *name, const char *value)
{
    add(a, name);
    add(a, value);
}

static void build_argv(const struct service_options *o, const char *name, struct worker_argv *a)
{
    *a = (struct worker_argv){0};
    snprintf(a->threads, sizeof a->threads, "%u", o->n_threads);
    snprintf(a->ready_fd, sizeof a->ready_fd, "%d", WORKER_READY_FD);
    add(a, "easel");
    add(a, "worker");
    add_option(a, "--data", o->data_dir);
    add_option(a, "--name", name);
    add_option(a, "--ready-fd", a->ready_fd);
    add_option(a, "--threads", a->threads);
    snprintf(a->hours, sizeof a->hours, "%.9g", (double)o->result_lifetime_ms / 3.6e6);
    add_option(a, "--result-hours", a->hours);
    if (o->model)
        add_option(a, "--model", o->model);
    if (o->log_file)
        add_option(a, "--log", o->log_file);
    if (!o->previews)
        add(a, "--no-previews");
    if (o->stub)
        add(a, "--stub");
}

static bool is_for_workers(const char *variable)
{
    return strncmp(variable, "EASEL_", 6) || !strncmp(variable, "EASEL_MODELS=", 13) ||
           !strncmp(variable, "EASEL_CPU=", 10);
}

/* What we were configured with reached us already and goes on in arguments; secrets stay. */
static char **build_environment(void)
{
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    char **env = calloc(n + 1, sizeof *env);
    for (size_t i = 0; env && i < n; i++)
        if (is_for_workers(environ[i]))
            env[kept++] = environ[i];
    return env;
}

/* So that exec leaves it open. */
static bool move_to(int fd, int number)
{
    return fd == number ? fcntl(fd, F_SETFD, 0) != 0 : dup2(fd, number) < 0;
}

/* Between fork and exec: nothing but system calls, since other threads may have held locks. */
static void become_worker(const char *program, const struct worker_argv *argv, char **env,
                          int wake_fd, int pipe_fd, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
        _exit(EXIT_NO_EXEC);
    if (move_to(wake_fd, STDIN_FILENO) || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
        move_to(pipe_fd, WORKER_READY_FD))
        _exit(EXIT_NO_EXEC);
    (void)close_range(WORKER_READY_FD + 1, ~0u, 0);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(program, (char *const *)(uintptr_t)argv->items, env);
    _exit(EXIT_NO_EXEC);
}

enum err spawn_worker(const struct service_options *o, const char *name, int wake_fd, pid_t *pid,
                      int *pipe_fd, struct errmsg *em)
{
    struct worker_argv argv;
    int ends[2];
    build_argv(o, name, &argv);
    char **env = build_environment();
    if (!env)
        return err_nomem(em, sizeof *env);
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK)) {
        free(env);
        return err_set(em, ERR_IO, "cannot start a worker: %s", strerror(errno));
    }
    pid_t parent = getpid();
    *pid = fork();
    if (*pid == 0)
        become_worker(o->program, &argv, env, wake_fd, ends[1], parent);
    enum err rc =
        *pid < 0 ? err_set(em, ERR_IO, "cannot start a worker: %s", strerror(errno)) : ERR_OK;
    close(ends[1]);
    free(env);
    if (rc)
        close(ends[0]);
    else
        *pipe_fd = ends[0];
    return rc;
}

/* SPDX-License-Identifier: MIT */
#include "service/supervisor.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "service/presence.h"
#include "service/spawn.h"

#define BACKOFF_FIRST_S 0.2
#define BACKOFF_MAX_S 30.0
#define HEALTHY_AFTER_S 60.0
#define SILENT_MAX_S (12.0 * WORKER_PULSE_S)
#define DEATHS_BEFORE_READY_MAX 3u
#define HAND_BACK_S 10.0
#define LINE_BYTES_MAX 600u

struct child {
    unsigned number; /* from 1, for the log */
    pid_t pid;       /* 0: not running */
    int pipe_fd;     /* -1 likewise */
    char name[WORKER_NAME_CHARS_MAX + 1];
    bool ready;
    double ready_s, heard_s;
    double start_at_s, backoff_s; /* when it does not run */
    char line[LINE_BYTES_MAX];    /* being read */
    size_t line_len;
    char error[LINE_BYTES_MAX]; /* what it said it failed of */
};

struct supervisor {
    struct supervisor_options o;
    struct child *children;
    unsigned n;
    int wake_fd; /* an event that all workers read */
    atomic_uint n_ready;
    bool ever_ready, stopping;
    unsigned n_deaths_before_ready;
};

enum err supervisor_new(const struct supervisor_options *o, struct supervisor **out,
                        struct errmsg *em)
{
    struct supervisor *s = calloc(1, sizeof *s);
    if (!s)
        return err_nomem(em, sizeof *s);
    s->o = *o;
    if (s->o.silent_max_s <= 0)
        s->o.silent_max_s = SILENT_MAX_S;
    s->n = o->service->n_workers;
    s->children = calloc(s->n + 1, sizeof *s->children);
    if (!s->children) {
        free(s);
        return err_nomem(em, o->service->n_workers * sizeof *s->children);
    }
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake_fd < 0) {
        enum err rc = err_set(em, ERR_IO, "cannot make an event: %s", strerror(errno));
        free(s->children);
        free(s);
        return rc;
    }
    for (unsigned i = 0; i < s->n; i++)
        s->children[i] =
            (struct child){.number = i + 1, .pipe_fd = -1, .backoff_s = BACKOFF_FIRST_S};
    *out = s;
    return ERR_OK;
}

void supervisor_free(struct supervisor *s)
{
    if (!s)
        return;
    supervisor_signal(s, SIGKILL);
    for (unsigned i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        if (c->pid)
            waitpid(c->pid, NULL, 0);
        if (c->pipe_fd >= 0)
            close(c->pipe_fd);
    }
    close(s->wake_fd);
    free(s->children);
    free(s);
}

unsigned supervisor_n_ready(const struct supervisor *s)
{
    return atomic_load(&((struct supervisor *)(uintptr_t)s)->n_ready);
}

void supervisor_signal(struct supervisor *s, int number)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->children[i].pid)
            kill(s->children[i].pid, number);
}

void supervisor_wake(const struct supervisor *s)
{
    const uint64_t one = 1;
    ssize_t n = write(s->wake_fd, &one, sizeof one);
    (void)n; /* full: they are woken as it is */
}

/* ---- waiting ---- */

size_t supervisor_poll_fds(const struct supervisor *s, struct pollfd *fds)
{
    size_t n = 0;
    for (unsigned i = 0; i < s->n; i++)
        if (s->children[i].pipe_fd >= 0)
            fds[n++] = (struct pollfd){.fd = s->children[i].pipe_fd, .events = POLLIN};
    return n;
}

int supervisor_timeout_ms(const struct supervisor *s)
{
    double now = clock_now_s(), next = now + s->o.silent_max_s;
    for (unsigned i = 0; i < s->n; i++) {
        const struct child *c = &s->children[i];
        next = fmin(next, c->pid ? c->heard_s + s->o.silent_max_s : c->start_at_s);
    }
    return next <= now ? 0 : (int)ceil((next - now) * 1000);
}

/* ---- what a worker tells ---- */

static void on_line(struct supervisor *s, struct child *c)
{
    c->heard_s = clock_now_s();
    if (!strcmp(c->line, "ready") && !c->ready) {
        c->ready = s->ever_ready = true;
        c->ready_s = c->heard_s;
        atomic_fetch_add(&s->n_ready, 1);
        log_printf(s->o.log, "info", "worker %u is ready (process %ld)", c->number, (long)c->pid);
    } else if (!strncmp(c->line, "error ", 6)) {
        snprintf(c->error, sizeof c->error, "%s", c->line + 6);
    }
}

static void take_bytes(struct supervisor *s, struct child *c, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != '\n') {
            if (c->line_len < sizeof c->line - 1)
                c->line[c->line_len++] = bytes[i];
            continue;
        }
        c->line[c->line_len] = '\0';
        c->line_len = 0;
        on_line(s, c);
    }
}

static void listen_to(struct supervisor *s, struct child *c)
{
    char bytes[512];
    ssize_t n;
    while ((n = read(c->pipe_fd, bytes, sizeof bytes)) > 0)
        take_bytes(s, c, bytes, (size_t)n);
}

/* ---- life and death ---- */

static enum err start(struct supervisor *s, struct child *c, struct errmsg *em)
{
    enum err rc = presence_new_name(c->name, em);
    if (!rc)
        rc = spawn_worker(s->o.service, c->name, s->wake_fd, &c->pid, &c->pipe_fd, em);
    if (rc) {
        c->pid = 0;
        c->pipe_fd = -1;
        return rc;
    }
    c->heard_s = clock_now_s();
    c->line_len = 0;
    c->error[0] = '\0';
    return ERR_OK;
}

static void describe_end(const struct child *c, int status, char *out, size_t size)
{
    if (c->error[0])
        snprintf(out, size, "%s", c->error);
    else if (WIFSIGNALED(status))
        snprintf(out, size, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(status));
}

static void plan_restart(struct child *c)
{
    double now = clock_now_s();
    if (c->ready && now - c->ready_s >= HEALTHY_AFTER_S)
        c->backoff_s = BACKOFF_FIRST_S;
    c->start_at_s = now + c->backoff_s;
    c->backoff_s = fmin(2 * c->backoff_s, BACKOFF_MAX_S);
}

/* At the first start there is nobody to wait for better times. */
static enum err is_hopeless(struct supervisor *s, const struct child *c, int status,
                            const char *reason, struct errmsg *em)
{
    if (s->ever_ready || s->stopping)
        return ERR_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_UNUSABLE)
        return err_set(em, ERR_UNSUPPORTED, "%s", reason);
    if (++s->n_deaths_before_ready < DEATHS_BEFORE_READY_MAX)
        return ERR_OK;
    return err_set(em, ERR_UNSUPPORTED, "worker %u ended %u times before its model was open: %s",
                   c->number, s->n_deaths_before_ready, reason);
}

static enum err bury(struct supervisor *s, struct child *c, int status, struct errmsg *em)
{
    char reason[LINE_BYTES_MAX];
    pid_t pid = c->pid;
    listen_to(s, c);
    describe_end(c, status, reason, sizeof reason);
    close(c->pipe_fd);
    c->pipe_fd = -1;
    c->pid = 0;
    plan_restart(c);
    if (c->ready)
        atomic_fetch_sub(&s->n_ready, 1);
    c->ready = false;
    enum err rc = is_hopeless(s, c, status, reason, em);
    if (rc)
        return rc;
    if (!s->stopping)
        log_printf(s->o.log, "error",
                   "worker %u (process %ld) ended: %s; starting it again in %.1f s", c->number,
                   (long)pid, reason, c->start_at_s - clock_now_s());
    s->o.on_death(s->o.ctx);
    return ERR_OK;
}

/* Its death takes a moment, and for ever where the kernel holds it: told and tried again after as
 * long a silence, not at each look. */
static void kill_if_silent(struct supervisor *s, struct child *c)
{
    double now = clock_now_s();
    if (now - c->heard_s < s->o.silent_max_s)
        return;
    log_printf(s->o.log, "error", "worker %u (process %ld) has been silent for %.0f s; killing it",
               c->number, (long)c->pid, s->o.silent_max_s);
    kill(c->pid, SIGKILL);
    c->heard_s = now;
}

static enum err tend_child(struct supervisor *s, struct child *c, struct errmsg *em)
{
    int status;
    if (c->pid) {
        listen_to(s, c);
        if (waitpid(c->pid, &status, WNOHANG) == c->pid)
            return bury(s, c, status, em);
        kill_if_silent(s, c);
        return ERR_OK;
    }
    if (s->stopping || clock_now_s() < c->start_at_s)
        return ERR_OK;
    enum err rc = start(s, c, em);
    if (!rc || !s->ever_ready)
        return rc;
    log_write(s->o.log, "error", em->text); /* too many processes, no memory: later again */
    plan_restart(c);
    return ERR_OK;
}

enum err supervisor_tend(struct supervisor *s, struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (unsigned i = 0; !rc && i < s->n; i++)
        rc = tend_child(s, &s->children[i], em);
    return rc;
}

/* ---- the end ---- */

static unsigned n_running(const struct supervisor *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->n; i++)
        n += s->children[i].pid != 0;
    return n;
}

/* A worker's end closes its pipe, which ends the poll; the process itself is gone soon after. */
static bool wait_for_all(struct supervisor *s, double seconds)
{
    struct pollfd fds[WORKERS_MAX];
    struct errmsg em;
    double until = clock_now_s() + seconds, left = seconds;
    while (n_running(s) && left > 0) {
        (void)poll(fds, supervisor_poll_fds(s, fds), (int)fmin(ceil(left * 1000), 1000));
        if (supervisor_tend(s, &em)) /* cannot fail while stopping */
            break;
        (void)poll(NULL, 0, n_running(s) ? 10 : 0);
        left = until - clock_now_s();
    }
    return n_running(s) == 0;
}

void supervisor_stop(struct supervisor *s, unsigned grace_s)
{
    if (!s)
        return;
    s->stopping = true;
    supervisor_signal(s, SIGINT);
    if (wait_for_all(s, grace_s))
        return;
    log_printf(s->o.log, "info", "a picture is not finished after %u s: handing it back", grace_s);
    supervisor_signal(s, WORKER_HAND_BACK_SIGNAL);
    if (wait_for_all(s, HAND_BACK_S))
        return;
    log_write(s->o.log, "warning", "a worker does not end; killing it");
    supervisor_signal(s, SIGKILL);
    (void)wait_for_all(s, HAND_BACK_S);
}

/* SPDX-License-Identifier: MIT */
#include "service/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct log {
    pthread_mutex_t lock; /* of fd, against log_reopen */
    int fd;
    char *path; /* NULL: standard error */
};

static enum err open_file(const char *path, int *fd, struct errmsg *em)
{
    *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (*fd < 0)
        return err_set(em, ERR_IO, "cannot write the log file %s: %s", path, strerror(errno));
    return ERR_OK;
}

enum err log_open(const char *path, struct log **out, struct errmsg *em)
{
    struct log *l = calloc(1, sizeof *l);
    if (!l)
        return err_nomem(em, sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    l->fd = STDERR_FILENO;
    enum err rc = ERR_OK;
    if (path) {
        l->path = strdup(path);
        rc = l->path ? open_file(path, &l->fd, em) : err_nomem(em, strlen(path));
    }
    if (rc) {
        l->fd = STDERR_FILENO;
        log_close(l);
        return rc;
    }
    *out = l;
    return ERR_OK;
}

void log_close(struct log *l)
{
    if (!l)
        return;
    if (l->fd != STDERR_FILENO)
        close(l->fd);
    pthread_mutex_destroy(&l->lock);
    free(l->path);
    free(l);
}

enum err log_reopen(struct log *l, struct errmsg *em)
{
    int fd;
    if (!l->path)
        return ERR_OK;
    enum err rc = open_file(l->path, &fd, em);
    if (rc)
        return rc;
    pthread_mutex_lock(&l->lock);
    int old = l->fd;
    l->fd = fd;
    pthread_mutex_unlock(&l->lock);
    close(old);
    return ERR_OK;
}

/* One write: with O_APPEND, lines of several processes do not mix. */
static void write_line(struct log *l, const char *line, size_t len)
{
    pthread_mutex_lock(&l->lock);
    ssize_t n = write(l->fd, line, len);
    (void)n; /* a full disk must not stop the service */
    pthread_mutex_unlock(&l->lock);
}

static size_t write_time(char *out, size_t size)
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &parts);
    return n + (size_t)snprintf(out + n, size - n, ".%03ldZ ", now.tv_nsec / 1000000);
}

void log_write(struct log *l, const char *level, const char *message)
{
    char line[LOG_LINE_BYTES_MAX];
    size_t n = write_time(line, sizeof line);
    size_t start = n;
    int written = snprintf(line + n, sizeof line - n - 1, "%-7s %s", level, message);
    if (written < 0)
        return;
    n += (size_t)written;
    if (n > sizeof line - 2)
        n = sizeof line - 2; /* cut, with room for the line end */
    for (size_t i = start; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[n++] = '\n';
    write_line(l, line, n);
}

void log_printf(struct log *l, const char *level, const char *fmt, ...)
{
    char message[LOG_LINE_BYTES_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    log_write(l, level, message);
}

void log_raw(struct log *l, const char *line)
{
    char small[LOG_LINE_BYTES_MAX];
    size_t len = strlen(line);
    if (!l)
        return;
    if (len > sizeof small - 1)
        len = sizeof small - 1;
    memcpy(small, line, len);
    small[len] = '\n';
    write_line(l, small, len + 1);
}

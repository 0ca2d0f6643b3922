/* SPDX-License-Identifier: MIT */
#include "service/presence.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/crypto.h"

#define HOST_CHARS_MAX 32u

static bool name_valid(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_.";
    size_t len = strlen(name);
    return len > 0 && len <= WORKER_NAME_CHARS_MAX && strspn(name, allowed) == len &&
           name[0] != '.';
}

enum err presence_new_name(char out[WORKER_NAME_CHARS_MAX + 1], struct errmsg *em)
{
    char host[HOST_CHARS_MAX] = "", digits[2 * 4 + 1];
    unsigned char random[4];
    enum err rc = crypto_random(random, sizeof random, em);
    if (rc)
        return rc;
    hex_encode(random, sizeof random, digits);
    if (gethostname(host, sizeof host) || !memchr(host, '\0', sizeof host) || !name_valid(host))
        snprintf(host, sizeof host, "worker");
    snprintf(out, WORKER_NAME_CHARS_MAX + 1, "%s-%ld-%s", host, (long)getpid(), digits);
    return ERR_OK;
}

static enum err open_and_lock(const char *path, int *out, struct errmsg *em)
{
    struct stat st;
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return err_set(em, ERR_IO, "cannot write %s: %s", path, strerror(errno));
        if (flock(fd, LOCK_EX) || fstat(fd, &st)) {
            close(fd);
            return err_set(em, ERR_IO, "cannot lock %s: %s", path, strerror(errno));
        }
        *out = fd;
        if (st.st_nlink)
            return ERR_OK;
        close(fd); /* a roll call removed it between open and flock: again */
    }
}

enum err presence_enter(const char *dir, const char *name, int *fd, struct errmsg *em)
{
    if (!name_valid(name))
        return err_set(em, ERR_USAGE,
                       "a worker's name is 1 to %u letters, digits, '-', '_' and '.'; not \"%s\"",
                       WORKER_NAME_CHARS_MAX, name);
    char *path = path_join(dir, name);
    if (!path)
        return err_nomem(em, strlen(dir));
    enum err rc = file_exists(path) ? err_set(em, ERR_CONFLICT, "the worker name %s is taken", name)
                                    : open_and_lock(path, fd, em);
    free(path);
    return rc;
}

void presence_leave(const char *dir, const char *name, int fd)
{
    char *path = path_join(dir, name);
    if (path)
        unlink(path);
    free(path);
    close(fd);
}

/* Whether the worker of this file lives. If not, fn hears of it. */
static bool is_alive(const char *path, const char *name, bool (*fn)(void *ctx, const char *name),
                     void *ctx)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false; /* it has just left */
    bool alive = flock(fd, LOCK_EX | LOCK_NB) != 0;
    if (!alive && fn(ctx, name))
        unlink(path);
    close(fd);
    return alive;
}

enum err presence_call_roll(const char *dir, bool (*fn)(void *ctx, const char *name), void *ctx,
                            size_t *n_alive, struct errmsg *em)
{
    const struct dirent *entry;
    DIR *d = opendir(dir);
    *n_alive = 0;
    if (!d)
        return err_set(em, ERR_IO, "cannot read %s: %s", dir, strerror(errno));
    while ((entry = readdir(d))) {
        char *path = name_valid(entry->d_name) ? path_join(dir, entry->d_name) : NULL;
        if (path && is_alive(path, entry->d_name, fn, ctx))
            ++*n_alive;
        free(path);
    }
    closedir(d);
    return ERR_OK;
}

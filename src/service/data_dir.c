/* SPDX-License-Identifier: MIT */
#include "service/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "service/service.h"

char *service_database_path(const char *data_dir)
{
    return path_join(data_dir, "easel.db");
}

char *service_blobs_path(const char *data_dir)
{
    return path_join(data_dir, "blobs");
}

/* Never below /tmp, where others could have put a folder of that name. */
static const char *home_dir(void)
{
    const char *home = getenv("HOME");
    if (home && *home)
        return home;
    const struct passwd *user = getpwuid(geteuid());
    return user && user->pw_dir && *user->pw_dir ? user->pw_dir : "/";
}

char *service_default_data_dir(void)
{
    const char *xdg = getenv("XDG_DATA_HOME");
    if (geteuid() == 0)
        return strdup("/var/lib/easel");
    if (xdg && *xdg == '/')
        return path_join(xdg, "easel");
    return path_join(home_dir(), ".local/share/easel");
}

static enum err make_dir(const char *path, struct errmsg *em)
{
    if (!mkdir(path, 0700) || (errno == EEXIST && file_is_dir(path)))
        return ERR_OK;
    return err_set(em, ERR_IO, "cannot make the data folder %s: %s", path,
                   errno == EEXIST ? "there is a file of this name" : strerror(errno));
}

static enum err make_dir_and_parents(const char *path, struct errmsg *em)
{
    char *part = strdup(path);
    if (!part)
        return err_nomem(em, strlen(path));
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        (void)mkdir(part, 0700); /* the last one says what is wrong */
        *p = '/';
    }
    free(part);
    return make_dir(path, em);
}

static enum err set_paths(const char *path, struct data_dir *d, struct errmsg *em)
{
    *d = (struct data_dir){
        .path = strdup(path),
        .database = service_database_path(path),
        .blobs = service_blobs_path(path),
        .temporary = path_join(path, "tmp"),
        .workers = path_join(path, "workers"),
        .lock_fd = -1,
    };
    if (!d->path || !d->database || !d->blobs || !d->temporary || !d->workers)
        return err_nomem(em, 5 * strlen(path));
    return ERR_OK;
}

/* The holder's process number is in the file, for the message. */
static enum err lock_is_held(int fd, const char *path, struct errmsg *em)
{
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    return err_set(em, ERR_CONFLICT,
                   "another server%s%s uses the data folder %s; stop it, or give this one another "
                   "folder with --data",
                   *pid ? ", process " : "", pid, path);
}

static enum err take_lock(struct data_dir *d, struct errmsg *em)
{
    char *name = path_join(d->path, "lock");
    if (!name)
        return err_nomem(em, strlen(d->path));
    enum err rc = ERR_OK;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        rc =
            err_set(em, ERR_IO, "cannot write in the data folder %s: %s", d->path, strerror(errno));
    else if (flock(fd, LOCK_EX | LOCK_NB))
        rc = errno == EWOULDBLOCK
                 ? lock_is_held(fd, d->path, em)
                 : err_set(em, ERR_IO, "cannot lock %s: %s", name, strerror(errno));
    else if (ftruncate(fd, 0) || dprintf(fd, "%ld\n", (long)getpid()) < 0)
        rc = err_set(em, ERR_IO, "cannot write %s: %s", name, strerror(errno));
    free(name);
    if (rc && fd >= 0)
        close(fd);
    else
        d->lock_fd = fd;
    return rc;
}

enum err data_dir_open_locked(const char *path, struct data_dir *out, struct errmsg *em)
{
    struct data_dir d = {.lock_fd = -1};
    enum err rc = set_paths(path, &d, em);
    if (!rc)
        rc = make_dir_and_parents(path, em);
    if (!rc)
        rc = take_lock(&d, em);
    if (!rc)
        rc = make_dir(d.blobs, em);
    if (!rc)
        rc = make_dir(d.temporary, em);
    if (!rc)
        rc = make_dir(d.workers, em);
    if (rc)
        data_dir_close(&d);
    else
        *out = d;
    return rc;
}

enum err data_dir_open(const char *path, struct data_dir *out, struct errmsg *em)
{
    struct data_dir d = {.lock_fd = -1};
    enum err rc = set_paths(path, &d, em);
    if (!rc && (!file_exists(d.database) || !file_is_dir(d.workers)))
        rc = err_set(em, ERR_NOTFOUND,
                     "there is no server's data in %s; start easel serve with this folder first, "
                     "or name another with --data",
                     path);
    if (rc)
        data_dir_close(&d);
    else
        *out = d;
    return rc;
}

void data_dir_close(struct data_dir *d)
{
    free(d->path);
    free(d->database);
    free(d->blobs);
    free(d->temporary);
    free(d->workers);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    *d = (struct data_dir){.lock_fd = -1};
}

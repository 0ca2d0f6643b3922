/* SPDX-License-Identifier: MIT */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/size.h"

#define READ_CHUNK_BYTES ((size_t)64 << 10)

static enum err open_failed(const char *path, struct errmsg *em)
{
    enum err rc = errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_IO;
    return err_set(em, rc, "cannot open %s: %s", path, strerror(errno));
}

/* Open for reading, refusing folders and devices, which would hang or lie. */
static enum err open_regular(const char *path, int *fd, struct stat *st, struct errmsg *em)
{
    /* O_NONBLOCK: a FIFO without a writer must not hang us before fstat sees it */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return open_failed(path, em);
    if (fstat(*fd, st) || !S_ISREG(st->st_mode)) {
        close(*fd);
        *fd = -1;
        return err_set(em, ERR_FORMAT, "%s is not a regular file", path);
    }
    return ERR_OK;
}

enum err file_read(const char *path, size_t max_bytes, struct buf *out, struct errmsg *em)
{
    bool standard_input = strcmp(path, "-") == 0;
    int fd = STDIN_FILENO;
    struct stat st;
    enum err rc = ERR_OK;
    size_t start = out->len;
    if (!standard_input) {
        rc = open_regular(path, &fd, &st, em);
        if (rc)
            return rc;
    }
    const char *name = standard_input ? "standard input" : path;
    for (;;) {
        rc = buf_reserve(out, READ_CHUNK_BYTES, em);
        if (rc)
            break;
        ssize_t n = read(fd, out->ptr + out->len, READ_CHUNK_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = err_set(em, ERR_IO, "cannot read %s: %s", name, strerror(errno));
            break;
        }
        if (n == 0)
            break;
        out->len += (size_t)n;
        if (out->len - start > max_bytes) {
            rc = err_set(em, ERR_FORMAT, "%s is too large: more than %zu bytes", name, max_bytes);
            break;
        }
    }
    if (rc)
        out->len = start;
    if (out->ptr)
        out->ptr[out->len] = 0;
    if (!standard_input)
        close(fd);
    return rc;
}

enum err file_map_open(struct file_map *map, const char *path, struct errmsg *em)
{
    int fd;
    struct stat st;
    *map = (struct file_map){0};
    enum err rc = open_regular(path, &fd, &st, em);
    if (rc)
        return rc;
    if (st.st_size == 0) {
        rc = err_set(em, ERR_FORMAT, "%s is empty", path);
    } else {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            rc = err_set(em, ERR_IO, "cannot map %s: %s", path, strerror(errno));
        } else {
            map->ptr = p;
            map->len = (size_t)st.st_size;
        }
    }
    close(fd);
    return rc;
}

void file_map_close(struct file_map *map)
{
    if (map->ptr)
        munmap((void *)(uintptr_t)map->ptr, map->len);
    *map = (struct file_map){0};
}

void file_map_release_pages(const struct file_map *map)
{
    if (map->ptr)
        (void)madvise((void *)(uintptr_t)map->ptr, map->len, MADV_DONTNEED);
}

enum err file_write_failed(const char *path, struct errmsg *em)
{
    return err_set(em, errno == ENOMEM ? ERR_NOMEM : ERR_IO, "cannot write %s: %s", path,
                   strerror(errno));
}

enum err file_write_all(int fd, const char *path, const void *bytes, size_t len,
                        struct errmsg *em)
{
    const uint8_t *p = bytes;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return file_write_failed(path, em);
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

/* A device, a FIFO or a socket has no content that could be kept whole. */
static enum err write_in_place(const char *path, const void *bytes, size_t len, struct errmsg *em)
{
    int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return file_write_failed(path, em);
    enum err rc = file_write_all(fd, path, bytes, len, em);
    if (close(fd) && !rc)
        rc = file_write_failed(path, em);
    return rc;
}

int file_open_beside(const char *path, char **tmp)
{
    const char *slash = strrchr(path, '/');
    size_t dir_len = slash ? (size_t)(slash - path) + 1 : 0;
    size_t n = dir_len + sizeof ".easel-0123456789abcdef";
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return -1;
    char *name = malloc(n);
    if (!name) {
        errno = ENOMEM;
        return -1;
    }
    snprintf(name, n, "%.*s.easel-%016" PRIx64, (int)dir_len, path, random);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0)
        *tmp = name;
    else
        free(name);
    return fd;
}

static enum err replace(const char *path, const void *bytes, size_t len, struct errmsg *em)
{
    char *tmp = NULL;
    int fd = file_open_beside(path, &tmp);
    if (fd < 0)
        return file_write_failed(path, em);
    enum err rc = file_write_all(fd, path, bytes, len, em);
    if (!rc && fsync(fd))
        rc = file_write_failed(path, em);
    if (close(fd) && !rc)
        rc = file_write_failed(path, em);
    if (!rc && rename(tmp, path))
        rc = file_write_failed(path, em);
    if (rc)
        unlink(tmp);
    free(tmp);
    return rc;
}

enum err file_write_atomic(const char *path, const void *bytes, size_t len, struct errmsg *em)
{
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return write_in_place(path, bytes, len, em);
    char *target = realpath(path, NULL); /* NULL: there is none yet */
    enum err rc = replace(target ? target : path, bytes, len, em);
    free(target);
    return rc;
}

enum err file_write_err(int os_error)
{
    bool full = os_error == ENOSPC || os_error == EDQUOT || os_error == EFBIG;
    return full ? ERR_FULL : ERR_IO;
}

int file_open_nameless(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/nameless.XXXXXX", dir);
    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *p = malloc(n);
    if (p)
        snprintf(p, n, "%s/%s", dir, name);
    return p;
}

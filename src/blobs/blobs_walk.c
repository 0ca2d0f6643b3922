/* SPDX-License-Identifier: MIT */
/* Through all files of the folder: what crashes left, and what nobody holds. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blobs/blobs.h"
#include "blobs/blobs_impl.h"

#define N_SHELVES 256u

typedef void visit_fn(void *ctx, int folder_fd, const char *name, unsigned age_s);

static unsigned age_of(const struct stat *st, time_t now)
{
    if (st->st_mtime >= now)
        return 0;
    time_t age = now - st->st_mtime;
    return age > (time_t)UINT_MAX ? UINT_MAX : (unsigned)age;
}

/* visit each regular file. folder_fd stays open, and its owner's. */
static enum err walk(const struct blobs *b, int folder_fd, visit_fn *visit, void *ctx,
                     struct errmsg *em)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        enum err rc = blobs_failed(b, "list", em);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    time_t now = time(NULL);
    struct dirent *entry;
    while (errno = 0, (entry = readdir(folder))) {
        struct stat st;
        if (!fstatat(folder_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
            visit(ctx, folder_fd, entry->d_name, age_of(&st, now));
    }
    enum err rc = errno ? blobs_failed(b, "list", em) : ERR_OK;
    closedir(folder);
    return rc;
}

static void remove_if_left(void *ctx, int folder_fd, const char *name, unsigned age_s)
{
    const unsigned *older_than_s = ctx;
    if (age_s <= *older_than_s || !blob_digits_valid(name) || name[BLOB_DIGITS])
        return;
    int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    /* a writer that lives holds the lock, whatever the clock says of its file */
    if (!flock(fd, LOCK_EX | LOCK_NB))
        (void)unlinkat(folder_fd, name, 0);
    close(fd);
}

enum err blobs_sweep_temporary(struct blobs *b, unsigned older_than_s, struct errmsg *em)
{
    return walk(b, b->tmp_fd, remove_if_left, &older_than_s, em);
}

struct listing {
    void (*fn)(void *ctx, const char *name, unsigned age_s);
    void *ctx;
    const char *shelf;
};

static void list_one(void *ctx, int folder_fd, const char *name, unsigned age_s)
{
    (void)folder_fd;
    const struct listing *l = ctx;
    if (blob_name_valid(name) && !strncmp(name, l->shelf, SHELF_CHARS))
        l->fn(l->ctx, name, age_s);
}

enum err blobs_list(struct blobs *b, void (*fn)(void *ctx, const char *name, unsigned age_s),
                    void *ctx, struct errmsg *em)
{
    for (unsigned i = 0; i < N_SHELVES; i++) {
        char shelf[SHELF_CHARS + 1];
        struct listing l = {fn, ctx, shelf};
        int fd = -1;
        snprintf(shelf, sizeof shelf, "%02x", i & 0xffu);
        enum err rc = blobs_open_shelf(b, shelf, false, &fd, em);
        if (rc == ERR_NOTFOUND)
            continue;
        if (rc)
            return rc;
        rc = walk(b, fd, list_one, &l, em);
        close(fd);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* SPDX-License-Identifier: MIT */
#include "blobs/blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "blobs/blobs_impl.h"

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static const struct {
    const char *extension, *media_type;
} kinds[] = {
    {"png", "image/png"},
    {"jpg", "image/jpeg"},
    {"webp", "image/webp"},
    {"bin", "application/octet-stream"},
};

static const char *media_type_of_extension(const char *extension)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(extension, kinds[i].extension))
            return kinds[i].media_type;
    return NULL;
}

bool blob_extension_valid(const char *extension)
{
    return media_type_of_extension(extension) != NULL;
}

bool blob_digits_valid(const char *name)
{
    return strspn(name, "0123456789abcdef") == BLOB_DIGITS;
}

bool blob_name_valid(const char *name)
{
    return name && blob_digits_valid(name) && name[BLOB_DIGITS] == '.' &&
           blob_extension_valid(name + BLOB_DIGITS + 1);
}

const char *blob_media_type(const char *name)
{
    const char *dot = strrchr(name, '.');
    const char *type = dot ? media_type_of_extension(dot + 1) : NULL;
    return type ? type : "application/octet-stream";
}

enum err blobs_failed(const struct blobs *b, const char *doing, struct errmsg *em)
{
    int reason = errno;
    if (reason == ENOSPC)
        err_write(em,
                  "cannot %s %s: the disk is full; free some space or keep results for a shorter "
                  "time",
                  doing, b->dir);
    else if (reason == EDQUOT)
        err_write(em,
                  "cannot %s %s: the user's disk quota is used up; raise it or keep results for a "
                  "shorter time",
                  doing, b->dir);
    else
        err_write(em, "cannot %s %s: %s", doing, b->dir, strerror(reason));
    return file_write_err(reason);
}

/* Make the folder if it is missing, and durably: its parent is synced, too. */
static enum err make_folder(const struct blobs *b, int parent_fd, const char *name,
                            struct errmsg *em)
{
    if (mkdirat(parent_fd, name, 0700))
        return errno == EEXIST ? ERR_OK : blobs_failed(b, "make a folder in", em);
    return fsync(parent_fd) ? blobs_failed(b, "make a folder in", em) : ERR_OK;
}

enum err blobs_open_shelf(const struct blobs *b, const char *name, bool make, int *fd,
                          struct errmsg *em)
{
    char shelf[SHELF_CHARS + 1] = {name[0], name[1], '\0'};
    *fd = openat(b->dir_fd, shelf, FOLDER_FLAGS);
    if (*fd < 0 && errno == ENOENT && make) {
        enum err rc = make_folder(b, b->dir_fd, shelf, em);
        if (rc)
            return rc;
        *fd = openat(b->dir_fd, shelf, FOLDER_FLAGS);
    }
    if (*fd >= 0)
        return ERR_OK;
    if (errno == ENOENT && !make)
        return err_set(em, ERR_NOTFOUND, "there is no blob %s", name);
    return blobs_failed(b, "open a folder in", em);
}

static enum err open_folders(struct blobs *b, struct errmsg *em)
{
    bool made = mkdir(b->dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return blobs_failed(b, "make the folder", em);
    /* a link to a folder is the operator's choice here, but nowhere below */
    b->dir_fd = open(b->dir, FOLDER_FLAGS & ~O_NOFOLLOW);
    if (b->dir_fd < 0)
        return blobs_failed(b, "open the folder", em);
    if (made) {
        /* where the parent may not be read it cannot be synced: the system will, soon */
        int parent_fd = openat(b->dir_fd, "..", FOLDER_FLAGS);
        int failed = parent_fd >= 0 && fsync(parent_fd);
        if (parent_fd >= 0)
            close(parent_fd);
        if (failed)
            return blobs_failed(b, "make the folder", em);
    }
    enum err rc = make_folder(b, b->dir_fd, TEMPORARY_DIR, em);
    if (rc)
        return rc;
    b->tmp_fd = openat(b->dir_fd, TEMPORARY_DIR, FOLDER_FLAGS);
    return b->tmp_fd < 0 ? blobs_failed(b, "open a folder in", em) : ERR_OK;
}

enum err blobs_open(const char *dir, struct blobs **out, struct errmsg *em)
{
    struct blobs *b = calloc(1, sizeof *b);
    if (!b)
        return err_nomem(em, sizeof *b);
    b->dir_fd = b->tmp_fd = -1;
    b->dir = strdup(dir);
    enum err rc = b->dir ? open_folders(b, em) : err_nomem(em, strlen(dir));
    if (rc) {
        blobs_close(b);
        return rc;
    }
    *out = b;
    return ERR_OK;
}

void blobs_close(struct blobs *b)
{
    if (!b)
        return;
    if (b->tmp_fd >= 0)
        close(b->tmp_fd);
    if (b->dir_fd >= 0)
        close(b->dir_fd);
    free(b->dir);
    free(b);
}

enum err blobs_put(struct blobs *b, const char *extension, const void *bytes, size_t len,
                   char name[BLOB_NAME_CHARS + 1], struct errmsg *em)
{
    struct blob_writer *w = NULL;
    enum err rc = blob_writer_new(b, extension, &w, em);
    if (rc)
        return rc;
    rc = blob_writer_append(w, bytes, len, em);
    if (!rc)
        return blob_writer_commit(w, name, em);
    blob_writer_abort(w);
    return rc;
}

enum err blobs_get(struct blobs *b, const char *name, int *fd, uint64_t *size_bytes,
                   time_t *modified, struct errmsg *em)
{
    if (!blob_name_valid(name))
        return err_set(em, ERR_NOTFOUND, "there is no such blob: the name is none of ours");
    int shelf = -1;
    enum err rc = blobs_open_shelf(b, name, false, &shelf, em);
    if (rc)
        return rc;
    /* O_NONBLOCK: were it a FIFO, opening it must not hang us before fstat sees it */
    int file = openat(shelf, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int reason = errno;
    close(shelf);
    struct stat st;
    if (file < 0) {
        errno = reason;
        return reason == ENOENT ? err_set(em, ERR_NOTFOUND, "there is no blob %s", name)
                                : blobs_failed(b, "open a blob in", em);
    }
    if (fstat(file, &st) || !S_ISREG(st.st_mode)) {
        close(file);
        return err_set(em, ERR_NOTFOUND, "the blob %s is not a regular file", name);
    }
    *fd = file;
    *size_bytes = (uint64_t)st.st_size;
    *modified = st.st_mtime;
    return ERR_OK;
}

enum err blobs_delete(struct blobs *b, const char *name, struct errmsg *em)
{
    if (!blob_name_valid(name))
        return ERR_OK;
    int shelf = -1;
    enum err rc = blobs_open_shelf(b, name, false, &shelf, em);
    if (rc)
        return rc == ERR_NOTFOUND ? ERR_OK : rc;
    if (unlinkat(shelf, name, 0) && errno != ENOENT)
        rc = blobs_failed(b, "delete a blob in", em);
    close(shelf);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* A blob under way: a file in tmp/, locked while its writer lives, so that a sweep can tell it
 * from one that a crash left behind. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/size.h"
#include "blobs/blobs.h"
#include "blobs/blobs_impl.h"
#include "crypto/crypto.h"

_Static_assert(BLOB_NAME_CHARS >= BLOB_DIGITS + sizeof ".webp" - 1, "room for every extension");

struct blob_writer {
    struct blobs *blobs;
    int fd;
    enum err failed; /* it lacks bytes: it must never get a name */
    char name[BLOB_NAME_CHARS + 1];
    char temporary[BLOB_DIGITS + 1];
};

/* One random number names the temporary file and the blob. */
static enum err choose_names(struct blob_writer *w, const char *extension, struct errmsg *em)
{
    unsigned char random[BLOB_DIGITS / 2];
    enum err rc = crypto_random(random, sizeof random, em);
    if (rc)
        return rc;
    hex_encode(random, sizeof random, w->temporary);
    snprintf(w->name, sizeof w->name, "%s.%s", w->temporary, extension);
    return ERR_OK;
}

enum err blob_writer_new(struct blobs *b, const char *extension, struct blob_writer **out,
                         struct errmsg *em)
{
    if (!blob_extension_valid(extension))
        return err_set(em, ERR_USAGE, "a blob cannot end in \".%s\"; use png, jpg, webp or bin",
                       extension);
    struct blob_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_nomem(em, sizeof *w);
    w->blobs = b;
    w->fd = -1;
    enum err rc = choose_names(w, extension, em);
    if (!rc) {
        w->fd = openat(b->tmp_fd, w->temporary,
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (w->fd < 0 || flock(w->fd, LOCK_EX | LOCK_NB))
            rc = blobs_failed(b, "write to", em);
    }
    if (rc) {
        blob_writer_abort(w);
        return rc;
    }
    *out = w;
    return ERR_OK;
}

enum err blob_writer_append(struct blob_writer *w, const void *bytes, size_t len, struct errmsg *em)
{
    const unsigned char *p = bytes;
    while (len) {
        ssize_t n = write(w->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            w->failed = blobs_failed(w->blobs, "write to", em);
            return w->failed;
        }
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err move_to_shelf(struct blob_writer *w, struct errmsg *em)
{
    int shelf = -1;
    enum err rc = blobs_open_shelf(w->blobs, w->name, true, &shelf, em);
    if (rc)
        return rc;
    if (renameat(w->blobs->tmp_fd, w->temporary, shelf, w->name)) {
        rc = blobs_failed(w->blobs, "write to", em);
    } else if (fsync(shelf)) {
        rc = blobs_failed(w->blobs, "write to", em);
        /* nobody will learn the name */
        (void)unlinkat(shelf, w->name, 0);
    }
    close(shelf);
    return rc;
}

enum err blob_writer_commit(struct blob_writer *w, char name[BLOB_NAME_CHARS + 1],
                            struct errmsg *em)
{
    enum err rc = ERR_OK;
    if (w->failed)
        rc = err_set(em, w->failed, "the blob is incomplete: writing it failed before");
    else if (fsync(w->fd))
        rc = blobs_failed(w->blobs, "write to", em);
    if (!rc)
        rc = move_to_shelf(w, em);
    if (!rc)
        memcpy(name, w->name, sizeof w->name);
    blob_writer_abort(w);
    return rc;
}

void blob_writer_abort(struct blob_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        (void)unlinkat(w->blobs->tmp_fd, w->temporary, 0); /* gone already after a commit */
        close(w->fd);
    }
    free(w);
}

enum err blobs_probe(struct blobs *b, size_t size_bytes, struct errmsg *em)
{
    static const char zeros[64 << 10];
    struct blob_writer *w = NULL;
    enum err rc = blob_writer_new(b, "bin", &w, em);
    for (size_t left = size_bytes; !rc && left;) {
        size_t n = min_size(left, sizeof zeros);
        rc = blob_writer_append(w, zeros, n, em);
        left -= n;
    }
    blob_writer_abort(w);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* Files: small ones read whole, large ones mapped, results written atomically. */
#ifndef EASEL_BASE_FILE_H
#define EASEL_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Read a regular file (or "-": standard input) of at most max_bytes, appended
 * to out. ERR_NOTFOUND, ERR_IO, ERR_FORMAT (too large, not a regular file). */
NODISCARD enum err file_read(const char *path, size_t max_bytes, struct buf *out,
                             struct errmsg *em);

/* A read-only mapping. The file must not be truncated while it is mapped. */
struct file_map {
    const uint8_t *ptr;
    size_t len;
};
NODISCARD enum err file_map_open(struct file_map *map, const char *path, struct errmsg *em);
void file_map_close(struct file_map *map);
/* Give the mapping's resident pages back to the system; they are read again
 * from the file when they are next touched. */
void file_map_release_pages(const struct file_map *map);

/* Write to a temporary name in the same folder, fsync, rename: the path holds
 * the old content or all of the new one, never a part. Of a symbolic link, the file that it
 * leads to is replaced; what is no file (a device, a FIFO) is written to as it stands. */
NODISCARD enum err file_write_atomic(const char *path, const void *bytes, size_t len,
                                     struct errmsg *em);

/* A new file for writing in the folder of path, to be renamed to it when it is whole. *tmp: its
 * name, malloc'ed. Its mode is what the umask leaves of 0666. -1: see errno. */
int file_open_beside(const char *path, char **tmp);

/* All of bytes to an open file. path: for the message. */
NODISCARD enum err file_write_all(int fd, const char *path, const void *bytes, size_t len,
                                  struct errmsg *em);
/* The error, by errno, of a file that could not be written. */
NODISCARD enum err file_write_failed(const char *path, struct errmsg *em);

/* What it means that a file could not be written, by errno: ERR_FULL where the disk, a quota or a
 * limit on files' sizes is used up, else ERR_IO. */
enum err file_write_err(int os_error);

/* A new file in a folder, without a name: the system removes it with its last descriptor,
 * whatever becomes of this process. -1: see errno. */
int file_open_nameless(const char *dir);

bool file_exists(const char *path);
bool file_is_dir(const char *path);

/* dir + "/" + name in a new string (free it), or NULL without memory. */
char *path_join(const char *dir, const char *name);

#endif

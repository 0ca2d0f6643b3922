/* SPDX-License-Identifier: MIT */
/* Inside blobs/ only. The folder holds 256 shelves, "00" … "ff", made as they are needed, with
 * the blobs whose names begin so, and "tmp" with what is being written. Everything is reached
 * through descriptors of these folders, never through a link. */
#ifndef EASEL_BLOBS_BLOBS_IMPL_H
#define EASEL_BLOBS_BLOBS_IMPL_H

#include <stdbool.h>

#include "blobs/blobs.h"

#define BLOB_DIGITS 32u
#define SHELF_CHARS 2u
#define TEMPORARY_DIR "tmp"

struct blobs {
    char *dir; /* for messages */
    int dir_fd;
    int tmp_fd;
};

/* Is it BLOB_DIGITS lower-case hexadecimal digits, and where do they end? */
bool blob_digits_valid(const char *name);
bool blob_extension_valid(const char *extension);

/* The folder for a blob; the caller closes fd. make: if it is missing, durably.
 * ERR_NOTFOUND: missing. */
NODISCARD enum err blobs_open_shelf(const struct blobs *b, const char *name, bool make, int *fd,
                                    struct errmsg *em);
/* ERR_IO with errno's reason; ERR_FULL for a full disk, with words on what to do. */
NODISCARD enum err blobs_failed(const struct blobs *b, const char *doing, struct errmsg *em);

#endif

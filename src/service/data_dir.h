/* SPDX-License-Identifier: MIT */
/* The data folder: its parts, and the lock that makes a server its only one. */
#ifndef EASEL_SERVICE_DATA_DIR_H
#define EASEL_SERVICE_DATA_DIR_H

#include "base/err.h"

struct data_dir {
    char *path, *database, *blobs, *temporary, *workers;
    int lock_fd; /* -1: not locked */
};

/* Make what is missing (mode 0700) and take the lock: for the server. ERR_CONFLICT: another
 * one holds it. */
NODISCARD enum err data_dir_open_locked(const char *path, struct data_dir *out, struct errmsg *em);
/* For a worker: ERR_NOTFOUND where no server has ever been. */
NODISCARD enum err data_dir_open(const char *path, struct data_dir *out, struct errmsg *em);
/* A zeroed struct with lock_fd -1 is fine. */
void data_dir_close(struct data_dir *d);

#endif

/* SPDX-License-Identifier: MIT */
/* Where pictures lie: a folder, one file for each, behind names that cannot be guessed
 * (32 hexadecimal digits and an extension). A blob appears whole or not at all: it is written
 * to a temporary name, fsynced, renamed, and its folder fsynced. Thread-safe; several
 * processes may use one folder. What writes may return ERR_FULL: no room on the disk. */
#ifndef EASEL_BLOBS_BLOBS_H
#define EASEL_BLOBS_BLOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"

#define BLOB_NAME_CHARS 37u /* 32 digits, '.', up to four letters */

struct blobs;

/* Makes the folder (mode 0700) if it is missing. */
NODISCARD enum err blobs_open(const char *dir, struct blobs **out, struct errmsg *em);
void blobs_close(struct blobs *b);

/* "png", "jpg", "webp" or "bin" as extension. */
bool blob_name_valid(const char *name);
const char *blob_media_type(const char *name);

/* A blob under way. */
struct blob_writer;
NODISCARD enum err blob_writer_new(struct blobs *b, const char *extension, struct blob_writer **out,
                                   struct errmsg *em);
NODISCARD enum err blob_writer_append(struct blob_writer *w, const void *bytes, size_t len,
                                      struct errmsg *em);
/* Durable under its name from now on. Ends the writer, whatever it returns. */
NODISCARD enum err blob_writer_commit(struct blob_writer *w, char name[BLOB_NAME_CHARS + 1],
                                      struct errmsg *em);
void blob_writer_abort(struct blob_writer *w); /* NULL is fine */

NODISCARD enum err blobs_put(struct blobs *b, const char *extension, const void *bytes, size_t len,
                             char name[BLOB_NAME_CHARS + 1], struct errmsg *em);
/* Is there room for a blob of this size now? It is written, and dropped. */
NODISCARD enum err blobs_probe(struct blobs *b, size_t size_bytes, struct errmsg *em);
/* An open file: the caller closes fd. ERR_NOTFOUND, also for invalid names. */
NODISCARD enum err blobs_get(struct blobs *b, const char *name, int *fd, uint64_t *size_bytes,
                             time_t *modified, struct errmsg *em);
/* Gone already is ERR_OK. */
NODISCARD enum err blobs_delete(struct blobs *b, const char *name, struct errmsg *em);
/* Temporary files older than this are left over from a crash: remove them. */
NODISCARD enum err blobs_sweep_temporary(struct blobs *b, unsigned older_than_s, struct errmsg *em);
/* fn for each blob with its age; for finding orphans. fn may delete it. */
NODISCARD enum err blobs_list(struct blobs *b,
                              void (*fn)(void *ctx, const char *name, unsigned age_s), void *ctx,
                              struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* Where models are installed: a model's name is a folder in one of these places, in
 * this order: each folder of $EASEL_MODELS (separated by colons), the user's
 * ($XDG_DATA_HOME or ~/.local/share, then easel/models), models/ beside the build
 * folder that this code was built into, share/easel/models of the prefix that it lies in, and
 * that of the prefix it was built for (a program linked with the static library may lie
 * anywhere). */
#ifndef EASEL_LIB_REGISTRY_H
#define EASEL_LIB_REGISTRY_H

#include "base/err.h"

#define EMBEDDED_MODEL "nano"
#define PREVIEW_MODEL "taef2"

/* name: a path (it has a slash), an installed model's name, or else a folder here;
 * NULL or "": the embedded one. *out: the folder's path, malloc'ed. ERR_NOTFOUND lists what
 * is installed and where it was looked for. */
NODISCARD enum err registry_find(const char *name, char **out, struct errmsg *em);

/* Calls fn for each installed model folder (one with a model_index.json). */
NODISCARD enum err registry_list(void (*fn)(void *ctx, const char *name, const char *path),
                                 void *ctx, struct errmsg *em);

/* The folder of the autoencoder for previews, malloc'ed, or NULL if there is none. */
char *registry_find_preview(void);

#endif

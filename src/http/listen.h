/* SPDX-License-Identifier: MIT */
#ifndef EASEL_HTTP_LISTEN_H
#define EASEL_HTTP_LISTEN_H

#include "base/err.h"

/* A listening socket, not blocking, on "host:port" (text.h); *port: the one it got. */
NODISCARD enum err http_listen(const char *address, int *fd, unsigned *port, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* What the first run makes: the secrets of the service, and one key. */
#ifndef EASEL_SERVICE_SECRETS_H
#define EASEL_SERVICE_SECRETS_H

#include "store/store.h"

#define FIRST_KEY_NAME "default"

/* The secret that result URLs are signed with, made if it is not there yet; owned. */
NODISCARD enum err secrets_signing(struct store *st, char **secret, struct errmsg *em);
/* If there has never been a key: make one; *key is owned. Otherwise *key is untouched. */
NODISCARD enum err secrets_first_key(struct store *st, char **key, struct errmsg *em);

#endif

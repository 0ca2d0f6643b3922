/* SPDX-License-Identifier: MIT */
/* `easel serve`: the API, the webhooks, the upkeep and the supervised workers, put together.
 *
 * The data folder holds
 *     easel.db   the database (and its -wal and -shm)
 *     blobs/     pictures
 *     tmp/       large requests under way (nameless files)
 *     workers/   one locked file for each living worker: who is gone is known at once
 *     lock       held by the one server of the folder */
#ifndef EASEL_SERVICE_SERVICE_H
#define EASEL_SERVICE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What `easel worker` exits with when it cannot work at all: no model, no database. */
#define WORKER_EXIT_UNUSABLE 3
#define WORKERS_MAX 64u

struct service_options {
    const char *data_dir;       /* made if it is missing */
    const char *listen;         /* "127.0.0.1:8080"; port 0: any */
    const char *model;          /* NULL: the embedded one */
    unsigned n_workers;         /* 0: none here; workers run elsewhere on this machine */
    unsigned n_threads;         /* of each worker; 0: processors / workers */
    const char *public_url;     /* NULL: from the request's Host */
    const char *webhook_secret; /* NULL: made on the first run and kept in the store */
    bool allow_private_webhooks;
    bool previews;
    bool stub; /* workers draw nothing; for load tests */
    size_t queue_max;
    int64_t result_lifetime_ms;
    double price_output_mp, price_reference_mp;
    unsigned http_threads;       /* 0: one per processor, at least 4 */
    unsigned grace_s;            /* SIGTERM: time for the running picture */
    bool make_first_key;         /* on the first run, for `started` to show */
    const char *log_file;        /* NULL: standard error; reopened on SIGHUP */
    const char *access_log_file; /* NULL: none */
    const char *program;         /* what the workers are started with */
    /* service_worker_run only */
    const char *worker_name; /* NULL: a new one */
    int ready_fd;            /* where a supervisor listens; -1: there is none */
};
void service_defaults(struct service_options *o);

/* Until SIGTERM, SIGINT, or an error that ends it. `started` is called once, when requests are
 * served and the first worker is ready: first_key is the new key if one was made (else NULL),
 * url the base without a slash. A second signal ends the process at once. To be called from the
 * main thread, before any other thread is started. */
NODISCARD enum err service_run(const struct service_options *o,
                               void (*started)(void *ctx, const char *url, const char *first_key),
                               void *ctx, struct errmsg *em);
/* `easel worker`: one worker on the same data folder, until SIGTERM or a second SIGINT (hands the
 * task back) or SIGINT (finishes it); a supervised one takes other signals (service/spawn.h). */
NODISCARD enum err service_worker_run(const struct service_options *o, struct errmsg *em);

/* Where the data lies if nobody says: $XDG_DATA_HOME/easel, ~/.local/share/easel, or for root
 * /var/lib/easel; owned, NULL without memory. */
char *service_default_data_dir(void);
/* Paths inside of the data folder; owned, NULL without memory. */
char *service_database_path(const char *data_dir);
char *service_blobs_path(const char *data_dir);

/* The secret that webhooks are signed with, made if it is not there yet; owned. */
struct store;
NODISCARD enum err service_webhook_secret(struct store *st, char **secret, struct errmsg *em);

#endif

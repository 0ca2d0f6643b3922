/* SPDX-License-Identifier: MIT */
/* What has to be done now and then: a thread that notices what other processes have
 * committed (every 40 ms), takes tasks back from workers that are gone or stuck, and sweeps
 * what is past its lifetime. */
#ifndef EASEL_SERVICE_UPKEEP_H
#define EASEL_SERVICE_UPKEEP_H

#include "blobs/blobs.h"
#include "service/data_dir.h"
#include "service/log.h"
#include "store/store.h"

struct upkeep;

struct upkeep_options {
    struct store *store; /* borrowed, all of them */
    struct blobs *blobs;
    const struct data_dir *data;
    struct log *log;
    void (*on_change)(void *ctx); /* some process committed something */
    void *ctx;
};
/* Before anything is served, what a crash may have left is put right: tasks of dead workers go
 * back, half-written and ownerless pictures are deleted. Then the thread starts. */
NODISCARD enum err upkeep_start(const struct upkeep_options *o, struct upkeep **out,
                                struct errmsg *em);
void upkeep_stop(struct upkeep *u);
/* Take back the tasks of dead workers now. Any thread. */
void upkeep_call_roll(struct upkeep *u);
/* From now on a worker that is gone was ended by us: its task goes back without counting the
 * attempt. Any thread. */
void upkeep_set_stopping(struct upkeep *u);
/* Workers alive on this data folder, whoever started them. Any thread. */
size_t upkeep_n_workers(const struct upkeep *u);

#endif

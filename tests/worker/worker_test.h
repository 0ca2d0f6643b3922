/* SPDX-License-Identifier: MIT */
/* A store, blobs and a worker on a thread, in a folder that is removed at the end. */
#ifndef EASEL_TESTS_WORKER_TEST_H
#define EASEL_TESTS_WORKER_TEST_H

#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "blobs/blobs.h"
#include "store/store.h"
#include "worker/worker.h"

struct place {
    char dir[64];
    struct store *store;
    struct blobs *blobs;
    int64_t key_id;
    struct worker_options options; /* for the next start; name is "worker" */
    pthread_t thread;
    bool running;
    volatile sig_atomic_t stop, finish; /* set them with raise_flag */
    atomic_bool ready;
    atomic_bool ended; /* worker_run has returned */
    enum err returned; /* by worker_run */
    struct errmsg message;
    pthread_mutex_t log_lock;
    char log[16384]; /* written by the worker's thread: read it after place_join */
};

/* cmocka's setup and teardown; *state is a struct place. */
int place_setup(void **state);
int place_teardown(void **state);

void place_start(struct place *p);
/* Wait for worker_run to return, and check what it returned. */
void place_join(struct place *p, enum err expected);
/* Let it end what it has and return. */
void place_finish(struct place *p);

/* What most tests ask for: a PNG of 256x256 with seed 7. Its strings are literals. */
struct gen_request simple_request(const char *prompt);
/* out: the task's id. */
void place_submit(struct place *p, const struct gen_request *r, char id[TASK_ID_CHARS + 1]);
/* Wait until the task is in this state; fails the test when that takes too long, when it ends
 * in another or the worker has returned. The caller frees it with task_deinit. */
struct task place_wait(struct place *p, const char *id, enum task_state state);
struct task place_task(struct place *p, const char *id);
/* Whether the log has this text; also while the worker runs. */
bool place_logged(struct place *p, const char *text);
struct buf place_read(struct place *p, const char *blob);
size_t place_count_blobs(struct place *p);
void raise_flag(volatile sig_atomic_t *flag);
void sleep_ms(unsigned ms);

#endif

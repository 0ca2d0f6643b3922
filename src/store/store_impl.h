/* SPDX-License-Identifier: MIT */
/* The parts of the store, for its own files. Every write goes through store_write, every read
 * through reader_take and reader_give; the functions that take a struct db run inside of one. */
#ifndef EASEL_STORE_STORE_IMPL_H
#define EASEL_STORE_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "crypto/crypto.h"
#include "store/db_impl.h"
#include "store/store.h"

#define STORE_READERS_MAX 8u
#define STORE_PENDING_MAX 10000u /* writes that wait for the writer */
#define STORE_GROUP_MAX 1000u    /* writes in one transaction */
#define STORE_PAGE_BYTES 4096    /* as schema.c sets it */
#define BOOT_ID_CHARS 36u
#define STORE_DAY_MS ((int64_t)24 * 3600 * 1000)
#define TASK_CANCELLED_REASON "cancelled"
#define TASK_DAMAGED_REASON                                                                        \
    "the request was damaged on the server's disk and cannot be drawn; send it again"

struct writer;
struct readers;
struct key_cache;

struct store {
    char *path;
    struct store_options o; /* path is not kept */
    char boot_id[BOOT_ID_CHARS + 1];
    struct writer *writer;
    struct readers *readers;
    struct key_cache *key_cache;
    pthread_mutex_t watch_mutex; /* guards the next two */
    struct db *watch;            /* never writes, so that it sees everyone's commits */
    int64_t version;
    atomic_bool is_damaged; /* found by any connection; it does not heal */
};

/* Keeps in mind that this connection found damage. */
void store_note_damage(struct store *st, const struct db *db);

int64_t store_now_ms(const struct store *st);
/* The clock of leases: it runs through suspends and takes no notice of the wall clock being
 * set. Only comparable within one boot, which leases name. */
int64_t store_lease_now_ms(const struct store *st);

/* ---- schema.c ---- */
/* ERR_OK, too, if another process made it meanwhile. */
NODISCARD enum err schema_create(const char *path, struct errmsg *em);
NODISCARD enum err schema_check(struct db *db, const char *path, struct errmsg *em);
/* ERR_FORMAT: the file was cut short. What it lacks may lie in the log, where a checkpoint was cut
 * off or is under way: all is read then. */
NODISCARD enum err store_check_length(struct db *db, const char *path, struct errmsg *em);

/* ---- writer.c ---- */
NODISCARD enum err writer_new(struct store *st, struct db *db_take, struct writer **out,
                              struct errmsg *em);
void writer_free(struct writer *w);
typedef enum err write_fn(struct store *st, struct db *db, void *arg, struct errmsg *em);
/* Run fn on the writer's thread in a transaction, together with others' work, and wait for its
 * commit. What fn did is undone if it fails. fn must leave the caller's results alone until
 * store_write has returned ERR_OK: the commit may fail after it. */
NODISCARD enum err store_write(struct store *st, write_fn *fn, void *arg, struct errmsg *em);
/* The same, but an outage of the machine may undo it. */
NODISCARD enum err store_write_volatile(struct store *st, write_fn *fn, void *arg,
                                        struct errmsg *em);
/* Without waiting, and without a word if it fails; arg comes from malloc and is taken. */
void store_write_later_take(struct store *st, write_fn *fn, void *arg);

/* ---- readers.c ---- */
NODISCARD enum err readers_new(struct readers **out, struct errmsg *em);
void readers_free(struct readers *r);
NODISCARD enum err reader_take(struct store *st, struct db **out, struct errmsg *em);
/* rc: how the reading went; returned as the caller of the store is to see it. */
NODISCARD enum err reader_give(struct store *st, struct db *db, enum err rc);

/* ---- key_cache.c ---- */
NODISCARD enum err key_cache_new(struct key_cache **out, struct errmsg *em);
void key_cache_free(struct key_cache *c);
void key_cache_clear(struct key_cache *c);

/* ---- keys.c ---- */
NODISCARD enum err key_read(struct db *db, const uint8_t hash[SHA256_BYTES], struct api_key *out,
                            struct errmsg *em);
NODISCARD enum err key_copy(const struct api_key *from, struct api_key *out, struct errmsg *em);
/* Cancels queued tasks of revoked keys, n_max of them or a few more. */
NODISCARD enum err keys_cancel_revoked(struct store *st, size_t n_max, struct errmsg *em);

/* ---- changes.c ---- */
/* The task changed in a way that GET shows. */
NODISCARD enum err change_note(struct db *db, int64_t seq, struct errmsg *em);

/* ---- moves.c: the only place where a task's state changes ---- */
struct task_row {
    int64_t seq, key_id;
    enum task_state state;
    bool has_webhook;
    unsigned attempts;
    int64_t charged_micro;
    int swept;
};
/* key_id 0: any. ERR_NOTFOUND. */
NODISCARD enum err task_row_find(struct db *db, const char *id, int64_t key_id,
                                 struct task_row *out, struct errmsg *em);
NODISCARD enum err task_row_read(struct db *db, int64_t seq, struct task_row *out,
                                 struct errmsg *em);
/* What belongs to a task's first state; its row is there. */
NODISCARD enum err task_begin(struct store *st, struct db *db, const struct task_row *t,
                              struct errmsg *em);
/* Change the state and all that hangs on it: queue, lease, credits, totals, outbox. ERR_CONFLICT:
 * task_state_may_follow forbids it. reason: for FAILED, else NULL. */
NODISCARD enum err task_move(struct store *st, struct db *db, struct task_row *t,
                             enum task_state to, const char *reason, struct errmsg *em);
/* Take from the key's credits; *charged: 0 if it is unlimited. ERR_NOCREDITS; ERR_NOTFOUND: revoked
 * or unknown. */
NODISCARD enum err key_charge(struct db *db, int64_t key_id, int64_t cost, int64_t *charged,
                              struct errmsg *em);
NODISCARD enum err totals_add(struct db *db, const char *name, int64_t value, struct errmsg *em);

/* ---- task_read.c ---- */
NODISCARD enum err task_read(struct db *db, const char *id, int64_t key_id, struct task *out,
                             struct errmsg *em);

/* Can the task's request be read back? */
NODISCARD enum err request_check(struct db *db, int64_t seq, bool *damaged, struct errmsg *em);

/* ---- outbox.c ---- */
NODISCARD enum err outbox_add(struct store *st, struct db *db, int64_t seq, enum task_state state,
                              struct errmsg *em);
/* If none of the task's entries is ready, its first waiting one is from now on. */
NODISCARD enum err outbox_promote(struct db *db, int64_t seq, int64_t now_ms, struct errmsg *em);
#define OUTBOX_COLUMNS                                                                             \
    "o.id, t.id, o.message_id, o.state, o.url, o.secret, o.tries, o.created_ms, o.due_ms,"         \
    " o.last_error, o.last_status, o.phase, o.delivered_ms, t.dialect"
/* From a row of OUTBOX_COLUMNS. */
NODISCARD enum err outbox_read(sqlite3_stmt *q, struct outbox_entry *out, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* The truth about tasks, keys, webhooks and usage: SQLite here, behind functions that say
 * nothing of SQL, so that another database can stand in.
 *
 * What a function has returned ERR_OK for is on the disk (WAL, synchronous=FULL), except
 * where its comment says "volatile". Writers in one process share commits: each call waits
 * until the transaction that holds its work is durable, and calls that arrive meanwhile
 * share the next one. Several processes may open the same store.
 *
 * A change of a task's state, its outbox entry, its credits and its usage are one
 * transaction. All functions are thread-safe. Besides what each says, any may return ERR_FULL (no
 * room on the disk; it works again by itself when there is), ERR_IO (file damaged or out of reach:
 * the message says which), ERR_BUSY (locked by another program for longer than 10 s) or ERR_NOMEM.
 * Times are Unix milliseconds, from the system's clock unless the store was opened with another
 * (tests). Leases go by a clock that takes no notice of the wall clock being set.
 *
 * Callbacks borrow what they are given. Those of functions that read are called in the midst of
 * reading: they must not call the store. */
#ifndef EASEL_STORE_STORE_H
#define EASEL_STORE_STORE_H

#include "base/buf.h"
#include "store/task.h"

struct store;

/* How long things are kept; beyond that store_sweep_blobs forgets them. */
#define STORE_IDEMPOTENCY_MS ((int64_t)24 * 3600 * 1000)
#define STORE_DELIVERED_KEEP_MS ((int64_t)3 * 24 * 3600 * 1000) /* delivered outbox entries */
#define STORE_TASK_KEEP_MS ((int64_t)30 * 24 * 3600 * 1000) /* tasks, after their result's end */
#define STORE_PREVIEW_BYTES_MAX (1u << 20)

struct store_options {
    const char *path;             /* the database file; made if missing, mode 0600 */
    int64_t (*now_ms)(void *ctx); /* NULL: the system's clock */
    void *now_ctx;
    size_t queue_max;           /* CREATED tasks at most; 0: 1000 */
    int64_t result_lifetime_ms; /* of results and inputs; 0: 24 h */
    unsigned busy_ms;           /* wait for another program's lock; 0: 10 s */
    bool must_exist;            /* for the operator's commands: ERR_NOTFOUND if missing */
};
/* Makes the file whole or not at all; migrates an older one. ERR_FORMAT: not our database, damaged
 * or cut short, or of a newer version. An open store does not go through a fork. */
NODISCARD enum err store_open(const struct store_options *o, struct store **out, struct errmsg *em);
void store_close(struct store *st);
/* A number that changes when any process has committed; cheap, for polling. */
int64_t store_version(struct store *st);
/* Is it usable now: reads one row and writes one, to the disk. For /readyz. */
NODISCARD enum err store_check(struct store *st, struct errmsg *em);

/* fn for each task that began, changed its state or made progress since the number *since (0:
 * ever), which is moved on; a task may come twice. Positions in the queue are no changes of their
 * own. *all: any task may have changed, fn was not called, as there were more changes since than
 * are kept, some thousands. */
NODISCARD enum err store_changes(struct store *st, int64_t *since,
                                 void (*fn)(void *ctx, const char *task_id), void *ctx, bool *all,
                                 struct errmsg *em);

/* ---- settings: secrets made on the first run ---- */
/* ERR_NOTFOUND. *value is owned. */
NODISCARD enum err store_setting_get(struct store *st, const char *name, char **value,
                                     struct errmsg *em);
/* Set it unless it is there already; *value: what is there now, owned. */
NODISCARD enum err store_setting_init(struct store *st, const char *name, const char *initial,
                                      char **value, struct errmsg *em);

/* ---- keys ---- */
#define KEY_RATE_DEFAULT 50 /* requests a minute that make tasks */
#define KEY_PREFIX_CHARS 12u

struct api_key {
    int64_t id;
    char *name;
    char prefix[KEY_PREFIX_CHARS + 1];            /* the key's first characters, for lists */
    int64_t rate_per_minute;                      /* 0: unlimited */
    int64_t credits_micro;                        /* left; -1: unlimited */
    int64_t created_ms, revoked_ms, last_used_ms; /* 0: never */
};
void api_key_deinit(struct api_key *k);

/* A new key: "easel_" and 256 random bits in base64url (43 characters). Only its SHA-256 is
 * stored. *text: shown once, owned. ERR_CONFLICT: the name is taken (those of revoked keys are
 * free again). ERR_USAGE: the name is not
 * 1…64 printable ASCII characters without quotes. */
NODISCARD enum err store_key_create(struct store *st, const char *name, int64_t rate_per_minute,
                                    int64_t credits_micro, char **text, struct api_key *out,
                                    struct errmsg *em);
/* By what the client sent; compared by hash. ERR_NOTFOUND: unknown or revoked. From memory while
 * no key was made, limited or revoked: by this process, that is seen at once, by another within
 * 20 ms. Not for credits_micro, which may be old: store_key_get has it. last_used_ms is noted
 * once a minute, volatile. out: untouched on failure. */
NODISCARD enum err store_key_find(struct store *st, const char *text, struct api_key *out,
                                  struct errmsg *em);
NODISCARD enum err store_key_get(struct store *st, int64_t id, struct api_key *out,
                                 struct errmsg *em);
NODISCARD enum err store_key_list(struct store *st, void (*fn)(void *ctx, const struct api_key *k),
                                  void *ctx, struct errmsg *em);
/* By name. ERR_NOTFOUND. Its queued tasks are cancelled; running ones may end. Of many tasks that
 * takes a while, in which nothing of the key's begins and others' writes go on. */
NODISCARD enum err store_key_revoke(struct store *st, const char *name, struct errmsg *em);
/* rate < 0, credits < -1: unchanged. */
NODISCARD enum err store_key_limit(struct store *st, const char *name, int64_t rate_per_minute,
                                   int64_t credits_micro, struct errmsg *em);

/* ---- tasks: the API's side ---- */
/* A client's 255, and what tells the tasks of one request apart. */
#define STORE_IDEMPOTENCY_KEY_CHARS 263u
struct task_new {
    int64_t key_id;
    enum task_dialect dialect;
    const struct gen_request *request;
    int64_t cost_microcredits;   /* taken from the key now, given back if it fails */
    const char *idempotency_key; /* or NULL; at most STORE_IDEMPOTENCY_KEY_CHARS */
    const uint8_t *body_hash;    /* SHA-256 of the body; with idempotency_key */
};
/* Queue it, with the outbox entry for CREATED if it has a webhook. *existing: an earlier task
 * with this idempotency key (within 24 h) and the same body was returned instead.
 * ERR_CONFLICT: the same idempotency key, another body. ERR_BUSY: the queue is full.
 * ERR_NOCREDITS. ERR_NOTFOUND: the key is revoked. ERR_USAGE: an idempotency key that is empty or
 * too long, text that is not UTF-8, numbers out of range. out: owned, task_deinit. Many
 * callers at once share a commit: that, not speed of one, is what gives many tasks a second. */
NODISCARD enum err store_task_create(struct store *st, const struct task_new *n, struct task *out,
                                     bool *existing, struct errmsg *em);
/* All n of them, each as above, or none: out and existing have n places. */
NODISCARD enum err store_tasks_create(struct store *st, const struct task_new *news, size_t n,
                                      struct task *out, bool *existing, struct errmsg *em);
/* key_id 0: whoever it belongs to. ERR_NOTFOUND: unknown, or another key's. */
NODISCARD enum err store_task_get(struct store *st, const char *id, int64_t key_id,
                                  struct task *out, struct errmsg *em);
/* Newest first. after: id of the last task of the page before, or NULL. model NULL: any;
 * key_id 0: any; state < 0: any. fn borrows. ERR_NOTFOUND: no such `after`. */
struct task_query {
    int64_t key_id;
    const char *model;
    int state;
    const char *after;
    size_t limit; /* at most 200 */
};
NODISCARD enum err store_task_list(struct store *st, const struct task_query *q,
                                   void (*fn)(void *ctx, const struct task *t), void *ctx,
                                   struct errmsg *em);
/* Queued: FAILED "cancelled" now. Running: asked to stop, which its worker does within a step
 * (unless it completes first). Final: nothing. out (or NULL): the task as it is now. */
NODISCARD enum err store_task_cancel(struct store *st, const char *id, int64_t key_id,
                                     struct task *out, struct errmsg *em);
/* The operator's: FAILED -> CREATED, attempts from 0, cost taken again (ERR_NOCREDITS); the bound
 * of the queue does not hold for it. ERR_CONFLICT: not FAILED, or its references were swept.
 * ERR_NOTFOUND: no such task, or its key is revoked. */
NODISCARD enum err store_task_retry(struct store *st, const char *id, struct errmsg *em);
/* The newest preview of a running task, a JPEG appended to out. ERR_NOTFOUND: none. */
NODISCARD enum err store_task_preview(struct store *st, const char *id, int64_t key_id,
                                      struct buf *out, struct errmsg *em);

/* ---- tasks: the worker's side ---- */
/* Take the next task: of all keys with queued tasks, the one served longest ago; of its tasks
 * the oldest. One whose request can no longer be read FAILED, with a reason. worker: a name that is
 * never used twice (host, pid, start). ERR_EMPTY. out: the caller owns it; IN_PROGRESS, attempts
 * counted, lease_ms from now. */
NODISCARD enum err store_task_claim(struct store *st, const char *worker, int64_t lease_ms,
                                    struct task *out, struct errmsg *em);
/* Progress and a new lease, volatile. preview (a JPEG) may be NULL. *cancel: the user wants it
 * stopped. ERR_CONFLICT: the lease was lost, the task is not ours any more: stop. */
struct task_progress {
    const char *stage;
    unsigned step, n_steps;
    double fraction;
    const void *preview;
    size_t preview_len;
};
NODISCARD enum err store_task_progress(struct store *st, const char *id, const char *worker,
                                       int64_t lease_ms, const struct task_progress *p,
                                       bool *cancel, struct errmsg *em);
/* Final states; ERR_CONFLICT as above. The result's blob must be durable before. */
struct task_result {
    const char *blob;
    const char *enhanced_prompt; /* or NULL */
    double seconds[8];           /* per stage, for metrics; unused are 0 */
    size_t n_seconds;
    const char *const *stage_names;
};
NODISCARD enum err store_task_complete(struct store *st, const char *id, const char *worker,
                                       const struct task_result *r, struct errmsg *em);
NODISCARD enum err store_task_fail(struct store *st, const char *id, const char *worker,
                                   const char *reason, struct errmsg *em);
/* Back to the queue's front, without counting the attempt: the worker was asked to end. */
NODISCARD enum err store_task_hand_back(struct store *st, const char *id, const char *worker,
                                        struct errmsg *em);

/* ---- upkeep, once a second or so by one process ---- */
/* Leases that ran out: the task goes back to the queue, or fails after TASK_ATTEMPTS_MAX
 * attempts with "the worker stopped …"; *n: how many. dead_worker (or NULL): its leases count
 * as run out, for a supervisor that has seen it die. */
NODISCARD enum err store_sweep_leases(struct store *st, const char *dead_worker, size_t *n,
                                      struct errmsg *em);
/* Blobs of tasks past their lifetime, results and references: hidden from users first, then fn
 * deletes one and says whether that is done (gone already is done), then the store forgets it;
 * what is cut off in between is found again. fn may call the store. *n, at most `limit`: tasks
 * that hold no blob any more; GET goes on to tell of them. Also forgets idempotency keys,
 * delivered outbox entries and tasks past theirs: a task is unknown 30 days after its result's
 * end, with what is dead in its outbox. */
NODISCARD enum err store_sweep_blobs(struct store *st, size_t limit,
                                     bool (*fn)(void *ctx, const char *blob), void *ctx, size_t *n,
                                     struct errmsg *em);
/* Does any task hold this blob? For finding orphans. */
NODISCARD enum err store_blob_is_held(struct store *st, const char *blob, bool *held,
                                      struct errmsg *em);

/* ---- webhooks: what is owed ---- */
struct outbox_entry {
    int64_t id;
    char task_id[TASK_ID_CHARS + 1];
    char message_id[TASK_ID_CHARS + 1]; /* webhook-id: the same over all tries */
    enum task_state state;              /* the change that it tells of */
    enum task_dialect dialect;          /* of its task */
    char *url, *secret;                 /* secret NULL: the service's */
    unsigned tries;
    int64_t created_ms, due_ms;
    char *last_error; /* for the operator, "HTTP 500" too; or NULL */
    int last_status;  /* HTTP, or 0 */
    bool waits;       /* for an earlier one of its task: due_ms says nothing yet */
    bool dead;
    int64_t delivered_ms; /* 0: not yet */
};
void outbox_entry_deinit(struct outbox_entry *e);
/* Entries that are due, and the first of their task not yet delivered or dead (so that order
 * holds), and not leased; leased for lease_ms. fn takes a copy if it wants one, and may call the
 * store. */
NODISCARD enum err store_outbox_claim(struct store *st, size_t limit, int64_t lease_ms,
                                      void (*fn)(void *ctx, const struct outbox_entry *e),
                                      void *ctx, size_t *n, struct errmsg *em);
NODISCARD enum err store_outbox_delivered(struct store *st, int64_t id, int status,
                                          struct errmsg *em);
/* due_ms: the next try; dead: no more. */
NODISCARD enum err store_outbox_failed(struct store *st, int64_t id, int status, const char *error,
                                       int64_t due_ms, bool dead, struct errmsg *em);
/* End all leases at once: what is not recorded as delivered is due again. For the one process that
 * delivers, when it begins and when it ends: nobody else may be at it. *n: how many. */
NODISCARD enum err store_outbox_release(struct store *st, size_t *n, struct errmsg *em);
/* When the next entry is due; INT64_MAX: none. */
NODISCARD enum err store_outbox_next_due(struct store *st, int64_t *due_ms, struct errmsg *em);
/* The wall clock was set back by back_ms: what was planned by it before is due that much earlier,
 * so that it does not wait for hours for a time that has been. */
NODISCARD enum err store_outbox_clock_back(struct store *st, int64_t back_ms, struct errmsg *em);
/* For the operator; only_dead, newest first. */
NODISCARD enum err store_outbox_list(struct store *st, bool only_dead, size_t limit,
                                     void (*fn)(void *ctx, const struct outbox_entry *e), void *ctx,
                                     struct errmsg *em);
/* Due now, tries from 0. id 0: all dead ones. ERR_NOTFOUND. *n: how many. */
NODISCARD enum err store_outbox_redeliver(struct store *st, int64_t id, size_t *n,
                                          struct errmsg *em);

/* ---- numbers ---- */
struct usage_day {
    char day[11]; /* "2026-01-31", UTC */
    int64_t pictures;
    double megapixels;
    int64_t cost_microcredits;
};
/* Completed pictures of a key by day, oldest first, of the last n_days. */
NODISCARD enum err store_usage(struct store *st, int64_t key_id, size_t n_days,
                               void (*fn)(void *ctx, const struct usage_day *d), void *ctx,
                               struct errmsg *em);

struct store_stats {
    int64_t n_created, n_in_progress; /* now */
    int64_t oldest_created_ms;        /* when the oldest queued task came; 0: none */
    int64_t n_completed, n_failed;    /* ever */
    int64_t webhooks_pending, webhooks_dead, webhooks_delivered, webhooks_tries_failed;
    struct {
        char name[16];
        double seconds;
    } stages[8]; /* sums over completed tasks */
    size_t n_stages;
};
NODISCARD enum err store_stats(struct store *st, struct store_stats *out, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* The delivering thread:
 *
 *     outbox ──claim, a lease──> queue of its receiver ──a free slot──> transfer ──> outcome
 *        ^                            │ lease too short                                 │
 *        └────────────────────────────┴──────────── delivered, or due again, or dead ───┘
 *
 * The last step is the recorder's. Whatever is lost between two boxes comes back: after a crash
 * or a stop with the next start, which ends all leases, else when its lease has run out. Order per
 * task is the store's: it gives a task's next entry only after the one before. */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/size.h"
#include "crypto/crypto.h"
#include "webhooks/webhooks_impl.h"

#define CONCURRENCY_DEFAULT 64u
#define CONCURRENCY_MAX 1024u
#define PER_HOST_DEFAULT 8u
#define TIMEOUT_MS_DEFAULT 15000u

#define TICK_S 0.1         /* between looks at the store's version */
#define CLAIM_GAP_S 0.005  /* between claims, so that wakes in a burst share one */
#define TROUBLE_GAP_S 1.0  /* after the store failed */
#define CLOCK_BACK_MS 1000 /* a wall clock set back by less makes no difference */
#define DUE_GAP_MS 250     /* until due entries that no claim gave are asked for again */
#define CLAIM_ENTRIES_MAX 256u
#define QUEUE_ENTRIES_MAX 4096u
#define RECORDING_MAX 256u    /* outcomes that the store has not taken; then nothing starts */
#define RECORDING_GRACE_S 2.0 /* for those at the end */
#define LEASE_WAIT_S 25.0     /* the part of a lease that may be spent in a queue */
#define LEASE_MARGIN_S 5.0    /* and what remains after the transfer */

struct webhooks {
    struct webhooks_options o; /* with defaults */
    struct retry_schedule schedule;
    char *secret;
    unsigned *backoff_s;
    CURLM *multi;
    pthread_t thread;
    atomic_bool woken, stopping;
    atomic_uint grace_ms;
    struct receivers receivers;
    struct delivery *running;
    struct recorder *recorder;
    bool store_failed;
    bool record_first; /* since it failed: leases of what waits to be recorded may be over */
    /* when the store has to be asked, see look_for_work */
    bool look_now;
    double claim_at_s, tick_at_s; /* not before that: if look_now, if not */
    int64_t version, next_due_ms;
    int64_t wall_ahead_ms; /* of the steady clock, when last seen */
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t wall_ahead_ms(void)
{
    return now_ms() - (int64_t)(1000 * clock_now_s());
}

static double lease_s(const struct webhooks *w)
{
    return LEASE_WAIT_S + w->o.timeout_ms / 1000.0 + LEASE_MARGIN_S;
}

/* ---- log ---- */

static void log_line(const struct webhooks *w, const char *level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static void log_line(const struct webhooks *w, const char *level, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    if (!w->o.log)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    w->o.log(w->o.ctx, level, line);
}

/* Once when the trouble starts and once when it is over, not at every look. */
static void note_store(struct webhooks *w, enum err rc, const struct errmsg *em)
{
    if (rc && !w->store_failed)
        log_line(w, "error", "webhooks wait, the store fails: %s", em->text);
    if (!rc && w->store_failed)
        log_line(w, "info", "webhooks go on, the store works again");
    w->store_failed = rc != ERR_OK;
}

static void log_failure(const struct webhooks *w, const struct delivery *d, int64_t delay_ms)
{
    const char *receiver = d->url.receiver[0] ? d->url.receiver : "an invalid URL";
    const char *state = task_state_name(d->entry.state);
    if (delay_ms < 0)
        log_line(w, "error", "webhook %" PRId64 " (%s of task %s) to %s is dead after try %u: %s",
                 d->entry.id, state, d->entry.task_id, receiver, d->entry.tries + 1,
                 d->outcome.error);
    else
        log_line(w, "warning",
                 "webhook %" PRId64 " (%s of task %s) to %s failed, next try in %.0f s: %s",
                 d->entry.id, state, d->entry.task_id, receiver, (double)delay_ms / 1000,
                 d->outcome.error);
}

/* ---- outcomes ---- */

static void plan_next_try(struct webhooks *w, struct delivery *d)
{
    uint32_t random;
    if (crypto_random(&random, sizeof random, NULL))
        random = UINT32_MAX / 2; /* a delay without jitter is still a delay */
    int64_t now = now_ms();
    int64_t delay_ms =
        retry_delay_ms(&w->schedule, &d->outcome, d->entry.tries, d->entry.created_ms, now, random);
    d->dead = delay_ms < 0;
    d->next_try_ms = d->dead ? now : now + delay_ms;
    log_failure(w, d, delay_ms);
}

/* Its outcome is known. */
static void end_take(struct webhooks *w, struct delivery *d)
{
    if (!d->outcome.delivered)
        plan_next_try(w, d);
    recorder_put_take(w->recorder, d);
}

/* It ends before it was a transfer. */
static void fail_take(struct webhooks *w, struct delivery *d, bool hopeless, const char *error)
{
    d->outcome = (struct outcome){.hopeless = hopeless};
    outcome_fail(&d->outcome, "%s", error);
    end_take(w, d);
}

/* ---- from the outbox to the queues ---- */

struct claimed {
    struct delivery *first, **last;
};

/* Inside of the store's transaction: only copies. One that finds no memory waits out its lease. */
static void on_claimed(void *ctx, const struct outbox_entry *e)
{
    struct claimed *c = ctx;
    if (delivery_new(e, c->last, NULL))
        *c->last = NULL;
    else
        c->last = &(*c->last)->next;
}

static bool is_running(const struct webhooks *w, int64_t id)
{
    for (const struct delivery *d = w->running; d; d = d->next)
        if (d->entry.id == id)
            return true;
    return false;
}

static void enqueue_take(struct webhooks *w, struct delivery *d, double now_s)
{
    struct errmsg em;
    d->lease_ends_s = now_s + lease_s(w);
    enum err rc = webhook_url_parse(d->entry.url, &d->url, &em);
    if (!rc)
        rc = webhook_url_policy(&d->url, w->o.allow_private, &em);
    if (rc == ERR_USAGE) {
        (void)!err_prefix(&em, rc, "webhook_url");
        fail_take(w, d, true, em.text);
        return;
    }
    /* given twice if the system's clock jumped over the lease */
    bool twice = !rc && (is_running(w, d->entry.id) || receivers_hold(&w->receivers, d));
    if (rc || twice || receivers_push_take(&w->receivers, d, now_s, &em))
        delivery_free(d);
}

static enum err claim(struct webhooks *w, size_t limit, size_t *n, struct errmsg *em)
{
    struct claimed claimed = {NULL, &claimed.first};
    double now_s = clock_now_s();
    enum err rc = store_outbox_claim(w->o.store, limit, (int64_t)(1000 * lease_s(w)), on_claimed,
                                     &claimed, n, em);
    for (struct delivery *d = claimed.first, *next; d; d = next) {
        next = d->next;
        d->next = NULL;
        if (rc)
            delivery_free(d);
        else
            enqueue_take(w, d, now_s);
    }
    if (rc == ERR_EMPTY) {
        *n = 0;
        rc = ERR_OK;
    }
    return rc;
}

/* How many more entries the queues take, after giving up what they cannot serve in time. */
static size_t queue_room(struct webhooks *w)
{
    struct receivers *rs = &w->receivers;
    size_t n_pending = recorder_n_pending(w->recorder);
    w->record_first = w->record_first && n_pending;
    if (w->record_first || n_pending >= RECORDING_MAX)
        return 0;
    receivers_drop_stale(rs, clock_now_s() + w->o.timeout_ms / 1000.0 + LEASE_MARGIN_S);
    if (rs->n_queued + CLAIM_ENTRIES_MAX > QUEUE_ENTRIES_MAX)
        receivers_shed(rs, LEASE_WAIT_S);
    return min_size(QUEUE_ENTRIES_MAX - min_size(rs->n_queued, QUEUE_ENTRIES_MAX),
                    CLAIM_ENTRIES_MAX);
}

/* Claim, and find out when to claim again. */
static enum err take_what_is_due(struct webhooks *w, size_t room, struct errmsg *em)
{
    size_t n = 0;
    enum err rc = claim(w, room, &n, em);
    if (rc)
        return rc;
    if (n == room) { /* there may be more */
        w->look_now = true;
        return ERR_OK;
    }
    rc = store_outbox_next_due(w->o.store, &w->next_due_ms, em);
    if (w->next_due_ms < now_ms() + DUE_GAP_MS)
        w->next_due_ms = now_ms() + DUE_GAP_MS;
    return rc;
}

static void hear_recorder(struct webhooks *w)
{
    struct errmsg em;
    enum err rc;
    if (!recorder_news(w->recorder, &rc, &em))
        return;
    note_store(w, rc, &em);
    w->record_first = w->record_first || rc;
    w->look_now = true; /* the task's next entry may be due */
}

static double look_at_s(const struct webhooks *w)
{
    return w->look_now ? w->claim_at_s : w->tick_at_s;
}

/* What is due is known by the wall clock, which somebody may set. Forward, tries come early. */
static void heed_clock(struct webhooks *w)
{
    struct errmsg em;
    int64_t ahead_ms = wall_ahead_ms(), back_ms = w->wall_ahead_ms - ahead_ms;
    if (back_ms >= CLOCK_BACK_MS) {
        enum err rc = store_outbox_clock_back(w->o.store, back_ms, &em);
        note_store(w, rc, &em);
        if (rc)
            return; /* the next look finds it still ahead */
        log_line(w, "warning",
                 "the clock went back by %.0f s; what webhooks wait for is moved by as much",
                 (double)back_ms / 1000);
        w->look_now = true;
    }
    w->wall_ahead_ms = ahead_ms;
}

/* The store is asked when somebody woke us, one of ours ended, any process committed, or an
 * entry became due. */
static void look_for_work(struct webhooks *w)
{
    struct errmsg em;
    double now_s = clock_now_s();
    if (atomic_exchange(&w->woken, false))
        w->look_now = true;
    hear_recorder(w);
    if (now_s < look_at_s(w))
        return;
    w->tick_at_s = now_s + TICK_S;
    heed_clock(w);
    int64_t version = store_version(w->o.store);
    if (!w->look_now && version == w->version && now_ms() < w->next_due_ms)
        return;
    w->look_now = true;
    w->claim_at_s = now_s + TICK_S;
    size_t room = queue_room(w);
    if (!room)
        return;
    w->version = version;
    w->look_now = false;
    w->claim_at_s = now_s + CLAIM_GAP_S;
    enum err rc = take_what_is_due(w, room, &em);
    note_store(w, rc, &em);
    if (rc) {
        w->look_now = true;
        w->claim_at_s = now_s + TROUBLE_GAP_S;
    }
}

/* ---- transfers ---- */

/* Its body and its signature, and off it goes. */
static enum err begin(struct webhooks *w, struct delivery *d, struct errmsg *em)
{
    struct transfer_options options = {
        .allow_private = w->o.allow_private,
        .timeout_ms = w->o.timeout_ms,
        .secret = w->secret,
    };
    enum err rc = w->o.render(w->o.ctx, &d->entry, &d->body, em);
    if (rc == ERR_NOTFOUND)
        return err_set(em, rc, "the task is gone");
    if (!rc)
        rc = transfer_prepare(d, &options, em);
    if (!rc && curl_multi_add_handle(w->multi, d->easy))
        rc = err_set(em, ERR_NOMEM, "out of memory for a webhook's transfer");
    return rc;
}

static void start_what_may(struct webhooks *w)
{
    struct errmsg em;
    struct delivery *d;
    while (recorder_n_pending(w->recorder) < RECORDING_MAX &&
           (d = receivers_start(&w->receivers)) != NULL) {
        double now_s = clock_now_s();
        bool stale = d->lease_ends_s < now_s + w->o.timeout_ms / 1000.0 + LEASE_MARGIN_S;
        enum err rc = stale ? ERR_OK : begin(w, d, &em);
        if (!stale && !rc) {
            d->next = w->running;
            w->running = d;
            continue;
        }
        receivers_end(&w->receivers, d, -1, now_s);
        if (stale)
            delivery_free(d);
        else /* a wrong secret stays wrong */
            fail_take(w, d, rc == ERR_NOTFOUND || rc == ERR_USAGE, em.text);
    }
}

static void unlink_running(struct webhooks *w, struct delivery *d)
{
    struct delivery **link = &w->running;
    while (*link != d)
        link = &(*link)->next;
    *link = d->next;
    d->next = NULL;
    curl_multi_remove_handle(w->multi, d->easy);
}

static void finish(struct webhooks *w, struct delivery *d, CURLcode result)
{
    double now_s = clock_now_s();
    transfer_judge(d, result, w->o.timeout_ms, &d->outcome);
    unlink_running(w, d);
    receivers_end(&w->receivers, d, now_s - d->started_s, now_s);
    end_take(w, d);
}

static void collect(struct webhooks *w)
{
    int n_left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(w->multi, &n_left)) != NULL) {
        char *d = NULL;
        CURLcode result = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        /* it was set with the handle, so that it cannot be missing */
        (void)!curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &d);
        finish(w, (struct delivery *)d, result);
    }
}

static void transfer_some(struct webhooks *w, int wait_ms)
{
    int n_running;
    if (curl_multi_poll(w->multi, NULL, 0, wait_ms, NULL) ||
        curl_multi_perform(w->multi, &n_running))
        log_line(w, "error", "webhooks: curl's event loop fails");
    collect(w);
}

static int wait_ms(const struct webhooks *w)
{
    double wait_s = look_at_s(w) - clock_now_s();
    return wait_s > TICK_S ? (int)(1000 * TICK_S) : wait_s > 0 ? (int)(1000 * wait_s) + 1 : 0;
}

/* ---- the thread ---- */

/* Nobody is at any entry: of a store one process delivers, and here it begins or has ended. */
static void end_leases(struct webhooks *w)
{
    struct errmsg em;
    size_t n = 0;
    enum err rc = store_outbox_release(w->o.store, &n, &em);
    if (rc)
        log_line(w, "warning", "webhooks that were under way wait for their leases: %s", em.text);
}

/* What is under way may end; the rest is for the next start. */
static void wind_up(struct webhooks *w)
{
    double end_s = clock_now_s() + atomic_load(&w->grace_ms) / 1000.0, left_s;
    receivers_shed(&w->receivers, 0);
    while (w->running && (left_s = end_s - clock_now_s()) > 0)
        transfer_some(w, (int)(1000 * (left_s < TICK_S ? left_s : TICK_S)) + 1);
    while (w->running) {
        struct delivery *d = w->running;
        unlink_running(w, d);
        delivery_free(d);
    }
    recorder_free(w->recorder, clock_now_s() + RECORDING_GRACE_S);
    w->recorder = NULL;
    end_leases(w);
}

static void *deliver(void *arg)
{
    struct webhooks *w = arg;
    pthread_setname_np(pthread_self(), "webhooks");
    end_leases(w);
    while (!atomic_load(&w->stopping)) {
        look_for_work(w);
        start_what_may(w);
        transfer_some(w, wait_ms(w));
    }
    wind_up(w);
    return NULL;
}

static void webhooks_free(struct webhooks *w)
{
    recorder_free(w->recorder, 0);
    receivers_deinit(&w->receivers);
    if (w->multi)
        curl_multi_cleanup(w->multi);
    if (w->secret)
        explicit_bzero(w->secret, strlen(w->secret));
    free(w->secret);
    free(w->backoff_s);
    free(w);
}

static enum err copy_options(struct webhooks *w, const struct webhooks_options *o,
                             struct errmsg *em)
{
    w->o = *o;
    w->o.concurrency =
        min_size(o->concurrency ? o->concurrency : CONCURRENCY_DEFAULT, CONCURRENCY_MAX);
    w->o.per_host = o->per_host ? o->per_host : PER_HOST_DEFAULT;
    w->o.timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS_DEFAULT;
    w->receivers.max_running = w->o.concurrency;
    w->receivers.per_host = w->o.per_host;
    w->schedule = retry_standard;
    w->secret = strdup(o->secret);
    if (!w->secret)
        return err_nomem(em, strlen(o->secret) + 1);
    if (!o->n_backoff)
        return ERR_OK;
    w->backoff_s = calloc(o->n_backoff, sizeof *w->backoff_s);
    if (!w->backoff_s)
        return err_nomem(em, o->n_backoff * sizeof *w->backoff_s);
    memcpy(w->backoff_s, o->backoff_s, o->n_backoff * sizeof *w->backoff_s);
    w->schedule = (struct retry_schedule){w->backoff_s, o->n_backoff};
    return ERR_OK;
}

static void on_recorded(void *ctx)
{
    struct webhooks *w = ctx;
    curl_multi_wakeup(w->multi);
}

/* Signals are for the main thread; a broken pipe of TLS is an error like others. */
static enum err start_threads(struct webhooks *w, struct errmsg *em)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    enum err rc = recorder_new(w->o.store, on_recorded, w, &w->recorder, em);
    if (!rc && pthread_create(&w->thread, NULL, deliver, w))
        rc = err_set(em, ERR_NOMEM, "cannot start the thread for webhooks");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

enum err webhooks_start(const struct webhooks_options *o, struct webhooks **out, struct errmsg *em)
{
    if (!o->secret)
        return err_set(em, ERR_USAGE, "webhooks need a secret to sign with");
    enum err rc = webhook_secret_check(o->secret, em);
    if (rc)
        return rc;
    struct webhooks *w = calloc(1, sizeof *w);
    if (!w)
        return err_nomem(em, sizeof *w);
    w->look_now = true;
    w->wall_ahead_ms = wall_ahead_ms();
    rc = copy_options(w, o, em);
    if (!rc && (curl_global_init(CURL_GLOBAL_DEFAULT) || !(w->multi = curl_multi_init()) ||
                curl_multi_setopt(w->multi, CURLMOPT_MAXCONNECTS, (long)w->o.concurrency)))
        rc = err_set(em, ERR_NOMEM, "cannot start curl for webhooks");
    if (!rc)
        rc = start_threads(w, em);
    if (rc) {
        webhooks_free(w);
        return rc;
    }
    *out = w;
    return ERR_OK;
}

void webhooks_wake(struct webhooks *w)
{
    atomic_store(&w->woken, true);
    curl_multi_wakeup(w->multi);
}

void webhooks_stop(struct webhooks *w, unsigned grace_ms)
{
    if (!w)
        return;
    atomic_store(&w->grace_ms, grace_ms);
    atomic_store(&w->stopping, true);
    curl_multi_wakeup(w->multi);
    pthread_join(w->thread, NULL);
    webhooks_free(w);
}

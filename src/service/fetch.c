/* SPDX-License-Identifier: MIT */
/* The thread that carries all transfers, and the requests that wait for it. A request that is
 * given up leaves its job behind: the thread drops it, and nobody waits for that. */
#include "service/fetch.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "service/fetch_impl.h"

#define WAIT_MS 1000 /* for nothing in particular: wakes come through curl_multi_wakeup */

/*  begin ──> NEW ──> RUNNING ──> WAKING ──> DONE ──> end
 *              └────────┴── end: reach is NULL from then on */
enum job_state { JOB_NEW, JOB_RUNNING, JOB_WAKING, JOB_DONE };

struct job {
    struct job *next;
    struct reach *reach; /* NULL: given up */
    enum job_state state;
    int64_t key_id;
    size_t n_looks, n_pictures;
    size_t n_running; /* the thread's own, like all below while it runs */
    size_t bytes;
    size_t n;
    struct fetch fetches[];
};

struct fetcher {
    char *dir;
    bool allow_private;
    CURLM *multi;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t woken; /* a job is DONE */
    bool stop;
    struct job *jobs;
    atomic_size_t bytes; /* of all jobs, in files */
};

/* ---- jobs ---- */

static void job_free(struct job *j)
{
    for (size_t i = 0; i < j->n; i++)
        fetch_deinit(&j->fetches[i]);
    free(j);
}

static enum err job_new(struct fetcher *f, struct reach *r, struct job **out, struct errmsg *em)
{
    struct job *j = calloc(1, sizeof *j + r->n * sizeof j->fetches[0]);
    if (!j)
        return err_nomem(em, sizeof *j);
    j->reach = r;
    j->key_id = r->key_id;
    enum err rc = ERR_OK;
    while (j->n < r->n && !rc) {
        const struct reach_item *item = &r->items[j->n];
        struct fetch *x = &j->fetches[j->n++];
        x->fence = (struct fence){.allow_private = f->allow_private, .look = item->look};
        x->dir = f->dir;
        x->request_bytes = &j->bytes;
        x->all_bytes = &f->bytes;
        rc = fetch_prepare(x, item->url, j, em);
        j->n_looks += item->look;
        j->n_pictures += !item->look;
    }
    if (rc)
        job_free(j);
    else
        *out = j;
    return rc;
}

/* Under the lock. */
static void unlink_job(struct fetcher *f, struct job *j)
{
    struct job **at = &f->jobs;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
}

/* Under the lock. What is done takes no part of the transfers any more. */
static enum err check_bounds(const struct fetcher *f, const struct job *new, struct errmsg *em)
{
    size_t looks = new->n_looks, pictures = new->n_pictures, of_key = new->n_pictures;
    for (const struct job *j = f->jobs; j; j = j->next) {
        if (j->state >= JOB_WAKING)
            continue;
        looks += j->n_looks;
        pictures += j->n_pictures;
        of_key += j->key_id == new->key_id ? j->n_pictures : 0;
    }
    bool full = (new->n_looks &&looks > FETCH_LOOKS_MAX) ||
                (new->n_pictures && (pictures > FETCH_MAX || of_key > FETCH_PER_KEY_MAX));
    return full ? err_set(em, ERR_BUSY, "too many addresses are being reached for") : ERR_OK;
}

enum err fetcher_begin(struct fetcher *f, struct reach *r, struct errmsg *em)
{
    struct job *j;
    enum err rc = job_new(f, r, &j, em);
    if (rc)
        return rc;
    pthread_mutex_lock(&f->lock);
    rc = check_bounds(f, j, em);
    if (!rc) {
        r->impl = j;
        j->next = f->jobs;
        f->jobs = j;
    }
    pthread_mutex_unlock(&f->lock);
    if (rc)
        job_free(j);
    else
        curl_multi_wakeup(f->multi);
    return rc;
}

void fetcher_end(struct fetcher *f, struct reach *r)
{
    struct job *j = r->impl;
    pthread_mutex_lock(&f->lock);
    while (j->state == JOB_WAKING)
        pthread_cond_wait(&f->woken, &f->lock);
    bool ours = j->state == JOB_NEW || j->state == JOB_DONE;
    if (ours)
        unlink_job(f, j);
    else
        j->reach = NULL;
    pthread_mutex_unlock(&f->lock);
    if (ours)
        job_free(j);
    else
        curl_multi_wakeup(f->multi);
}

/* ---- on the thread ---- */

static struct job *next_job(struct fetcher *f, enum job_state state, bool given_up)
{
    pthread_mutex_lock(&f->lock);
    struct job *j = f->jobs;
    while (j && (j->state != state || (j->reach == NULL) != given_up))
        j = j->next;
    if (j)
        j->state = JOB_RUNNING;
    if (j && given_up)
        unlink_job(f, j);
    pthread_mutex_unlock(&f->lock);
    return j;
}

static void give_out(struct reach *r, const struct job *j)
{
    for (size_t i = 0; i < j->n; i++) {
        const struct fetch *x = &j->fetches[i];
        struct reach_item *item = &r->items[i];
        item->rc = x->rc;
        item->em = x->em;
        item->bytes = x->map;
        item->len = x->len;
    }
}

static void finish_if_done(struct fetcher *f, struct job *j)
{
    if (j->n_running)
        return;
    pthread_mutex_lock(&f->lock);
    struct reach *r = j->reach;
    if (r) {
        give_out(r, j);
        j->state = JOB_WAKING;
    }
    pthread_mutex_unlock(&f->lock);
    if (!r)
        return;          /* drop_given_up will find it */
    r->finished(r->ctx); /* not under the lock, which the woken may want */
    pthread_mutex_lock(&f->lock);
    j->state = JOB_DONE;
    pthread_cond_broadcast(&f->woken);
    pthread_mutex_unlock(&f->lock);
}

static void start_new(struct fetcher *f)
{
    struct job *j;
    while ((j = next_job(f, JOB_NEW, false))) {
        for (size_t i = 0; i < j->n; i++) {
            struct fetch *x = &j->fetches[i];
            if (!x->easy)
                continue;
            if (curl_multi_add_handle(f->multi, x->easy))
                fetch_settle(x, CURLE_OUT_OF_MEMORY);
            else
                j->n_running++;
        }
        finish_if_done(f, j);
    }
}

static void drop_given_up(struct fetcher *f)
{
    struct job *j;
    while ((j = next_job(f, JOB_RUNNING, true))) {
        for (size_t i = 0; i < j->n; i++)
            if (j->fetches[i].easy)
                curl_multi_remove_handle(f->multi, j->fetches[i].easy);
        job_free(j);
    }
}

static void settle(struct fetcher *f, CURL *easy, CURLcode code)
{
    char *private = NULL;
    /* it was set with the handle, so that it cannot be missing */
    (void)!curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    struct job *j = (struct job *)private;
    size_t i = 0;
    while (j->fetches[i].easy != easy)
        i++;
    curl_multi_remove_handle(f->multi, easy);
    fetch_settle(&j->fetches[i], code);
    j->n_running--;
    finish_if_done(f, j);
}

static void transfer_some(struct fetcher *f)
{
    int n;
    CURLMsg *message;
    (void)!curl_multi_poll(f->multi, NULL, 0, WAIT_MS, NULL);
    (void)!curl_multi_perform(f->multi, &n);
    while ((message = curl_multi_info_read(f->multi, &n)) != NULL)
        if (message->msg == CURLMSG_DONE)
            settle(f, message->easy_handle, message->data.result);
}

static bool is_stopping(struct fetcher *f)
{
    pthread_mutex_lock(&f->lock);
    bool stop = f->stop;
    pthread_mutex_unlock(&f->lock);
    return stop;
}

static void *fetcher_main(void *ctx)
{
    struct fetcher *f = ctx;
    pthread_setname_np(pthread_self(), "fetcher");
    while (!is_stopping(f)) {
        start_new(f);
        drop_given_up(f);
        transfer_some(f);
    }
    drop_given_up(f);
    return NULL;
}

/* ---- the fetcher ---- */

static enum err start_thread(struct fetcher *f, struct errmsg *em)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    f->started = pthread_create(&f->thread, NULL, fetcher_main, f) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return f->started ? ERR_OK
                      : err_set(em, ERR_NOMEM, "cannot start the thread that fetches pictures");
}

enum err fetcher_new(const struct fetcher_options *o, struct fetcher **out, struct errmsg *em)
{
    struct fetcher *f = calloc(1, sizeof *f);
    if (!f)
        return err_nomem(em, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->woken, NULL);
    f->allow_private = o->allow_private;
    f->dir = strdup(o->dir);
    enum err rc = f->dir ? ERR_OK : err_nomem(em, strlen(o->dir));
    if (!rc && (curl_global_init(CURL_GLOBAL_DEFAULT) || !(f->multi = curl_multi_init())))
        rc = err_set(em, ERR_NOMEM, "cannot start curl for fetching pictures");
    if (!rc)
        rc = start_thread(f, em);
    if (rc)
        fetcher_free(f);
    else
        *out = f;
    return rc;
}

void fetcher_free(struct fetcher *f)
{
    if (!f)
        return;
    if (f->started) {
        pthread_mutex_lock(&f->lock);
        f->stop = true;
        pthread_mutex_unlock(&f->lock);
        curl_multi_wakeup(f->multi);
        pthread_join(f->thread, NULL);
    }
    curl_multi_cleanup(f->multi);
    pthread_cond_destroy(&f->woken);
    pthread_mutex_destroy(&f->lock);
    free(f->dir);
    free(f);
}

/* SPDX-License-Identifier: MIT */
/* A few threads for what may take a second (decoding pictures, storing tasks), so that the
 * threads of the server do not. The queue is bounded; a job that is taken back
 * while a thread is at it is waited for. */
#include <signal.h>
#include <stdlib.h>

#include "api/core_impl.h"

struct checkers {
    pthread_mutex_t lock;
    pthread_cond_t added, done;
    struct check_job *first, **last;
    size_t n_queued, queue_max;
    bool stop;
    unsigned n_threads;
    pthread_t threads[];
};

static struct check_job *next_job(struct checkers *c)
{
    while (!c->first && !c->stop)
        pthread_cond_wait(&c->added, &c->lock);
    struct check_job *j = c->first;
    if (!j)
        return NULL;
    c->first = j->next;
    if (!c->first)
        c->last = &c->first;
    c->n_queued--;
    j->state = CHECK_RUNNING;
    return j;
}

static void *checker_main(void *ctx)
{
    struct checkers *c = ctx;
    struct check_job *j;
    pthread_mutex_lock(&c->lock);
    while ((j = next_job(c))) {
        pthread_mutex_unlock(&c->lock);
        j->run(j);
        pthread_mutex_lock(&c->lock);
        j->state = CHECK_WAKING;
        pthread_mutex_unlock(&c->lock);
        j->finished(j); /* not under the lock, which the woken may want */
        pthread_mutex_lock(&c->lock);
        j->state = CHECK_DONE; /* from here on it may be forgotten and freed */
        pthread_cond_broadcast(&c->done);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

enum err checkers_new(unsigned n_threads, size_t queue_max, struct checkers **out,
                      struct errmsg *em)
{
    struct checkers *c = calloc(1, sizeof *c + n_threads * sizeof c->threads[0]);
    if (!c)
        return err_nomem(em, sizeof *c);
    c->last = &c->first;
    c->queue_max = queue_max;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->added, NULL);
    pthread_cond_init(&c->done, NULL);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (c->n_threads < n_threads &&
           pthread_create(&c->threads[c->n_threads], NULL, checker_main, c) == 0)
        c->n_threads++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (c->n_threads < n_threads) {
        checkers_free(c);
        return err_set(em, ERR_NOMEM, "a thread for checking pictures could not be started");
    }
    *out = c;
    return ERR_OK;
}

void checkers_free(struct checkers *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->added);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->n_threads; i++)
        pthread_join(c->threads[i], NULL);
    pthread_cond_destroy(&c->done);
    pthread_cond_destroy(&c->added);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

enum err checkers_add(struct checkers *c, struct check_job *j, struct errmsg *em)
{
    pthread_mutex_lock(&c->lock);
    bool full = c->n_queued >= c->queue_max;
    if (!full) {
        j->state = CHECK_QUEUED;
        j->next = NULL;
        *c->last = j;
        c->last = &j->next;
        c->n_queued++;
        pthread_cond_signal(&c->added);
    }
    pthread_mutex_unlock(&c->lock);
    return full ? err_set(em, ERR_BUSY, "too many pictures wait to be checked") : ERR_OK;
}

bool checkers_done(struct checkers *c, const struct check_job *j)
{
    pthread_mutex_lock(&c->lock);
    bool done = j->state >= CHECK_WAKING;
    pthread_mutex_unlock(&c->lock);
    return done;
}

static void unqueue(struct checkers *c, struct check_job *j)
{
    struct check_job **at = &c->first;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    if (c->last == &j->next)
        c->last = at;
    c->n_queued--;
    j->state = CHECK_IDLE;
}

void checkers_forget(struct checkers *c, struct check_job *j)
{
    pthread_mutex_lock(&c->lock);
    if (j->state == CHECK_QUEUED)
        unqueue(c, j);
    while (j->state == CHECK_RUNNING || j->state == CHECK_WAKING)
        pthread_cond_wait(&c->done, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

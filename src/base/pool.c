/* SPDX-License-Identifier: MIT */
/* Workers spin for a short while between jobs, because a step is hundreds of
 * jobs a few milliseconds apart, then sleep on a condition variable. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"

#define SPIN_ROUNDS 2000

struct pool;

struct worker {
    struct pool *pool;
    pthread_t thread;
    unsigned index;
};

struct pool {
    unsigned n_threads;
    struct worker *workers; /* n_threads - 1 of them; the caller is worker 0 */
    pthread_mutex_t run_lock;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_cond_t done;
    atomic_uint generation; /* changes when a job starts */
    atomic_uint n_busy;
    atomic_bool stop;
    void (*fn)(void *, size_t, unsigned);
    void *ctx;
    size_t n_tasks;
    atomic_size_t next_task;
};

static void take_tasks(struct pool *p, unsigned worker)
{
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&p->next_task, 1, memory_order_relaxed);
        if (task >= p->n_tasks)
            return;
        p->fn(p->ctx, task, worker);
    }
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static bool generation_changed(struct pool *p, unsigned seen)
{
    return atomic_load_explicit(&p->generation, memory_order_acquire) != seen;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPIN_ROUNDS && !generation_changed(p, seen); i++)
            relax();
        if (!generation_changed(p, seen)) {
            pthread_mutex_lock(&p->lock);
            while (!generation_changed(p, seen))
                pthread_cond_wait(&p->wake, &p->lock);
            pthread_mutex_unlock(&p->lock);
        }
        seen = atomic_load_explicit(&p->generation, memory_order_acquire);
        if (atomic_load(&p->stop))
            return NULL;
        take_tasks(p, w->index);
        if (atomic_fetch_sub(&p->n_busy, 1) == 1) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
    }
}

static void start_generation(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->generation, 1, memory_order_release);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void wait_done(struct pool *p)
{
    for (int i = 0; i < SPIN_ROUNDS && atomic_load(&p->n_busy); i++)
        relax();
    if (!atomic_load(&p->n_busy))
        return;
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->n_busy))
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(struct pool *p, size_t n_tasks, void (*fn)(void *, size_t, unsigned), void *ctx)
{
    pthread_mutex_lock(&p->run_lock);
    if (p->n_threads == 1 || n_tasks <= 1) {
        for (size_t i = 0; i < n_tasks; i++)
            fn(ctx, i, 0);
    } else {
        p->fn = fn;
        p->ctx = ctx;
        p->n_tasks = n_tasks;
        atomic_store(&p->next_task, 0);
        atomic_store(&p->n_busy, p->n_threads - 1);
        start_generation(p);
        take_tasks(p, 0);
        wait_done(p);
    }
    pthread_mutex_unlock(&p->run_lock);
}

unsigned pool_n_threads(const struct pool *p)
{
    return p->n_threads;
}

/* A cgroup's CPU quota, rounded up to whole processors; 0 when there is none. */
static unsigned cgroup_processors(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    unsigned n = 0;
    if (f) {
        unsigned long long quota, period;
        if (fscanf(f, "%llu %llu", &quota, &period) == 2 && period)
            n = (unsigned)((quota + period - 1) / period);
        fclose(f);
    }
    return n;
}

unsigned pool_usable_processors(void)
{
    cpu_set_t set;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    unsigned quota = cgroup_processors();
    if (quota && quota < (unsigned)n)
        n = quota;
    if (n < 1)
        n = 1;
    return n > (long)LIMIT_THREADS_MAX ? LIMIT_THREADS_MAX : (unsigned)n;
}

static void stop_workers(struct pool *p, unsigned n_started)
{
    atomic_store(&p->stop, true);
    start_generation(p);
    for (unsigned i = 0; i < n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
}

static void release(struct pool *p)
{
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->run_lock);
    free(p->workers);
    free(p);
}

enum err pool_new(unsigned n_threads, struct pool **out, struct errmsg *em)
{
    if (!n_threads)
        n_threads = pool_usable_processors();
    if (n_threads > LIMIT_THREADS_MAX)
        return err_set(em, ERR_USAGE, "%u threads are more than %u", n_threads,
                       LIMIT_THREADS_MAX);
    struct pool *p = calloc(1, sizeof *p);
    struct worker *workers = calloc(n_threads, sizeof *workers);
    if (!p || !workers) {
        free(p);
        free(workers);
        return err_nomem(em, n_threads * sizeof *workers);
    }
    p->n_threads = n_threads;
    p->workers = workers;
    pthread_mutex_init(&p->run_lock, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    for (unsigned i = 0; i + 1 < n_threads; i++) {
        workers[i] = (struct worker){.pool = p, .index = i + 1};
        if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i])) {
            stop_workers(p, i);
            release(p);
            return err_set(em, ERR_NOMEM, "cannot start thread %u of %u", i + 2, n_threads);
        }
    }
    *out = p;
    return ERR_OK;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    stop_workers(p, p->n_threads - 1);
    release(p);
}

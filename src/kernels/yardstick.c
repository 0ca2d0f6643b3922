/* SPDX-License-Identifier: MIT */
/* What a processor can do at most: fused multiply-adds between registers, and reading
 * memory in order. */
#include "base/clock.h"
#include "kernels/bench.h"
#include "kernels/cpu/cpu.h"

#define PEAK_SECONDS 0.004 /* of one measurement: shorter than a time slice */
#define READ_TASKS 64

void kernels_yardstick_init(struct kernels_yardstick *y, struct backend *be)
{
    const struct cpu_kernels *k = &cpu_backend_of(be)->k;
    y->be = be;
    for (y->rounds = 1000; y->rounds < (size_t)1 << 40; y->rounds *= 2) {
        double start = clock_now_s();
        (void)k->fma_rounds(y->rounds);
        if (clock_now_s() - start > PEAK_SECONDS / 2)
            return;
    }
}

static void peak_task(void *ctx, size_t task, unsigned worker)
{
    const struct kernels_yardstick *y = ctx;
    (void)task;
    (void)worker;
    (void)cpu_backend_of(y->be)->k.fma_rounds(y->rounds);
}

double kernels_yardstick_measure(struct kernels_yardstick *y)
{
    struct cpu_backend *be = cpu_backend_of(y->be);
    size_t n = pool_n_threads(be->pool);
    double start = clock_now_s();
    pool_run(be->pool, n, peak_task, y);
    double s = clock_now_s() - start;
    return (double)(n * y->rounds * be->k.fma_flops_per_round) / s * 1e-9;
}

struct reading {
    const struct cpu_kernels *k;
    const char *bytes;
    size_t part_bytes;
};

static void read_task(void *ctx, size_t task, unsigned worker)
{
    const struct reading *r = ctx;
    (void)worker;
    (void)r->k->read_bytes(r->bytes + task * r->part_bytes, r->part_bytes);
}

double kernels_read_gbytes_s(struct backend *be, const void *bytes, size_t size_bytes)
{
    struct cpu_backend *cpu = cpu_backend_of(be);
    struct reading r = {&cpu->k, bytes, size_bytes / READ_TASKS};
    double start = clock_now_s();
    pool_run(cpu->pool, READ_TASKS, read_task, &r);
    return (double)size_bytes / (clock_now_s() - start) * 1e-9;
}

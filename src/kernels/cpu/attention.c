/* SPDX-License-Identifier: MIT */
/* Attention cut into tasks: a block of queries of all heads that share one k/v
 * head. A query's result does not depend on the block it is in. */
#include "base/size.h"
#include "kernels/cpu/cpu.h"

/* Rows (queries times the heads that share k and v) of one task: as many as keep q
 * and out in half of a second-level cache, but fewer where that leaves too few tasks
 * for a machine with many processors. All are multiples of a panel of the kernels (24
 * or 48 rows). */
#define TASK_ROWS_MAX 384
#define TASK_ROWS_MIN 96
#define TASK_ELEMS_MAX (384 * 128)
#define TASKS_WANTED 64

struct attention_job {
    const struct cpu_backend *be;
    const struct attention_args *a;
    size_t task_queries;
    size_t n_blocks; /* of queries */
};

static void attention_task(void *ctx, size_t task, unsigned worker)
{
    const struct attention_job *job = ctx;
    const struct attention_args *a = job->a;
    /* a head's blocks follow each other: its k and v are still in a near cache */
    size_t kv_head = task / job->n_blocks;
    size_t q0 = task % job->n_blocks * job->task_queries;
    job->be->op.attention(a, kv_head, q0, min_size(job->task_queries, a->n_q - q0),
                          job->be->scratch[worker]);
}

void cpu_attention(struct backend *be, const struct attention_args *a)
{
    struct attention_job job = {.be = cpu_backend_of(be), .a = a};
    size_t group = a->n_heads / a->n_kv_heads;
    size_t rows = TASK_ROWS_MAX;
    while (rows > TASK_ROWS_MIN && (rows * a->head_dim > TASK_ELEMS_MAX ||
                                    a->n_q * a->n_heads / rows < TASKS_WANTED))
        rows /= 2;
    job.task_queries = max_size(1, rows / group);
    job.n_blocks = div_up(a->n_q, job.task_queries);
    pool_run(job.be->pool, a->n_kv_heads * job.n_blocks, attention_task, &job);
}

/* SPDX-License-Identifier: MIT */
/* Attention cut into tasks: a block of queries of all heads that share one k/v
 * head. A query's result does not depend on the block it is in. */
#include "base/size.h"
#include "kernels/cpu/cpu.h"

/* Rows (queries times the heads that share k and v) of one task: enough that
 * fetching a key or value costs little beside using it, few enough that q and out
 * stay in the second-level cache and that there are tasks for every thread. */
#define TASK_ROWS 384
#define TASK_ELEMS (384 * 256)

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
    job->be->kb.attention(a, kv_head, q0, min_size(job->task_queries, a->n_q - q0),
                          job->be->scratch[worker]);
}

void cpu_attention(struct backend *be, const struct attention_args *a)
{
    struct attention_job job = {.be = cpu_backend_of(be), .a = a};
    size_t rows = min_size(TASK_ROWS, TASK_ELEMS / a->head_dim);
    job.task_queries = max_size(1, rows / (a->n_heads / a->n_kv_heads));
    job.n_blocks = div_up(a->n_q, job.task_queries);
    pool_run(job.be->pool, a->n_kv_heads * job.n_blocks, attention_task, &job);
}

/* SPDX-License-Identifier: MIT */
/* Element-wise operations cut into tasks, and the table of this processor's
 * functions. */
#include "base/size.h"
#include "kernels/cpu/cpu.h"

/* Elements of one task: 64 KiB of floats. */
#define TASK_ELEMS ((size_t)16 << 10)

void cpu_op_kernels_init(struct cpu_op_kernels *k, enum cpu_level level)
{
    cpu_attention_init_ref(k);
    cpu_norm_init_ref(k);
    cpu_vector_init_ref(k);
#if defined(__x86_64__)
    if (level >= CPU_AVX2) {
        cpu_attention_init_avx2(k);
        cpu_norm_init_avx2(k);
        cpu_vector_init_avx2(k);
    }
    if (level >= CPU_AVX512) {
        cpu_attention_init_avx512(k);
        cpu_norm_init_avx512(k);
        cpu_vector_init_avx512(k);
    }
#else
    (void)level;
#endif
}

struct embed_job {
    const struct cpu_backend *be;
    float *y;
    size_t ldy;
    const struct weight *table;
    const int32_t *ids;
};

static void embed_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct embed_job *job = ctx;
    const struct weight *t = job->table;
    size_t row = (size_t)job->ids[task];
    const char *src = (const char *)t->data + row * t->ld * dtype_size(t->dtype);
    job->be->op.to_f32(job->y + task * job->ldy, src, t->dtype, t->n_cols);
}

void cpu_embed(struct backend *be, float *y, size_t ldy, const struct weight *table,
               const int32_t *ids, size_t n)
{
    struct embed_job job = {.be = cpu_backend_of(be), .y = y, .ldy = ldy, .table = table,
                            .ids = ids};
    pool_run(job.be->pool, n, embed_task, &job);
}

struct vector_job {
    const struct cpu_backend *be;
    float *y;
    const float *x;
    float a;
    size_t n;
};

static size_t task_elems(const struct vector_job *job, size_t task)
{
    return min_size(TASK_ELEMS, job->n - task * TASK_ELEMS);
}

static void silu_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct vector_job *job = ctx;
    size_t i = task * TASK_ELEMS;
    job->be->op.silu(job->y + i, job->x + i, task_elems(job, task));
}

void cpu_silu(struct backend *be, float *y, const float *x, size_t n)
{
    struct vector_job job = {.be = cpu_backend_of(be), .y = y, .x = x, .n = n};
    pool_run(job.be->pool, div_up(n, TASK_ELEMS), silu_task, &job);
}

static void axpy_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct vector_job *job = ctx;
    size_t i = task * TASK_ELEMS;
    job->be->op.axpy(job->y + i, job->a, job->x + i, task_elems(job, task));
}

void cpu_axpy(struct backend *be, float *y, float a, const float *x, size_t n)
{
    struct vector_job job = {.be = cpu_backend_of(be), .y = y, .x = x, .a = a, .n = n};
    pool_run(job.be->pool, div_up(n, TASK_ELEMS), axpy_task, &job);
}

static void tanh_scaled_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct vector_job *job = ctx;
    size_t i = task * TASK_ELEMS;
    job->be->op.tanh_scaled(job->y + i, job->x + i, job->a, task_elems(job, task));
}

void cpu_tanh_scaled(struct backend *be, float *y, const float *x, float limit, size_t n)
{
    struct vector_job job = {.be = cpu_backend_of(be), .y = y, .x = x, .a = limit, .n = n};
    pool_run(job.be->pool, div_up(n, TASK_ELEMS), tanh_scaled_task, &job);
}

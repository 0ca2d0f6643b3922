/* SPDX-License-Identifier: MIT */
/* Norms cut into tasks of rows. Rows are independent, except in group_norm: there
 * each chunk of pixels leaves its sums, and these are added in the chunks' order;
 * the chunks depend on the picture's shape alone. */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cpu/cpu.h"

/* Floats that a task should have, so that starting it costs nothing beside it. */
#define TASK_FLOATS ((size_t)32 << 10)

static size_t rows_per_task(size_t row_floats)
{
    return max_size(1, TASK_FLOATS / max_size(1, row_floats));
}

struct rows_job {
    const struct cpu_backend *be;
    const struct head_norm_rope_args *rope;
    float *y;
    const float *x;
    size_t ldy, ldx, n, channels, task_rows;
    const float *w, *shift, *scale;
    float eps;
};

static void head_norm_rope_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct rows_job *job = ctx;
    const struct head_norm_rope_args *a = job->rope;
    size_t half = a->head_dim / 2;
    size_t end = min_size(a->n, (task + 1) * job->task_rows);
    for (size_t i = task * job->task_rows; i < end; i++) {
        const float *cos = a->cos ? a->cos + i * half : NULL;
        const float *sin = a->sin ? a->sin + i * half : NULL;
        for (size_t h = 0; h < a->n_heads; h++)
            job->be->op.head_norm_rope(a->x + i * a->ldx + h * a->head_dim, a->head_dim, job->w,
                                       a->eps, a->style, cos, sin);
    }
}

void cpu_head_norm_rope(struct backend *be, const struct head_norm_rope_args *a)
{
    struct rows_job job = {.be = cpu_backend_of(be),
                           .rope = a,
                           .w = a->w ? a->w->f32 : NULL,
                           .task_rows = rows_per_task(a->n_heads * a->head_dim)};
    pool_run(job.be->pool, div_up(a->n, job.task_rows), head_norm_rope_task, &job);
}

static void rms_norm_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct rows_job *job = ctx;
    size_t end = min_size(job->n, (task + 1) * job->task_rows);
    for (size_t i = task * job->task_rows; i < end; i++)
        job->be->op.rms_norm(job->y + i * job->ldy, job->x + i * job->ldx, job->channels, job->w,
                             job->eps);
}

void cpu_rms_norm(struct backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t n,
                  size_t channels, const struct weight *w, float eps)
{
    struct rows_job job = {.be = cpu_backend_of(be),
                           .y = y,
                           .ldy = ldy,
                           .x = x,
                           .ldx = ldx,
                           .n = n,
                           .channels = channels,
                           .w = w->f32,
                           .eps = eps,
                           .task_rows = rows_per_task(channels)};
    pool_run(job.be->pool, div_up(n, job.task_rows), rms_norm_task, &job);
}

static void layer_norm_mod_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct rows_job *job = ctx;
    size_t end = min_size(job->n, (task + 1) * job->task_rows);
    for (size_t i = task * job->task_rows; i < end; i++)
        job->be->op.layer_norm_mod(job->y + i * job->ldy, job->x + i * job->ldx, job->channels,
                                   job->shift, job->scale, job->eps);
}

void cpu_layer_norm_mod(struct backend *be, float *y, size_t ldy, const float *x, size_t ldx,
                        size_t n, size_t channels, const float *shift, const float *scale,
                        float eps)
{
    struct rows_job job = {.be = cpu_backend_of(be),
                           .y = y,
                           .ldy = ldy,
                           .x = x,
                           .ldx = ldx,
                           .n = n,
                           .channels = channels,
                           .shift = shift,
                           .scale = scale,
                           .eps = eps,
                           .task_rows = rows_per_task(channels)};
    pool_run(job.be->pool, div_up(n, job.task_rows), layer_norm_mod_task, &job);
}

/* The sums of one group_norm, in the first thread's scratch. */
struct group_sums_job {
    const struct cpu_backend *be;
    const float *x;
    size_t n, channels, n_groups;
    size_t chunk_rows;
    double *sum; /* [n_chunks, 2, n_groups]: sums, then sums of squares */
};

#define GROUP_CHUNKS_MAX 256

static void group_sums_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct group_sums_job *job = ctx;
    size_t first = task * job->chunk_rows;
    double *sum = job->sum + task * 2 * job->n_groups;
    memset(sum, 0, 2 * job->n_groups * sizeof *sum);
    job->be->op.group_sums(job->x + first * job->channels,
                           min_size(job->chunk_rows, job->n - first), job->channels,
                           job->n_groups, sum, sum + job->n_groups);
}

/* From the chunks' sums to y = x * scale + shift. */
static void group_norm_fold(const struct group_sums_job *job, size_t n_chunks, const float *w,
                            const float *bias, float eps, float *scale, float *shift)
{
    size_t group_channels = job->channels / job->n_groups;
    double count = (double)job->n * (double)group_channels;
    for (size_t g = 0; g < job->n_groups; g++) {
        double sum = 0, sum_sq = 0;
        for (size_t i = 0; i < n_chunks; i++) {
            sum += job->sum[i * 2 * job->n_groups + g];
            sum_sq += job->sum[(i * 2 + 1) * job->n_groups + g];
        }
        double mean = sum / count;
        double r = 1.0 / sqrt(fmax(sum_sq / count - mean * mean, 0) + eps);
        for (size_t c = g * group_channels; c < (g + 1) * group_channels; c++) {
            scale[c] = (float)(w[c] * r);
            shift[c] = (float)(bias[c] - mean * w[c] * r);
        }
    }
}

/* As many chunks as fit beside cpu_group_norm's two vectors. */
void cpu_group_norm_affine(struct backend *be, float *scale, float *shift, const float *x, size_t n,
                           size_t channels, size_t n_groups, const struct weight *w,
                           const struct weight *b, float eps)
{
    struct cpu_backend *cpu = cpu_backend_of(be);
    struct group_sums_job job = {
        .be = cpu, .x = x, .n = n, .channels = channels, .n_groups = n_groups};
    job.sum = (double *)((float *)cpu->scratch[0] + 2 * channels);
    size_t room = CPU_SCRATCH_BYTES - 2 * channels * sizeof(float);
    size_t n_chunks = min_size(GROUP_CHUNKS_MAX, room / (2 * n_groups * sizeof(double)));
    job.chunk_rows = max_size(div_up(n, n_chunks), rows_per_task(channels));
    n_chunks = div_up(n, job.chunk_rows);
    pool_run(cpu->pool, n_chunks, group_sums_task, &job);
    group_norm_fold(&job, n_chunks, w->f32, b->f32, eps, scale, shift);
}

struct affine_job {
    const struct cpu_backend *be;
    float *y;
    const float *x;
    size_t n, channels;
    size_t task_rows;
    const float *scale, *shift; /* [channels] */
    enum activation act;
};

static void affine_act_task(void *ctx, size_t task, unsigned worker)
{
    (void)worker;
    const struct affine_job *job = ctx;
    size_t first = task * job->task_rows;
    job->be->op.affine_act(job->y + first * job->channels, job->x + first * job->channels,
                           min_size(job->task_rows, job->n - first), job->channels, job->scale,
                           job->shift, job->act);
}

void cpu_affine_act(struct backend *be, float *y, const float *x, size_t n, size_t channels,
                    const float *scale, const float *shift, enum activation act)
{
    struct affine_job job = {.be = cpu_backend_of(be),
                             .y = y,
                             .x = x,
                             .n = n,
                             .channels = channels,
                             .task_rows = rows_per_task(channels),
                             .scale = scale,
                             .shift = shift,
                             .act = act};
    pool_run(job.be->pool, div_up(n, job.task_rows), affine_act_task, &job);
}

void cpu_group_norm(struct backend *be, float *y, const float *x, size_t n, size_t channels,
                    size_t n_groups, const struct weight *w, const struct weight *b, float eps,
                    enum activation act)
{
    float *scale = cpu_backend_of(be)->scratch[0], *shift = scale + channels;
    cpu_group_norm_affine(be, scale, shift, x, n, channels, n_groups, w, b, eps);
    cpu_affine_act(be, y, x, n, channels, scale, shift, act);
}

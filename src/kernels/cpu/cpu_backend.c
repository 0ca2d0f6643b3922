/* SPDX-License-Identifier: MIT */
/* The CPU backend's table, memory and weights. */
#include "kernels/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"

/* Room for the packed input of a linear layer: 512 rows of the widest layer that
 * klein-4B has, 1,400 of the usual ones; longer inputs take several rounds. */
#define SHARED_BYTES ((size_t)24 << 20)

static void cpu_close(struct backend *be)
{
    struct cpu_backend *cb = cpu_backend_of(be);
    mem_free(cb->scratch_block);
    free(cb);
}

#define CHECKED_ALLOC_BYTES ((size_t)64 << 20)

static enum err cpu_alloc(struct backend *be, size_t size_bytes, void **out, struct errmsg *em)
{
    (void)be;
    /* Where memory is overcommitted, a block that is too large is given all the same and
     * the process is killed when it is used: better told now. */
    if (size_bytes >= CHECKED_ALLOC_BYTES) {
        uint64_t available = mem_available_bytes();
        if (size_bytes > available)
            return err_set(em, ERR_NOMEM,
                           "too little memory: %zu MB are needed in one piece, %llu MB are free; "
                           "ask for a smaller picture or close other programs",
                           size_bytes >> 20, (unsigned long long)(available >> 20));
    }
    void *p = mem_alloc(size_bytes);
    if (!p)
        return err_nomem(em, size_bytes);
    *out = p;
    return ERR_OK;
}

static void cpu_free(struct backend *be, void *p)
{
    (void)be;
    mem_free(p);
}

static void cpu_discard(struct backend *be, void *p, size_t size_bytes)
{
    (void)be;
    mem_discard(p, size_bytes);
}

static enum err cpu_copy(struct backend *be, void *dst, const void *src, size_t size_bytes,
                         struct errmsg *em)
{
    (void)be;
    (void)em;
    if (size_bytes)
        memcpy(dst, src, size_bytes);
    return ERR_OK;
}

static enum err cpu_sync(struct backend *be, struct errmsg *em)
{
    (void)be;
    (void)em;
    return ERR_OK;
}

static void cpu_weight_free(struct backend *be, struct weight *w)
{
    (void)be;
    if (!w)
        return;
    mem_free(w->owned);
    free(w);
}

/* A vector is read in every row of an operation: as floats, whatever the file has. */
static enum err widen_vector(struct weight *w, struct errmsg *em)
{
    size_t size_bytes;
    if (!mul_size(w->n_rows, sizeof(float), &size_bytes))
        return err_nomem(em, w->n_rows);
    float *f32 = mem_alloc(size_bytes);
    if (!f32)
        return err_nomem(em, size_bytes);
    for (size_t i = 0; i < w->n_rows; i++)
        f32[i] = weight_at(w, i, 0);
    w->f32 = f32;
    w->owned = f32;
    return ERR_OK;
}

static enum err cpu_weight_new(struct backend *be, const struct tensor *t, size_t first_row,
                               size_t n_rows, struct weight **out, struct errmsg *em)
{
    size_t rows = t->n_dims ? t->shape[0] : 1;
    size_t cols = rows ? t->n_elems / rows : 0;
    if (!n_rows)
        n_rows = first_row < rows ? rows - first_row : 0;
    if (!n_rows || !cols || first_row > rows || n_rows > rows - first_row)
        return err_set(em, ERR_USAGE, "tensor %s has %zu rows; rows %zu to %zu were asked for",
                       t->name, rows, first_row, first_row + n_rows);
    struct weight *w = calloc(1, sizeof *w);
    if (!w)
        return err_nomem(em, sizeof *w);
    w->data = (const char *)t->data + first_row * cols * dtype_size(t->dtype);
    w->dtype = t->dtype;
    w->n_rows = n_rows;
    w->n_cols = cols;
    w->ld = cols;
    if (cols == 1) {
        enum err rc = widen_vector(w, em);
        if (rc) {
            cpu_weight_free(be, w);
            return rc;
        }
    }
    *out = w;
    return ERR_OK;
}

/* [c_out, c_in, kh * kw] -> [c_out, kh * kw, c_in]: a row then reads the picture's
 * channels in the order in which they lie. */
static void reorder_taps(char *dst, const char *src, size_t c_out, size_t c_in, size_t n_taps,
                         size_t elem_bytes)
{
    for (size_t o = 0; o < c_out; o++)
        for (size_t tap = 0; tap < n_taps; tap++)
            for (size_t c = 0; c < c_in; c++, dst += elem_bytes)
                memcpy(dst, src + ((o * c_in + c) * n_taps + tap) * elem_bytes, elem_bytes);
}

static enum err cpu_weight_conv2d(struct backend *be, const struct tensor *t, struct weight **out,
                                  struct errmsg *em)
{
    if (t->n_dims != 4 || !t->n_elems)
        return err_set(em, ERR_FORMAT, "tensor %s is not a convolution's kernel: %u dimensions",
                       t->name, t->n_dims);
    size_t size_bytes = t->n_elems * dtype_size(t->dtype);
    struct weight *w = calloc(1, sizeof *w);
    if (!w)
        return err_nomem(em, sizeof *w);
    w->owned = mem_alloc(size_bytes);
    if (!w->owned) {
        cpu_weight_free(be, w);
        return err_nomem(em, size_bytes);
    }
    w->data = w->owned;
    w->dtype = t->dtype;
    w->c_in = t->shape[1];
    w->kh = t->shape[2];
    w->kw = t->shape[3];
    w->n_rows = t->shape[0];
    w->n_cols = w->ld = w->kh * w->kw * w->c_in;
    reorder_taps(w->owned, t->data, w->n_rows, w->c_in, w->kh * w->kw, dtype_size(t->dtype));
    *out = w;
    return ERR_OK;
}

static const struct backend_ops cpu_ops = {
    .name = "cpu",
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .discard = cpu_discard,
    .upload = cpu_copy,
    .download = cpu_copy,
    .sync = cpu_sync,
    .weight_new = cpu_weight_new,
    .weight_conv2d = cpu_weight_conv2d,
    .weight_free = cpu_weight_free,
    .linear = cpu_linear,
    .attention = cpu_attention,
    .conv2d = cpu_conv2d,
    .head_norm_rope = cpu_head_norm_rope,
    .rms_norm = cpu_rms_norm,
    .layer_norm_mod = cpu_layer_norm_mod,
    .group_norm = cpu_group_norm,
    .group_norm_affine = cpu_group_norm_affine,
    .affine_act = cpu_affine_act,
    .embed = cpu_embed,
    .silu = cpu_silu,
    .axpy = cpu_axpy,
    .tanh_scaled = cpu_tanh_scaled,
};

/* Pages that no operation touches cost nothing: the system maps them on first use. */
static enum err reserve_scratch(struct cpu_backend *cb, struct errmsg *em)
{
    cb->scratch_bytes = CPU_SCRATCH_BYTES;
    cb->shared_bytes = SHARED_BYTES;
    size_t size_bytes = cb->n_threads * cb->scratch_bytes + cb->shared_bytes;
    cb->scratch_block = mem_alloc(size_bytes);
    if (!cb->scratch_block)
        return err_nomem(em, size_bytes);
    cb->shared = cb->scratch_block;
    for (size_t i = 0; i < cb->n_threads; i++)
        cb->scratch[i] = (char *)cb->scratch_block + cb->shared_bytes + i * cb->scratch_bytes;
    return ERR_OK;
}

enum err backend_cpu_new(struct pool *pool, enum cpu_level level, struct backend **out,
                         struct errmsg *em)
{
    if (level > cpu_detect())
        return err_set(em, ERR_UNSUPPORTED, "this processor has no %s", cpu_level_name(level));
    struct cpu_backend *cb = calloc(1, sizeof *cb);
    if (!cb)
        return err_nomem(em, sizeof *cb);
    cb->base.ops = &cpu_ops;
    cb->pool = pool;
    cb->level = level;
    cb->n_threads = pool_n_threads(pool);
    cpu_kernels_init(&cb->k, level);
    cpu_op_kernels_init(&cb->op, level);
    enum err rc = reserve_scratch(cb, em);
    if (rc) {
        free(cb);
        return rc;
    }
    *out = &cb->base;
    return ERR_OK;
}

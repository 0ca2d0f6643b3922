/* SPDX-License-Identifier: MIT */
/* Running a FLUX.2 transformer.
 *
 * All tokens live in one matrix, text first, then image: h [n_tokens, hidden]. So
 * the double blocks' two streams are row ranges of it, attention over both needs no
 * concatenation, and the single blocks go on with what the double blocks left.
 *
 * A block has two passes. The first makes the keys and values of all tokens. The
 * second does everything else for at most ROWS_MAX tokens at a time: their queries,
 * attention, mlp and what is added to h. Nothing in the second pass of a row depends
 * on another row's, so only h, k and v are as long as the picture is large; the wide
 * buffers (queries, mlp) are bounded. The norm before both passes is computed twice,
 * which costs less than a thousandth of a block.
 *
 * In the last single block only rows that have a velocity need a second pass. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "models/transformer_run.h"

#define ROWS_STEP 64 /* chunks begin at multiples of this */

/* What a block does to its normalised input: three vectors [hidden] on the device. */
struct modulation {
    const float *shift, *scale, *gate;
};

struct range {
    size_t first, n;
};

/* Rows of a chunk so that n rows are cut into equal ones. */
static size_t chunk_rows(size_t n)
{
    size_t n_chunks = div_up(n, ROWS_MAX);
    return min_size(n, div_up(div_up(n, n_chunks), ROWS_STEP) * ROWS_STEP);
}

/* data: device [rows, channels]. */
static enum err observe(struct transformer_run *r, const float *data, size_t rows, size_t channels,
                        struct errmsg *em, const char *fmt, size_t block)
{
    if (!r->observe)
        return ERR_OK;
    float *host = malloc(rows * channels * sizeof *host);
    if (!host)
        return err_nomem(em, rows * channels * sizeof *host);
    enum err rc = backend_download(r->t->be, host, data, rows * channels, em);
    if (!rc) {
        char stage[64];
        snprintf(stage, sizeof stage, fmt, block);
        r->observe(r->observe_ctx, stage, host, rows, channels);
    }
    free(host);
    return rc;
}

/* ---- conditioning: once per step ---------------------------------------------- */

/* value -> cosines, then sines of value times falling frequencies; rounded to float32
 * where upstream rounds. An angle is as large as value, so a frequency that torch's exp
 * rounds to the other neighbour shows: by 2.4e-4 at most for a guidance of 4. */
static void sinusoids(float *out, size_t n, float value)
{
    size_t half = n / 2;
    float log_period = (float)-log(10000.0);
    for (size_t k = 0; k < half; k++) {
        float frequency = (float)exp((double)(log_period * (float)k / (float)half));
        double angle = value * frequency;
        out[k] = (float)cos(angle);
        out[half + k] = (float)sin(angle);
    }
}

/* y = out · silu(in · sinusoids), or added to y. */
static void embed(struct transformer_run *r, const struct embedder *e, const float *x, float *y,
                  bool accumulate)
{
    size_t hidden = r->t->info.hidden;
    float *between = r->memory + r->at.embed;
    struct linear_args in = {
        .x = x,
        .ldx = r->t->info.n_sinusoids,
        .m = 1,
        .w = e->in,
        .y = between,
        .ldy = hidden,
        .act = ACT_SILU,
    };
    struct linear_args out = {
        .x = between,
        .ldx = hidden,
        .m = 1,
        .w = e->out,
        .y = y,
        .ldy = hidden,
        .accumulate = accumulate,
    };
    backend_linear(r->t->be, &in);
    backend_linear(r->t->be, &out);
}

static enum err condition(struct transformer_run *r, float timestep, float guidance,
                          struct errmsg *em)
{
    const struct transformer *t = r->t;
    size_t hidden = t->info.hidden;
    size_t n = t->info.n_sinusoids;
    float *mem = r->memory;
    float *temb = mem + r->at.temb;
    float *x = mem + r->at.sinusoids;
    sinusoids(r->sinusoids, n, timestep * 1000.0f);
    sinusoids(r->sinusoids + n, n, guidance * 1000.0f);
    enum err rc = backend_upload(t->be, x, r->sinusoids, 2 * n, em);
    if (rc)
        return rc;
    embed(r, &t->time, x, temb, false);
    if (t->info.guidance_embed)
        embed(r, &t->guidance, x + n, temb, true);
    rc = observe(r, temb, 1, hidden, em, "temb", 0);
    if (rc)
        return rc;

    float *silu = mem + r->at.silu_temb;
    backend_silu(t->be, silu, temb, hidden);
    run_linear(r, t->mod_img, silu, hidden, 1, mem + r->at.mod_img, 6 * hidden);
    run_linear(r, t->mod_txt, silu, hidden, 1, mem + r->at.mod_txt, 6 * hidden);
    run_linear(r, t->mod_single, silu, hidden, 1, mem + r->at.mod_single, 3 * hidden);
    run_linear(r, t->final_shift, silu, hidden, 1, mem + r->at.final_shift, hidden);
    run_linear(r, t->final_scale, silu, hidden, 1, mem + r->at.final_scale, hidden);
    return ERR_OK;
}

/* The i-th (shift, scale, gate) of a modulation's vectors. */
static struct modulation modulation_at(const struct transformer_run *r, size_t vectors, size_t i)
{
    size_t hidden = r->t->info.hidden;
    const float *v = r->memory + vectors + 3 * i * hidden;
    return (struct modulation){.shift = v, .scale = v + hidden, .gate = v + 2 * hidden};
}

/* ---- the parts that blocks are made of ------------------------------------------ */

/* The next chunk of a range: false at its end. Begin with {range.first, 0}. */
static bool next_chunk(struct range all, struct range *chunk)
{
    size_t end = all.first + all.n;
    chunk->first += chunk->n;
    chunk->n = min_size(chunk_rows(all.n), end - chunk->first);
    return chunk->n > 0;
}

/* norm = layernorm(h) * (1 + scale) + shift, of the rows given. */
static void normalise(struct transformer_run *r, struct range rows, struct modulation mod)
{
    size_t hidden = r->t->info.hidden;
    backend_layer_norm_mod(r->t->be, r->memory + r->at.norm, hidden,
                           r->memory + r->at.h + rows.first * hidden, hidden, rows.n, hidden,
                           mod.shift, mod.scale, r->t->eps);
}

/* Per-head norm and rotation of queries or keys; x: those of the first of the rows. */
static void turn(struct transformer_run *r, struct range rows, float *x, size_t ldx,
                 const struct weight *norm)
{
    const struct transformer_info *info = &r->t->info;
    size_t half = info->head_dim / 2;
    struct head_norm_rope_args a = {
        .x = x,
        .ldx = ldx,
        .n = rows.n,
        .n_heads = info->n_heads,
        .head_dim = info->head_dim,
        .w = norm,
        .eps = r->t->eps,
        .style = ROPE_INTERLEAVED,
        .cos = r->memory + r->at.cos + rows.first * half,
        .sin = r->memory + r->at.sin + rows.first * half,
    };
    backend_head_norm_rope(r->t->be, &a);
}

/* Keys and values of the rows from their normalised state. kv: both in one weight, or
 * k and v apart. */
static void make_kv(struct transformer_run *r, struct range rows, const struct weight *kv,
                    const struct weight *k, const struct weight *v, const struct weight *norm_k)
{
    size_t hidden = r->t->info.hidden;
    float *norm = r->memory + r->at.norm;
    float *out = r->memory + r->at.kv + rows.first * 2 * hidden;
    if (kv) {
        run_linear(r, kv, norm, hidden, rows.n, out, 2 * hidden);
    } else {
        run_linear(r, k, norm, hidden, rows.n, out, 2 * hidden);
        run_linear(r, v, norm, hidden, rows.n, out + hidden, 2 * hidden);
    }
    turn(r, rows, out, 2 * hidden, norm_k);
}

/* Queries of the rows from their normalised state, and what they attend to among all
 * tokens -> the first columns of cat. */
static void attend(struct transformer_run *r, struct range rows, const struct weight *w_q,
                   const struct weight *norm_q)
{
    const struct transformer_info *info = &r->t->info;
    size_t hidden = info->hidden;
    size_t n_tokens = r->n_text + r->n_image;
    float *q = r->memory + r->at.q;
    run_linear(r, w_q, r->memory + r->at.norm, hidden, rows.n, q, hidden);
    turn(r, rows, q, hidden, norm_q);
    struct attention_args a = {
        .q = q,
        .k = r->memory + r->at.kv,
        .v = r->memory + r->at.kv + hidden,
        .out = r->memory + r->at.cat,
        .ldq = hidden,
        .ldk = 2 * hidden,
        .ldv = 2 * hidden,
        .ldo = hidden + r->t->info.mlp,
        .n_q = rows.n,
        .n_k = n_tokens,
        .n_k_valid = n_tokens,
        .n_heads = info->n_heads,
        .n_kv_heads = info->n_heads,
        .head_dim = info->head_dim,
        .scale = 1.0f / sqrtf((float)info->head_dim),
    };
    backend_attention(r->t->be, &a);
}

/* silu(gate · norm) * (up · norm) -> the last columns of cat. */
static void activate(struct transformer_run *r, struct range rows, const struct weight *gate,
                     const struct weight *up)
{
    size_t hidden = r->t->info.hidden;
    struct linear_args a = {
        .x = r->memory + r->at.norm,
        .ldx = hidden,
        .m = rows.n,
        .w = gate,
        .w_up = up,
        .y = r->memory + r->at.cat + hidden,
        .ldy = hidden + r->t->info.mlp,
    };
    backend_linear(r->t->be, &a);
}

/* h += gate * (w · x) for the rows; x: columns of cat, from the given one. */
static void add_gated(struct transformer_run *r, struct range rows, const struct weight *w,
                      size_t column, const float *gate)
{
    size_t hidden = r->t->info.hidden;
    struct linear_args a = {
        .x = r->memory + r->at.cat + column,
        .ldx = hidden + r->t->info.mlp,
        .m = rows.n,
        .w = w,
        .gate = gate,
        .y = r->memory + r->at.h + rows.first * hidden,
        .ldy = hidden,
        .accumulate = true,
    };
    backend_linear(r->t->be, &a);
}

/* ---- blocks -------------------------------------------------------------------- */

static void double_first_pass(struct transformer_run *r, struct range rows, const struct stream *s,
                              struct modulation mod)
{
    struct range chunk = {rows.first, 0};
    while (next_chunk(rows, &chunk)) {
        normalise(r, chunk, mod);
        make_kv(r, chunk, NULL, s->k, s->v, s->norm_k);
    }
}

static void double_second_pass(struct transformer_run *r, struct range rows, const struct stream *s,
                               struct modulation attention, struct modulation mlp)
{
    struct range chunk = {rows.first, 0};
    while (next_chunk(rows, &chunk)) {
        normalise(r, chunk, attention);
        attend(r, chunk, s->q, s->norm_q);
        add_gated(r, chunk, s->out, 0, attention.gate);
        normalise(r, chunk, mlp);
        activate(r, chunk, s->mlp_gate, s->mlp_up);
        add_gated(r, chunk, s->mlp_down, r->t->info.hidden, mlp.gate);
    }
}

static enum err double_block(struct transformer_run *r, size_t i, struct errmsg *em)
{
    const struct double_block *b = &r->t->doubles[i];
    size_t hidden = r->t->info.hidden;
    struct range txt = {0, r->n_text};
    struct range img = {r->n_text, r->n_image};
    struct modulation txt_attention = modulation_at(r, r->at.mod_txt, 0);
    struct modulation img_attention = modulation_at(r, r->at.mod_img, 0);
    double_first_pass(r, txt, &b->txt, txt_attention);
    double_first_pass(r, img, &b->img, img_attention);
    double_second_pass(r, txt, &b->txt, txt_attention, modulation_at(r, r->at.mod_txt, 1));
    double_second_pass(r, img, &b->img, img_attention, modulation_at(r, r->at.mod_img, 1));

    float *h = r->memory + r->at.h;
    enum err rc = observe(r, h, txt.n, hidden, em, "double.%zu.txt", i);
    if (!rc)
        rc = observe(r, h + img.first * hidden, img.n, hidden, em, "double.%zu.img", i);
    return rc;
}

static enum err single_block(struct transformer_run *r, size_t i, struct errmsg *em)
{
    const struct single_block *b = &r->t->singles[i];
    size_t hidden = r->t->info.hidden;
    struct modulation mod = modulation_at(r, r->at.mod_single, 0);
    struct range all = {0, r->n_text + r->n_image};
    struct range needed = all;
    if (i + 1 == r->t->info.n_single)
        needed = (struct range){r->n_text, r->n_out};

    struct range chunk = {all.first, 0};
    while (next_chunk(all, &chunk)) {
        normalise(r, chunk, mod);
        make_kv(r, chunk, b->kv, NULL, NULL, b->norm_k);
    }
    chunk = (struct range){needed.first, 0};
    while (next_chunk(needed, &chunk)) {
        normalise(r, chunk, mod);
        attend(r, chunk, b->q, b->norm_q);
        activate(r, chunk, b->mlp_gate, b->mlp_up);
        add_gated(r, chunk, b->out, 0, mod.gate);
    }
    return observe(r, r->memory + r->at.h + needed.first * hidden, needed.n, hidden, em,
                   "single.%zu", i);
}

static enum err run_blocks(struct transformer_run *r, const struct progress *progress,
                           struct errmsg *em)
{
    size_t n_double = r->t->info.n_double;
    size_t n = n_double + r->t->info.n_single;
    for (size_t i = 0; i < n; i++) {
        if (!progress_tick(progress, i, n))
            return err_set(em, ERR_CANCELLED, "cancelled");
        enum err rc = i < n_double ? double_block(r, i, em) : single_block(r, i - n_double, em);
        if (rc)
            return rc;
    }
    if (!progress_tick(progress, n, n))
        return err_set(em, ERR_CANCELLED, "cancelled");
    return ERR_OK;
}

static void project_out(struct transformer_run *r)
{
    const struct transformer *t = r->t;
    struct range all = {r->n_text, r->n_out};
    struct range chunk = {all.first, 0};
    struct modulation mod = {.shift = r->memory + r->at.final_shift,
                             .scale = r->memory + r->at.final_scale};
    while (next_chunk(all, &chunk)) {
        size_t row = chunk.first - all.first;
        normalise(r, chunk, mod);
        run_linear(r, t->final, r->memory + r->at.norm, t->info.hidden, chunk.n,
                   r->memory + r->at.velocity + row * t->info.out_channels, t->info.out_channels);
    }
}

static enum err check_finite(const struct transformer_run *r, const float *velocity,
                             struct errmsg *em)
{
    size_t n = r->n_out * r->t->info.out_channels;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(velocity[i]))
            return err_set(em, ERR_FORMAT,
                           "%s: the transformer's output is not a number (token %zu, channel %zu): "
                           "its weights are damaged, or its input was",
                           weights_path(r->t->weights), i / r->t->info.out_channels,
                           i % r->t->info.out_channels);
    }
    return ERR_OK;
}

enum err transformer_forward(struct transformer_run *r, const float *image, float timestep,
                             float guidance, float *velocity, const struct progress *progress,
                             struct errmsg *em)
{
    const struct transformer *t = r->t;
    size_t hidden = t->info.hidden;
    size_t in_channels = t->info.in_channels;
    float *h = r->memory + r->at.h;
    float *x = r->memory + r->at.image;
    enum err rc = condition(r, timestep, guidance, em);
    if (!rc)
        rc = backend_upload(t->be, h, r->text, r->n_text * hidden, em);
    if (!rc)
        rc = backend_upload(t->be, x, image, r->n_image * in_channels, em);
    if (rc)
        return rc;
    run_linear(r, t->img_in, x, in_channels, r->n_image, h + r->n_text * hidden, hidden);
    rc = run_blocks(r, progress, em);
    if (rc)
        return rc;
    project_out(r);
    rc = backend_download(t->be, velocity, r->memory + r->at.velocity,
                          r->n_out * t->info.out_channels, em);
    if (!rc)
        rc = backend_sync(t->be, em);
    return rc ? rc : check_finite(r, velocity, em);
}

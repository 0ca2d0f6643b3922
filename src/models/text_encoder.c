/* SPDX-License-Identifier: MIT */
/* The transformer itself, and its use as a text encoder. A block is
 *   x += o(attention(rope(norm(q(h))), rope(norm(k(h))), v(h)))   with h = norm(x)
 *   x += down(silu(gate(h)) * up(h))                              with h = norm(x) */
#include "models/text_encoder_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/size.h"

/* One named slice of the arena: rows * cols floats at a multiple of 64 bytes. */
struct slice {
    float **at;
    size_t rows, cols;
};

static enum err arena_new(struct backend *be, const struct slice *slices, size_t n, float **out,
                          struct errmsg *em)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t floats;
        if (!mul_size(slices[i].rows, slices[i].cols, &floats) || !add_size(floats, 15, &floats) ||
            !add_size(total, floats & ~(size_t)15, &total))
            return err_nomem(em, SIZE_MAX);
    }
    enum err rc = backend_alloc(be, total, out, em);
    if (rc)
        return rc;
    float *p = *out;
    for (size_t i = 0; i < n; i++) {
        *slices[i].at = p;
        p += (slices[i].rows * slices[i].cols + 15) & ~(size_t)15;
    }
    return ERR_OK;
}

/* As transformers: inverse frequencies and angles are rounded to float32, which
 * moves the angles of far positions; only the cosine of such an angle is exact. */
static void rope_tables(const struct te_config *c, size_t position, size_t n, float *cos_out,
                        float *sin_out)
{
    size_t half = c->head_dim / 2;
    for (size_t k = 0; k < half; k++) {
        float exponent = (float)(2 * k) / (float)c->head_dim;
        float inv_freq = 1.0f / (float)pow(c->rope_theta, (double)exponent);
        for (size_t row = 0; row < n; row++) {
            float angle = (float)(position + row) * inv_freq;
            cos_out[row * half + k] = (float)cos((double)angle);
            sin_out[row * half + k] = (float)sin((double)angle);
        }
    }
}

static enum err upload_rope(const struct text_encoder *te, const struct te_run *run,
                            size_t position, size_t n_positions, struct errmsg *em)
{
    size_t n = n_positions * (te->cfg.head_dim / 2); /* fits: the arena holds it twice */
    float *tables = mem_alloc(2 * n * sizeof *tables);
    if (!tables)
        return err_nomem(em, 2 * n * sizeof *tables);
    rope_tables(&te->cfg, position, n_positions, tables, tables + n);
    enum err rc = backend_upload(te->be, run->cos, tables, n, em);
    if (!rc)
        rc = backend_upload(te->be, run->sin, tables + n, n, em);
    mem_free(tables);
    return rc;
}

enum err te_run_init(struct te_run *run, const struct text_encoder *te, size_t max_rows,
                     size_t max_keys, size_t position, bool cache, struct errmsg *em)
{
    const struct te_config *c = &te->cfg;
    size_t n_positions = max_size(max_rows, max_keys);
    size_t cached_dim = (cache ? te->n_blocks : 1) * c->kv_dim; /* both are bounded */
    const struct slice slices[] = {
        {&run->x, max_rows, c->hidden},
        {&run->h, max_rows, c->hidden},
        {&run->q, max_rows, c->q_dim},
        {&run->attn, max_rows, c->q_dim},
        {&run->mlp, max_rows, c->mlp},
        {&run->logits, cache ? c->vocab : 0, 1},
        {&run->keys, max_keys, cached_dim},
        {&run->values, max_keys, cached_dim},
        {&run->cos, n_positions, c->head_dim / 2},
        {&run->sin, n_positions, c->head_dim / 2},
    };
    *run = (struct te_run){0};
    enum err rc = arena_new(te->be, slices, sizeof slices / sizeof slices[0], &run->arena, em);
    if (rc)
        return rc;
    run->cache_stride = cache ? max_keys * c->kv_dim : 0;
    rc = upload_rope(te, run, position, n_positions, em);
    if (rc)
        te_run_deinit(run, te);
    return rc;
}

void te_run_deinit(struct te_run *run, const struct text_encoder *te)
{
    backend_dealloc(te->be, run->arena);
    *run = (struct te_run){0};
}

enum err te_check_ids(const struct text_encoder *te, const int32_t *ids, size_t n,
                      struct errmsg *em)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= te->cfg.vocab)
            return err_set(em, ERR_USAGE,
                           "%s: token %zu is %ld, but the vocabulary has only %zu: tokenizer "
                           "and text encoder do not belong together",
                           weights_path(te->weights), i, (long)ids[i], te->cfg.vocab);
    }
    return ERR_OK;
}

void te_embed(const struct text_encoder *te, float *x, const int32_t *ids, size_t n)
{
    backend_embed(te->be, x, te->cfg.hidden, te->embed, ids, n);
}

/* y [m, n] = or += x [m, k] · wᵀ, all rows dense. */
static void linear(const struct text_encoder *te, float *y, size_t n, const float *x, size_t k,
                   size_t m, const struct weight *w, const struct weight *w_up, bool accumulate)
{
    backend_linear(te->be, &(struct linear_args){
                               .x = x,
                               .ldx = k,
                               .m = m,
                               .w = w,
                               .w_up = w_up,
                               .y = y,
                               .ldy = n,
                               .accumulate = accumulate,
                           });
}

static void norm_and_rotate(const struct text_encoder *te, const struct te_run *run, float *x,
                            size_t n_heads, size_t first, size_t n, const struct weight *w)
{
    const struct te_config *c = &te->cfg;
    backend_head_norm_rope(te->be, &(struct head_norm_rope_args){
                                       .x = x,
                                       .ldx = n_heads * c->head_dim,
                                       .n = n,
                                       .n_heads = n_heads,
                                       .head_dim = c->head_dim,
                                       .w = w,
                                       .eps = c->rms_eps,
                                       .style = ROPE_HALVES,
                                       .cos = run->cos + first * (c->head_dim / 2),
                                       .sin = run->sin + first * (c->head_dim / 2),
                                   });
}

static void attend(const struct text_encoder *te, const struct te_run *run, const float *keys,
                   const float *values, size_t first, size_t n, size_t n_keys)
{
    const struct te_config *c = &te->cfg;
    backend_attention(te->be, &(struct attention_args){
                                  .q = run->q,
                                  .k = keys,
                                  .v = values,
                                  .out = run->attn,
                                  .ldq = c->q_dim,
                                  .ldk = c->kv_dim,
                                  .ldv = c->kv_dim,
                                  .ldo = c->q_dim,
                                  .n_q = n,
                                  .n_k = first + n_keys,
                                  .n_k_valid = first + n_keys,
                                  .n_heads = c->n_heads,
                                  .n_kv_heads = c->n_kv_heads,
                                  .head_dim = c->head_dim,
                                  .q_offset = first,
                                  .scale = (float)(1.0 / sqrt((double)c->head_dim)),
                                  .causal = true,
                              });
}

void te_block_attention(const struct text_encoder *te, const struct te_run *run, size_t i,
                        size_t first, size_t n, size_t n_keys)
{
    const struct te_config *c = &te->cfg;
    const struct te_block *b = &te->blocks[i];
    float *keys = run->keys + i * run->cache_stride;
    float *values = run->values + i * run->cache_stride;
    float *new_keys = keys + first * c->kv_dim;
    float *new_values = values + first * c->kv_dim;

    backend_rms_norm(te->be, run->h, c->hidden, run->x, c->hidden, n, c->hidden, b->attn_norm,
                     c->rms_eps);
    linear(te, run->q, c->q_dim, run->h, c->hidden, n, b->q, NULL, false);
    linear(te, new_keys, c->kv_dim, run->h, c->hidden, n_keys, b->k, NULL, false);
    linear(te, new_values, c->kv_dim, run->h, c->hidden, n_keys, b->v, NULL, false);
    norm_and_rotate(te, run, run->q, c->n_heads, first, n, b->q_norm);
    norm_and_rotate(te, run, new_keys, c->n_kv_heads, first, n_keys, b->k_norm);
    attend(te, run, keys, values, first, n, n_keys);
    linear(te, run->x, c->hidden, run->attn, c->q_dim, n, b->o, NULL, true);
}

void te_block_mlp(const struct text_encoder *te, const struct te_run *run, size_t i, size_t n)
{
    const struct te_config *c = &te->cfg;
    const struct te_block *b = &te->blocks[i];
    backend_rms_norm(te->be, run->h, c->hidden, run->x, c->hidden, n, c->hidden, b->mlp_norm,
                     c->rms_eps);
    linear(te, run->mlp, c->mlp, run->h, c->hidden, n, b->gate, b->up, false);
    linear(te, run->x, c->hidden, run->mlp, c->mlp, n, b->down, NULL, true);
}

bool te_all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

enum err te_not_finite(const struct text_encoder *te, const char *what, struct errmsg *em)
{
    return err_set(em, ERR_FORMAT,
                   "%s: %s came out as NaN or infinity: the weights hold NaN or are damaged; "
                   "download the model again",
                   weights_path(te->weights), what);
}

/* The rows that one prompt takes. Padding on the right sees the prompt and has a row for
 * each position; on the left it sees nothing, is the same everywhere, and is computed once,
 * in a row behind the prompt's that attention leaves out. */
struct rows {
    size_t n;         /* all of them */
    size_t n_queries; /* of these, from the first on, the attention's */
    size_t n_keys;
};

static struct rows rows_of(const struct padded_ids *p)
{
    if (p->side == PAD_RIGHT)
        return (struct rows){.n = p->n, .n_queries = p->n, .n_keys = p->n_valid};
    size_t n = p->n_valid + (p->n > p->n_valid);
    return (struct rows){.n = n, .n_queries = p->n_valid, .n_keys = p->n_valid};
}

/* The row that holds position i. */
static size_t row_at(const struct padded_ids *p, size_t i)
{
    size_t n_before = p->side == PAD_LEFT ? p->n - p->n_valid : 0;
    return i < n_before ? p->n_valid : i - n_before;
}

/* What one call to text_encoder_hidden_states works on. */
struct encoding {
    const struct text_encoder *te;
    const struct padded_ids *prompt;
    struct rows rows;
    struct te_run run;
    float *state; /* [rows.n, hidden], host: one layer's, before it is spread over out */
    const size_t *layers;
    size_t n_layers;
    float *out;
};

/* Copy run.x, the hidden state of the layer, to each place in out that asks for it. */
static enum err keep_layer(const struct encoding *e, size_t layer, struct errmsg *em)
{
    size_t hidden = e->te->cfg.hidden;
    bool fetched = false;
    for (size_t slot = 0; slot < e->n_layers; slot++) {
        if (e->layers[slot] != layer)
            continue;
        if (!fetched) {
            size_t n_floats = e->rows.n * hidden;
            enum err rc = backend_download(e->te->be, e->state, e->run.x, n_floats, em);
            if (rc)
                return rc;
            if (!te_all_finite(e->state, n_floats))
                return te_not_finite(e->te, "the hidden states", em);
            fetched = true;
        }
        for (size_t i = 0; i < e->prompt->n; i++)
            memcpy(e->out + (i * e->n_layers + slot) * hidden,
                   e->state + row_at(e->prompt, i) * hidden, hidden * sizeof(float));
    }
    return ERR_OK;
}

static void embed(const struct encoding *e)
{
    const struct padded_ids *p = e->prompt;
    size_t hidden = e->te->cfg.hidden;
    const int32_t *first = p->side == PAD_LEFT ? p->ids + (p->n - p->n_valid) : p->ids;
    te_embed(e->te, e->run.x, first, e->rows.n_queries);
    if (e->rows.n > e->rows.n_queries)
        te_embed(e->te, e->run.x + e->rows.n_queries * hidden, p->ids, 1);
}

static enum err encode(const struct encoding *e, size_t last, const struct progress *progress,
                       struct errmsg *em)
{
    const struct rows *rows = &e->rows;
    embed(e);
    enum err rc = keep_layer(e, 0, em);
    for (size_t i = 0; !rc && i < last; i++) {
        if (!progress_tick(progress, i, last))
            return err_set(em, ERR_CANCELLED, "cancelled");
        te_block_attention(e->te, &e->run, i, 0, rows->n_queries, rows->n_keys);
        te_block_mlp(e->te, &e->run, i, rows->n);
        rc = backend_sync(e->te->be, em); /* so that the ticks tell of work done */
        if (!rc)
            rc = keep_layer(e, i + 1, em);
    }
    if (!rc && !progress_tick(progress, last, last))
        return err_set(em, ERR_CANCELLED, "cancelled");
    return rc;
}

static enum err check_layers(const struct text_encoder *te, const size_t *layers, size_t n_layers,
                             size_t *last, struct errmsg *em)
{
    *last = 0;
    for (size_t i = 0; i < n_layers; i++) {
        if (layers[i] > te->cfg.n_layers)
            return err_set(em, ERR_USAGE, "%s: hidden state %zu was asked for, the last is %zu",
                           weights_path(te->weights), layers[i], te->cfg.n_layers);
        *last = max_size(*last, layers[i]);
    }
    if (*last > te->n_blocks)
        return err_set(em, ERR_NOTFOUND,
                       "%s: hidden state %zu needs %zu blocks, but the files hold only the first "
                       "%zu of %zu",
                       weights_path(te->weights), *last, *last, te->n_blocks, te->cfg.n_layers);
    return ERR_OK;
}

static enum err check_prompt(const struct text_encoder *te, const struct padded_ids *p,
                             struct errmsg *em)
{
    if (p->n_valid == 0 || p->n_valid > p->n)
        return err_set(em, ERR_USAGE, "%zu of %zu tokens cannot be encoded", p->n_valid, p->n);
    if (p->side == PAD_LEFT)
        for (size_t i = 1; i < p->n - p->n_valid; i++)
            if (p->ids[i] != p->ids[0])
                return err_set(em, ERR_USAGE, "the padding on the left is of several kinds");
    return te_check_ids(te, p->ids, p->n, em);
}

enum err text_encoder_hidden_states(struct text_encoder *te, const struct padded_ids *prompt,
                                    const size_t *layers, size_t n_layers, float *out,
                                    const struct progress *progress, struct errmsg *em)
{
    if (n_layers == 0)
        return err_set(em, ERR_USAGE, "no hidden state was asked for");
    size_t last;
    enum err rc = check_layers(te, layers, n_layers, &last, em);
    if (!rc)
        rc = check_prompt(te, prompt, em);
    if (rc)
        return rc;

    struct encoding e = {
        .te = te,
        .prompt = prompt,
        .rows = rows_of(prompt),
        .layers = layers,
        .n_layers = n_layers,
        .out = out,
    };
    size_t position = prompt->side == PAD_LEFT ? prompt->n - prompt->n_valid : 0;
    rc = te_run_init(&e.run, te, e.rows.n, e.rows.n_keys, position, false, em);
    if (rc)
        return rc;
    size_t state_bytes = e.rows.n * te->cfg.hidden * sizeof(float);
    e.state = mem_alloc(state_bytes);
    rc = e.state ? encode(&e, last, progress, em) : err_nomem(em, state_bytes);
    mem_free(e.state);
    te_run_deinit(&e.run, te);
    return rc;
}

double text_encoder_flops(const struct text_encoder_info *info, const struct padded_ids *prompt,
                          size_t last_layer)
{
    struct rows rows = rows_of(prompt);
    double queries = (double)rows.n_queries, keys = (double)rows.n_keys;
    double hidden = (double)info->hidden;
    double q_dim = (double)(info->n_heads * info->head_dim);
    double kv_dim = (double)(info->n_kv_heads * info->head_dim);
    /* query i sees keys up to its own, and none of the padding */
    double pairs = keys * (keys + 1) / 2 + (queries - keys) * keys;
    double block = 4 * queries * hidden * q_dim + 4 * keys * hidden * kv_dim +
                   6 * (double)rows.n * hidden * (double)info->mlp + 4 * pairs * q_dim;
    return (double)last_layer * block;
}

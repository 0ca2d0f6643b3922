/* SPDX-License-Identifier: MIT */
/* Finding a text encoder's tensors and checking every shape against its config. */
#include "models/text_encoder_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

#define NAME_MAX_BYTES 160

/* Where the embedding may be found; the blocks follow the same prefix. The longer
 * ones are how transformers names the text half of a model that also sees. */
static const char *const prefixes[] = {
    "model.", "", "language_model.model.", "model.language_model.", "language_model.",
};
static const char *const head_names[] = {"lm_head.weight", "language_model.lm_head.weight"};

static const char *find_prefix(const struct weights *w)
{
    char name[NAME_MAX_BYTES];
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        if (weights_has(w, name))
            return prefixes[i];
    }
    return prefixes[0]; /* the message will name the usual one */
}

static enum err load_matrix(struct text_encoder *te, const char *name, size_t rows, size_t cols,
                            struct weight **out, struct errmsg *em)
{
    struct tensor t;
    enum err rc = weights_get_shaped(te->weights, name, &t, em, 2, rows, cols);
    return rc ? rc : backend_weight(te->be, &t, 0, 0, out, em);
}

static enum err load_vector(struct text_encoder *te, const char *name, size_t n,
                            struct weight **out, struct errmsg *em)
{
    struct tensor t;
    enum err rc = weights_get_shaped(te->weights, name, &t, em, 1, n);
    return rc ? rc : backend_weight(te->be, &t, 0, 0, out, em);
}

struct part {
    const char *name;
    struct weight **to;
    size_t rows, cols; /* cols 0: a vector */
};

#define N_PARTS 11

/* The tensors of a block; returns how many. */
static size_t block_parts(const struct te_config *c, struct te_block *b, struct part p[N_PARTS])
{
    size_t n = 0;
    p[n++] = (struct part){"input_layernorm", &b->attn_norm, c->hidden, 0};
    p[n++] = (struct part){"self_attn.q_proj", &b->q, c->q_dim, c->hidden};
    p[n++] = (struct part){"self_attn.k_proj", &b->k, c->kv_dim, c->hidden};
    p[n++] = (struct part){"self_attn.v_proj", &b->v, c->kv_dim, c->hidden};
    p[n++] = (struct part){"self_attn.o_proj", &b->o, c->hidden, c->q_dim};
    p[n++] = (struct part){"post_attention_layernorm", &b->mlp_norm, c->hidden, 0};
    p[n++] = (struct part){"mlp.gate_proj", &b->gate, c->mlp, c->hidden};
    p[n++] = (struct part){"mlp.up_proj", &b->up, c->mlp, c->hidden};
    p[n++] = (struct part){"mlp.down_proj", &b->down, c->hidden, c->mlp};
    if (c->qk_norm) {
        p[n++] = (struct part){"self_attn.q_norm", &b->q_norm, c->head_dim, 0};
        p[n++] = (struct part){"self_attn.k_norm", &b->k_norm, c->head_dim, 0};
    }
    return n;
}

static void part_name(char name[NAME_MAX_BYTES], const char *prefix, size_t block, const char *part)
{
    snprintf(name, NAME_MAX_BYTES, "%slayers.%zu.%s.weight", prefix, block, part);
}

/* Whether the files hold any tensor of the block. */
static bool block_present(const struct text_encoder *te, const char *prefix, size_t i)
{
    struct te_block unused;
    struct part parts[N_PARTS];
    char name[NAME_MAX_BYTES];
    size_t n = block_parts(&te->cfg, &unused, parts);
    for (size_t k = 0; k < n; k++) {
        part_name(name, prefix, i, parts[k].name);
        if (weights_has(te->weights, name))
            return true;
    }
    return false;
}

static enum err load_block(struct text_encoder *te, const char *prefix, size_t i, struct errmsg *em)
{
    struct part parts[N_PARTS];
    char name[NAME_MAX_BYTES];
    size_t n = block_parts(&te->cfg, &te->blocks[i], parts);
    for (size_t k = 0; k < n; k++) {
        const struct part *p = &parts[k];
        part_name(name, prefix, i, p->name);
        enum err rc = p->cols ? load_matrix(te, name, p->rows, p->cols, p->to, em)
                              : load_vector(te, name, p->rows, p->to, em);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* A file may end after the last block that a picture needs, but not skip one. */
static enum err load_blocks(struct text_encoder *te, const char *prefix, struct errmsg *em)
{
    size_t n = te->cfg.n_layers;
    if (block_present(te, prefix, n))
        return err_set(
            em, ERR_FORMAT,
            "%s: the weights hold block %zu, which config.json's num_hidden_layers leaves "
            "out: one of the two is another model's",
            weights_path(te->weights), n);
    while (n > 1 && !block_present(te, prefix, n - 1))
        n--;
    te->blocks = calloc(n, sizeof *te->blocks);
    if (!te->blocks)
        return err_nomem(em, n * sizeof *te->blocks);
    te->n_blocks = n;
    for (size_t i = 0; i < n; i++) {
        enum err rc = load_block(te, prefix, i, em);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* Both may be absent: then the model cannot write, but still encodes. A head in the files
 * counts for more than a config that says it is tied. */
static enum err load_head(struct text_encoder *te, const char *prefix, struct errmsg *em)
{
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%snorm.weight", prefix);
    if (weights_has(te->weights, name)) {
        enum err rc = load_vector(te, name, te->cfg.hidden, &te->final_norm, em);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < sizeof head_names / sizeof head_names[0]; i++) {
        if (weights_has(te->weights, head_names[i]))
            return load_matrix(te, head_names[i], te->cfg.vocab, te->cfg.hidden, &te->head, em);
    }
    if (te->cfg.tied)
        te->head = te->embed;
    return ERR_OK;
}

static enum err load(struct text_encoder *te, struct errmsg *em)
{
    char name[NAME_MAX_BYTES];
    const char *prefix = find_prefix(te->weights);
    snprintf(name, sizeof name, "%sembed_tokens.weight", prefix);
    enum err rc = load_matrix(te, name, te->cfg.vocab, te->cfg.hidden, &te->embed, em);
    if (!rc)
        rc = load_blocks(te, prefix, em);
    if (!rc)
        rc = load_head(te, prefix, em);
    return rc;
}

enum err text_encoder_open(struct backend *be, const char *dir, struct text_encoder **out,
                           struct errmsg *em)
{
    enum err rc = ERR_NOMEM;
    char *config_path = path_join(dir, "config.json");
    struct text_encoder *te = calloc(1, sizeof *te);
    if (!config_path || !te) {
        rc = err_nomem(em, sizeof *te);
        goto out;
    }
    te->be = be;
    rc = te_config_open(config_path, &te->cfg, em);
    if (rc)
        goto out;
    rc = weights_open(dir, &te->weights, em);
    if (rc)
        goto out;
    rc = load(te, em);
    if (rc)
        goto out;
    *out = te;
    te = NULL;
out:
    text_encoder_close(te);
    free(config_path);
    return rc;
}

static void free_block(struct backend *be, struct te_block *b)
{
    struct weight *all[] = {b->attn_norm, b->q,        b->k,    b->v,  b->q_norm, b->k_norm,
                            b->o,         b->mlp_norm, b->gate, b->up, b->down};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        backend_weight_free(be, all[i]);
}

void text_encoder_close(struct text_encoder *te)
{
    if (!te)
        return;
    for (size_t i = 0; i < te->n_blocks; i++)
        free_block(te->be, &te->blocks[i]);
    free(te->blocks);
    if (te->head != te->embed)
        backend_weight_free(te->be, te->head);
    backend_weight_free(te->be, te->final_norm);
    backend_weight_free(te->be, te->embed);
    weights_close(te->weights);
    free(te);
}

struct text_encoder_info text_encoder_info(const struct text_encoder *te)
{
    const struct te_config *c = &te->cfg;
    return (struct text_encoder_info){
        .n_layers = c->n_layers,
        .hidden = c->hidden,
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .mlp = c->mlp,
        .vocab = c->vocab,
        .has_head = te->head && te->final_norm && te->n_blocks == c->n_layers,
        .n_params = weights_n_params(te->weights),
        .weight_bytes = weights_bytes(te->weights),
    };
}

void text_encoder_release_pages(const struct text_encoder *te)
{
    weights_release_pages(te->weights);
}

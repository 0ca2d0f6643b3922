/* SPDX-License-Identifier: MIT */
/* Opening a FLUX.2 transformer: its shape from config.json or, for a single file in
 * BFL's layout, from the tensors themselves; then every tensor checked against that
 * shape. */
#include <stdlib.h>

#include "base/file.h"
#include "models/transformer_load.h"

#define WEIGHTS_FIXED 12  /* parameters outside the blocks, guidance included */
#define WEIGHTS_DOUBLE 18 /* of a double block */
#define WEIGHTS_SINGLE 7  /* of a single block */

static enum err alloc_blocks(struct transformer *t, struct errmsg *em)
{
    size_t n_double = t->info.n_double;
    size_t n_single = t->info.n_single;
    size_t n_owned = WEIGHTS_FIXED + n_double * WEIGHTS_DOUBLE + n_single * WEIGHTS_SINGLE;
    t->owned = calloc(n_owned, sizeof *t->owned);
    t->doubles = calloc(n_double ? n_double : 1, sizeof *t->doubles);
    t->singles = calloc(n_single ? n_single : 1, sizeof *t->singles);
    if (!t->owned || !t->doubles || !t->singles)
        return err_nomem(em, n_owned * sizeof *t->owned);
    return ERR_OK;
}

static enum err open_parts(struct transformer *t, const char *path, struct errmsg *em)
{
    struct loader ld = {.t = t, .prefix = "", .em = em};
    bool bfl = !file_is_dir(path);
    enum err rc = ERR_OK;
    if (!bfl)
        rc = tl_diffusers_config(t, path, em);
    if (!rc)
        rc = weights_open(path, &t->weights, em);
    if (!rc && bfl)
        rc = tl_bfl_shape(&ld);
    if (!rc)
        rc = alloc_blocks(t, em);
    if (!rc)
        rc = bfl ? tl_bfl(&ld) : tl_diffusers(&ld);
    return rc;
}

enum err transformer_open(struct backend *be, const char *path, struct transformer **out,
                          struct errmsg *em)
{
    struct transformer *t = calloc(1, sizeof *t);
    if (!t)
        return err_nomem(em, sizeof *t);
    t->be = be;
    enum err rc = open_parts(t, path, em);
    if (rc) {
        transformer_close(t);
        return rc;
    }
    t->info.n_params = weights_n_params(t->weights);
    t->info.weight_bytes = weights_bytes(t->weights);
    *out = t;
    return ERR_OK;
}

void transformer_close(struct transformer *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_owned; i++)
        backend_weight_free(t->be, t->owned[i]);
    free(t->owned);
    free(t->doubles);
    free(t->singles);
    weights_close(t->weights);
    free(t);
}

struct transformer_info transformer_info(const struct transformer *t)
{
    return t->info;
}

void transformer_release_pages(const struct transformer *t)
{
    weights_release_pages(t->weights);
}

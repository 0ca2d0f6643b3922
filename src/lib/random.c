/* SPDX-License-Identifier: MIT */
/* The public interface: models with random weights. */
#include <stdlib.h>

#include "base/file.h"
#include "easel.h"
#include "lib/lib_impl.h"
#include "lib/registry.h"
#include "pipeline/random_model.h"

struct progress_ctx {
    int (*fn)(void *user, double fraction);
    void *user;
};

static bool on_progress(void *ctx, double fraction)
{
    const struct progress_ctx *p = ctx;
    return !p->fn || p->fn(p->user, fraction) == 0;
}

const char *const *easel_model_shapes(void)
{
    return random_model_shapes();
}

enum easel_status easel_model_write_random(const char *shape, const char *dir,
                                           int (*fn)(void *user, double fraction), void *user,
                                           struct easel_error *error)
{
    struct errmsg em = {""};
    struct progress_ctx ctx = {fn, user};
    char *embedded = NULL, *tokenizer = NULL;
    enum err rc = registry_find(NULL, &embedded, &em);
    if (!rc && !(tokenizer = path_join(embedded, "tokenizer/tokenizer.json")))
        rc = err_nomem(&em, 0);
    if (!rc)
        rc = random_model_write(shape, dir, tokenizer, on_progress, &ctx, &em);
    free(tokenizer);
    free(embedded);
    return lib_status(rc, &em, error);
}

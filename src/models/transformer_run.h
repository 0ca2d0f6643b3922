/* SPDX-License-Identifier: MIT */
/* A run of the transformer, between the file that plans it (transformer_run.c) and the one
 * that goes through it (transformer_forward.c). */
#ifndef EASEL_MODELS_TRANSFORMER_RUN_H
#define EASEL_MODELS_TRANSFORMER_RUN_H

#include "models/transformer_impl.h"

#define ROWS_MAX 2048 /* of a second pass; large enough that unpacking weights is cheap */

/* Device memory of a run, in one piece; each in floats from its beginning. */
struct plan {
    size_t h;                /* [n_tokens, hidden] */
    size_t kv;               /* [n_tokens, 2 * hidden]: k, then v */
    size_t norm;             /* [n_rows, hidden] */
    size_t q;                /* [n_rows, hidden] */
    size_t cat;              /* [n_rows, hidden + mlp]: attention, then the mlp's activation */
    size_t image;            /* [n_image, in_channels] */
    size_t velocity;         /* [n_image, out_channels] */
    size_t cos, sin;         /* [n_tokens, head_dim / 2] */
    size_t sinusoids;        /* [2, n_sinusoids]: of the timestep, of the guidance */
    size_t embed;            /* [hidden]: between an embedder's two linears */
    size_t temb;             /* [hidden] */
    size_t silu_temb;        /* [hidden] */
    size_t mod_img, mod_txt; /* [6 * hidden] */
    size_t mod_single;       /* [3 * hidden] */
    size_t final_shift, final_scale; /* [hidden] */
    size_t n_floats;                 /* of them all */
};

struct transformer_run {
    struct transformer *t;
    size_t n_text, n_image, n_out;
    struct plan at;
    float *memory;    /* device */
    float *text;      /* host [n_text, hidden]: the text after its embedding, which no
                       * timestep changes */
    float *sinusoids; /* host [2, n_sinusoids] */
    void (*observe)(void *ctx, const char *stage, const float *data, size_t rows, size_t channels);
    void *observe_ctx;
};

static inline void run_linear(struct transformer_run *r, const struct weight *w, const float *x,
                              size_t ldx, size_t m, float *y, size_t ldy)
{
    struct linear_args a = {.x = x, .ldx = ldx, .m = m, .w = w, .y = y, .ldy = ldy};
    backend_linear(r->t->be, &a);
}

#endif

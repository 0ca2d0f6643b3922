/* SPDX-License-Identifier: MIT */
/* The transformer's parameters, shared by what loads them (transformer_load.c) and what
 * runs them (transformer_forward.c). */
#ifndef EASEL_MODELS_TRANSFORMER_IMPL_H
#define EASEL_MODELS_TRANSFORMER_IMPL_H

#include "formats/safetensors.h"
#include "models/transformer.h"

enum { N_AXES = 4 }; /* of struct position */

/* linear, SiLU, linear: the embedding of the timestep or of the guidance. */
struct embedder {
    struct weight *in;  /* [hidden, sinusoids] */
    struct weight *out; /* [hidden, hidden] */
};

/* One of the two token streams of a double block. */
struct stream {
    struct weight *q, *k, *v;         /* [hidden, hidden] each */
    struct weight *norm_q, *norm_k;   /* [head_dim] */
    struct weight *out;               /* [hidden, hidden] */
    struct weight *mlp_gate, *mlp_up; /* [mlp, hidden]: silu(gate) * up */
    struct weight *mlp_down;          /* [hidden, mlp] */
};

struct double_block {
    struct stream img, txt;
};

struct single_block {
    struct weight *q;                 /* [hidden, hidden] */
    struct weight *kv;                /* [2 * hidden, hidden] */
    struct weight *norm_q, *norm_k;   /* [head_dim] */
    struct weight *mlp_gate, *mlp_up; /* [mlp, hidden] */
    struct weight *out;               /* [hidden, hidden + mlp], for [attention, mlp] */
};

struct transformer {
    struct backend *be;
    struct weights *weights;
    struct transformer_info info;
    size_t axes[N_AXES]; /* channels of a head that each axis of a position turns */
    double rope_theta;
    float eps;

    struct weight *img_in, *txt_in;
    struct embedder time, guidance;           /* guidance: NULLs without guidance_embed */
    struct weight *mod_img, *mod_txt;         /* [6 * hidden, hidden] */
    struct weight *mod_single;                /* [3 * hidden, hidden] */
    struct weight *final_shift, *final_scale; /* [hidden, hidden] */
    struct weight *final;                     /* [out_channels, hidden] */
    struct double_block *doubles;
    struct single_block *singles;

    struct weight **owned; /* every weight above once, to free them */
    size_t n_owned;
};

#endif

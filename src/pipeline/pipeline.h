/* SPDX-License-Identifier: MIT */
/* Prompt, options and reference pictures -> picture: the steps of one drawing, in
 * order, and the only caller of the models. */
#ifndef EASEL_PIPELINE_PIPELINE_H
#define EASEL_PIPELINE_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/image.h"
#include "kernels/backend.h"
#include "models/autoencoder.h"
#include "models/text_encoder.h"
#include "models/transformer.h"
#include "pipeline/model_dir.h"

struct pipeline;

enum stage {
    STAGE_ENHANCE,
    STAGE_TEXT,
    STAGE_REFERENCES,
    STAGE_DENOISE,
    STAGE_DECODE,
    N_STAGES
};

struct stage_progress {
    enum stage stage;
    size_t step, n_steps; /* in STAGE_DENOISE, from 1 */
    double fraction;      /* of all the work of this drawing */
    const struct image *preview; /* after a step, when asked for */
};

struct draw_request {
    const char *prompt;
    size_t width_px, height_px; /* 0: of the first reference, else 1024×768 */
    uint64_t seed;
    size_t steps;    /* 0: the model's */
    double guidance; /* < 0: the model's */
    bool enhance;
    bool previews;
    const struct image *references;
    size_t n_references;
    /* Called between blocks; false stops the drawing with ERR_CANCELLED. */
    bool (*on_progress)(void *ctx, const struct stage_progress *p);
    void *ctx;
    /* For tests: the packed latent [n_image, channels] after each step. */
    void (*on_latent)(void *ctx, size_t step, const float *latent, size_t n_image,
                      size_t channels);
};

struct draw_result {
    struct image picture;
    size_t drawn_w_px, drawn_h_px;
    size_t steps;
    double guidance;
    char *enhanced_prompt; /* NULL if it was not asked for */
    size_t n_tokens, n_tokens_dropped;
    double seconds[N_STAGES];
    /* Multiplications and additions of each stage's matrix products (the models' *_flops);
     * 0 for what was not done anew (a prompt that was the last one's) and for
     * STAGE_ENHANCE, whose length nobody knows before. */
    double flops[N_STAGES];
};

struct pipeline_options {
    /* Single files in BFL's layout, in place of the directory's parts; or NULL. */
    const char *transformer_file, *autoencoder_file;
    /* A directory with TAEF2, for previews of models whose own autoencoder is large;
     * NULL: such models give none. */
    const char *preview_autoencoder_dir;
};

/* be: borrowed. dir: the model's directory. */
NODISCARD enum err pipeline_open(struct backend *be, const char *dir,
                                 const struct pipeline_options *opts, struct pipeline **out,
                                 struct errmsg *em);
void pipeline_close(struct pipeline *p);

struct pipeline_info {
    const struct model_dir *dir;
    struct text_encoder_info text_encoder;
    struct transformer_info transformer;
    struct autoencoder_info autoencoder;
    size_t steps; /* defaults, resolved */
    double guidance;
    bool uses_cfg;
    uint64_t memory_bytes; /* at the most, for a 1024×768 picture: mapped weights and workspace */
};
struct pipeline_info pipeline_info(const struct pipeline *p);

/* out: draw_result_deinit it. One drawing at a time per pipeline. */
NODISCARD enum err pipeline_draw(struct pipeline *p, const struct draw_request *req,
                                 struct draw_result *out, struct errmsg *em);
void draw_result_deinit(struct draw_result *r);

/* The prompt rewritten; *out is malloc'ed. */
NODISCARD enum err pipeline_enhance(struct pipeline *p, const char *prompt, bool for_edit,
                                    uint64_t seed, char **out, struct errmsg *em);

#endif

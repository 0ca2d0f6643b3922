/* SPDX-License-Identifier: MIT */
/* Inside pipeline/ only: the state of one drawing, and its parts that have files of
 * their own. */
#ifndef EASEL_PIPELINE_DRAWING_H
#define EASEL_PIPELINE_DRAWING_H

#include <stdbool.h>
#include <stddef.h>

#include "pipeline/geometry.h"
#include "pipeline/pipeline.h"
#include "pipeline/pipeline_impl.h"

/* Everything that one drawing owns. */
struct drawing {
    struct pipeline *p;
    const struct draw_request *req;
    size_t width_px, height_px;
    size_t steps;
    double guidance;
    struct grid grid;
    size_t token_width;
    size_t n_noise;           /* image tokens that are drawn */
    size_t n_image;           /* those and the references' */
    char *enhanced;           /* NULL, or the prompt that is drawn */
    struct image *references; /* prepared copies */
    struct grid *reference_grids;
    float *tokens;            /* [n_image, token_width]: latent, then references */
    float *velocity, *velocity_negative; /* [n_noise, token_width] */
    float *sigmas;
    struct position *positions;
    struct transformer_run *run, *run_negative;
    /* progress: arithmetic done so far, of all there is, in FLOPs */
    double work_done, work_total, work_stage;
    enum stage stage;
    size_t step;
    struct draw_result *result;
};

/* Check the request, settle its sizes, prepare the references, make the buffers.
 * What it made is the drawing's, also on failure. */
NODISCARD enum err drawing_plan(struct drawing *d, struct errmsg *em);

/* The picture as it would be if the rest of the path were straight, x - sigma * v; of
 * at most about 512x512 pixels. out: image_deinit it. */
NODISCARD enum err drawing_preview(const struct drawing *d, float sigma, struct image *out,
                                   struct errmsg *em);
/* The arithmetic of one, about. */
double drawing_preview_flops(const struct drawing *d);
/* Whether the model has an autoencoder that is quick enough for previews. */
bool drawing_can_preview(const struct pipeline *p);

/* Whether an autoencoder is the tiny kind. */
bool autoencoder_is_tiny(const struct autoencoder *ae);

/* rgb: [h_px, w_px, 3] floats, 0 … 1, clamped. out: image_deinit it. */
NODISCARD enum err image_from_floats(const float *rgb, size_t w_px, size_t h_px,
                                     struct image *out, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
/* A picture without a model, for load tests: a soft vertical gradient. It takes the same way
 * through the worker as a drawn one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "worker/painter.h"

static enum easel_status out_of_memory(struct easel_error *error)
{
    snprintf(error->message, sizeof error->message, "out of memory for the stub's picture");
    return EASEL_NOMEM;
}

/* From the seed's colour towards white: rows are plain, so that they compress to nothing. */
static void fill(struct easel_picture *p)
{
    uint32_t mixed = (uint32_t)p->seed * 2654435761u;
    for (unsigned y = 0; y < p->height; y++) {
        uint8_t *row = p->rgb + (size_t)y * p->width * 3;
        for (unsigned c = 0; c < 3; c++) {
            unsigned top = mixed >> (8 * c + 4) & 0xffu;
            row[c] = (uint8_t)(top + (255u - top) * y / (2 * p->height));
        }
        for (unsigned x = 1; x < p->width; x++)
            memcpy(row + 3 * (size_t)x, row, 3);
    }
}

static int tell_progress(const struct easel_draw_options *o)
{
    struct easel_progress progress = {
        .stage = EASEL_STAGE_DENOISE, .step = 1, .n_steps = 1, .fraction = 0.5};
    return o->on_progress ? o->on_progress(o->user, &progress) : 0;
}

enum easel_status stub_draw(const struct easel_draw_options *o, struct easel_picture **out,
                            struct easel_error *error)
{
    if (!o->width || !o->height || o->width > LIMIT_SIDE_MAX_PX || o->height > LIMIT_SIDE_MAX_PX) {
        snprintf(error->message, sizeof error->message, "the picture's sides must be from 1 to %u",
                 LIMIT_SIDE_MAX_PX);
        return EASEL_USAGE;
    }
    if (tell_progress(o)) {
        snprintf(error->message, sizeof error->message, "cancelled");
        return EASEL_CANCELLED;
    }
    const char *prompt = o->prompt ? o->prompt : "";
    struct easel_picture *p = calloc(1, sizeof *p);
    if (!p)
        return out_of_memory(error);
    *p = (struct easel_picture){.width = o->width,
                                .height = o->height,
                                .drawn_width = o->width,
                                .drawn_height = o->height,
                                .seed = o->seed,
                                .steps = 1,
                                .n_references = o->n_references};
    p->rgb = malloc((size_t)o->width * o->height * 3);
    p->prompt = strdup(prompt);
    p->model = strdup("stub");
    p->enhanced_prompt = o->enhance ? strdup(prompt) : NULL;
    if (!p->rgb || !p->prompt || !p->model || (o->enhance && !p->enhanced_prompt)) {
        easel_picture_free(p);
        return out_of_memory(error);
    }
    fill(p);
    *out = p;
    return EASEL_OK;
}

/* SPDX-License-Identifier: MIT */
#include "fake_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker_test.h"

#define STEP_MS 5u
#define PREVIEW_SIDE 8u

struct fake_engine fake_engine;

void fake_engine_reset(void)
{
    fake_engine.silent_ms = 0;
    fake_engine.endless = fake_engine.hangs = false;
    fake_engine.status = EASEL_OK;
    fake_engine.n_drawings = fake_engine.n_closed = 0;
    fake_engine.n_steps = 2;
}

void easel_model_defaults(struct easel_model_options *options)
{
    *options = (struct easel_model_options){0};
}

enum easel_status easel_model_open(const char *name, const struct easel_model_options *options,
                                   struct easel_model **out, struct easel_error *error)
{
    (void)name;
    (void)options;
    (void)error;
    *out = (struct easel_model *)&fake_engine;
    return EASEL_OK;
}

void easel_model_close(struct easel_model *model)
{
    (void)model;
    fake_engine.n_closed++;
}

void easel_draw_defaults(struct easel_draw_options *options)
{
    *options = (struct easel_draw_options){.seed = EASEL_SEED_RANDOM, .guidance = -1};
}

const char *easel_stage_name(enum easel_stage stage)
{
    static const char *const names[EASEL_N_STAGES] = {"enhance", "text", "references", "denoise",
                                                      "decode"};
    return names[stage];
}

static int step(const struct easel_draw_options *o, unsigned i, unsigned n)
{
    static const uint8_t rgb[PREVIEW_SIDE * PREVIEW_SIDE * 3];
    struct easel_progress p = {
        .stage = EASEL_STAGE_DENOISE,
        .step = i,
        .n_steps = n,
        .fraction = (double)i / (double)(n + 1),
        .preview_rgb = o->previews ? rgb : NULL,
        .preview_width = PREVIEW_SIDE,
        .preview_height = PREVIEW_SIDE,
    };
    sleep_ms(STEP_MS);
    return o->on_progress(o->user, &p);
}

static enum easel_status draw_steps(const struct easel_draw_options *o)
{
    unsigned n = fake_engine.endless ? 100000 : fake_engine.n_steps;
    while (fake_engine.hangs)
        sleep_ms(STEP_MS);
    sleep_ms(fake_engine.silent_ms);
    for (unsigned i = 1; i <= n; i++)
        if (step(o, i, n))
            return EASEL_CANCELLED;
    return (enum easel_status)fake_engine.status;
}

enum easel_status easel_draw(struct easel_model *model, const struct easel_draw_options *o,
                             struct easel_picture **out, struct easel_error *error)
{
    (void)model;
    fake_engine.n_drawings++;
    enum easel_status status = draw_steps(o);
    if (status) {
        snprintf(error->message, sizeof error->message, "the engine says %d", (int)status);
        return status;
    }
    *out = calloc(1, sizeof **out);
    return *out ? EASEL_OK : EASEL_NOMEM;
}

void easel_picture_free(struct easel_picture *picture)
{
    free(picture);
}

void easel_free(void *p)
{
    free(p);
}

static enum easel_status give(const char *text, void **bytes, size_t *len)
{
    *bytes = strdup(text);
    *len = strlen(text);
    return *bytes ? EASEL_OK : EASEL_NOMEM;
}

enum easel_status easel_picture_encode_quality(const struct easel_picture *picture,
                                               const char *format, int quality, void **bytes,
                                               size_t *len, struct easel_error *error)
{
    (void)picture;
    (void)format;
    (void)quality;
    (void)error;
    return give("a picture", bytes, len);
}

enum easel_status easel_rgb_encode(const uint8_t *rgb, unsigned width, unsigned height,
                                   const char *format, int quality, void **bytes, size_t *len,
                                   struct easel_error *error)
{
    (void)rgb;
    (void)error;
    char text[64];
    snprintf(text, sizeof text, "%s of %ux%u, quality %d", format, width, height, quality);
    return give(text, bytes, len);
}

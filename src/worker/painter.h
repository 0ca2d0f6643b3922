/* SPDX-License-Identifier: MIT */
/* Inside worker/ only: one picture under way, on a thread of its own. The thread draws and
 * encodes; it touches neither store nor blobs, so it may be left behind when it hangs. */
#ifndef EASEL_WORKER_PAINTER_H
#define EASEL_WORKER_PAINTER_H

#include <stdbool.h>

#include "base/err.h"
#include "easel.h"

/* What to draw. Strings and references are borrowed until painter_free. */
struct painting {
    struct easel_model *model;         /* NULL: the stub */
    struct easel_draw_options options; /* on_progress and user are the painter's */
    const char *format;
    int quality;
};

/* What the drawing said last. */
struct painter_report {
    enum easel_stage stage;
    unsigned step, n_steps;
    double fraction;
    uint8_t *preview_rgb; /* malloc'ed, the newest, or NULL */
    unsigned preview_width, preview_height;
};

enum painter_news {
    NEWS_NONE,
    NEWS_PROGRESS, /* since the last report was taken */
    NEWS_STEP,     /* a step has ended since then */
};

struct painter_result {
    enum easel_status status;
    struct easel_error error;
    struct easel_picture *picture; /* for its times and its prompt */
    void *bytes;                   /* the encoded file */
    size_t len;
    double encode_s;
};

struct painter;

/* Starts at once. ERR_BUSY: the system gives no thread now. */
NODISCARD enum err painter_new(const struct painting *what, struct painter **out,
                               struct errmsg *em);
/* Until the drawing is done (true), there is NEWS_STEP or the time is over. */
bool painter_wait(struct painter *p, unsigned ms);
enum painter_news painter_news(struct painter *p);
/* The newest report; the caller frees preview_rgb. */
void painter_take_report(struct painter *p, struct painter_report *out);
/* Seconds since the drawing last gave a sign. */
double painter_silence_s(struct painter *p);
/* Its next progress call ends the drawing: EASEL_CANCELLED. There are no more news. */
void painter_stop(struct painter *p);
/* After painter_wait said true; borrowed until painter_free. */
const struct painter_result *painter_result(const struct painter *p);
/* Stops it, waits for its end and frees it. NULL is fine. */
void painter_free(struct painter *p);
/* It hangs: leave the thread to itself, with all that it uses. Should it end one day, the painter
 * is freed and release called, on that thread (at once if it has just ended). */
void painter_abandon(struct painter *p, void (*release)(void *ctx), void *ctx);

/* A plain picture at once; its colours are a function of the seed. */
enum easel_status stub_draw(const struct easel_draw_options *o, struct easel_picture **out,
                            struct easel_error *error);

#endif

/* SPDX-License-Identifier: MIT */
#include "worker/painter.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

struct painter {
    struct painting what;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows, the result until done is set */
    pthread_cond_t changed;
    bool stop, done;
    double last_sign_s;
    enum painter_news news;
    struct painter_report report;
    struct painter_result result;
    void (*release)(void *ctx); /* set: abandoned */
    void *release_ctx;
};

/* A preview that finds no memory is left out: the picture matters more. */
static void keep_preview(struct painter_report *r, const struct easel_progress *progress)
{
    size_t len = (size_t)progress->preview_width * progress->preview_height * 3;
    uint8_t *copy = len ? malloc(len) : NULL;
    if (!copy)
        return;
    memcpy(copy, progress->preview_rgb, len);
    free(r->preview_rgb);
    r->preview_rgb = copy;
    r->preview_width = progress->preview_width;
    r->preview_height = progress->preview_height;
}

static void keep_report(struct painter *p, const struct easel_progress *progress)
{
    struct painter_report *r = &p->report;
    bool is_step = progress->step > r->step || progress->preview_rgb;
    if (is_step || p->news == NEWS_NONE)
        p->news = is_step ? NEWS_STEP : NEWS_PROGRESS;
    if (is_step)
        pthread_cond_signal(&p->changed);
    r->stage = progress->stage;
    r->step = progress->step;
    r->n_steps = progress->n_steps;
    r->fraction = progress->fraction;
    if (progress->preview_rgb)
        keep_preview(r, progress);
}

static int on_progress(void *user, const struct easel_progress *progress)
{
    struct painter *p = user;
    pthread_mutex_lock(&p->lock);
    p->last_sign_s = clock_now_s();
    bool stop = p->stop;
    if (!stop)
        keep_report(p, progress);
    pthread_mutex_unlock(&p->lock);
    return stop;
}

static void draw_and_encode(struct painter *p, struct painter_result *r)
{
    struct easel_draw_options options = p->what.options;
    options.on_progress = on_progress;
    options.user = p;
    r->status = p->what.model ? easel_draw(p->what.model, &options, &r->picture, &r->error)
                              : stub_draw(&options, &r->picture, &r->error);
    if (r->status)
        return;
    double start = clock_now_s();
    pthread_mutex_lock(&p->lock);
    p->last_sign_s = start;
    pthread_mutex_unlock(&p->lock);
    r->status = easel_picture_encode_quality(r->picture, p->what.format, p->what.quality, &r->bytes,
                                             &r->len, &r->error);
    r->encode_s = clock_now_s() - start;
}

static void destroy(struct painter *p)
{
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->report.preview_rgb);
    easel_picture_free(p->result.picture);
    easel_free(p->result.bytes);
    free(p);
}

static void *paint(void *arg)
{
    struct painter *p = arg;
    struct painter_result result = {0};
    draw_and_encode(p, &result);
    pthread_mutex_lock(&p->lock);
    p->result = result;
    p->done = true;
    void (*release)(void *ctx) = p->release;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (release) {
        void *ctx = p->release_ctx;
        destroy(p);
        release(ctx);
    }
    return NULL;
}

enum err painter_new(const struct painting *what, struct painter **out, struct errmsg *em)
{
    struct painter *p = calloc(1, sizeof *p);
    if (!p)
        return err_nomem(em, sizeof *p);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&p->lock, NULL);
    p->what = *what;
    p->last_sign_s = clock_now_s();
    p->report.stage = EASEL_STAGE_TEXT;
    int reason = pthread_create(&p->thread, NULL, paint, p);
    if (reason) {
        destroy(p);
        return err_set(em, ERR_BUSY, "no thread to draw with: %s", strerror(reason));
    }
    *out = p;
    return ERR_OK;
}

bool painter_wait(struct painter *p, unsigned ms)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += (long)(ms % 1000) * 1000000;
    end.tv_sec += ms / 1000 + end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    pthread_mutex_lock(&p->lock);
    while (!p->done && p->news != NEWS_STEP &&
           pthread_cond_timedwait(&p->changed, &p->lock, &end) != ETIMEDOUT)
        ;
    bool done = p->done;
    pthread_mutex_unlock(&p->lock);
    return done;
}

enum painter_news painter_news(struct painter *p)
{
    pthread_mutex_lock(&p->lock);
    enum painter_news news = p->news;
    pthread_mutex_unlock(&p->lock);
    return news;
}

void painter_take_report(struct painter *p, struct painter_report *out)
{
    pthread_mutex_lock(&p->lock);
    *out = p->report;
    p->report.preview_rgb = NULL;
    p->news = NEWS_NONE;
    pthread_mutex_unlock(&p->lock);
}

double painter_silence_s(struct painter *p)
{
    pthread_mutex_lock(&p->lock);
    double silence = clock_now_s() - p->last_sign_s;
    pthread_mutex_unlock(&p->lock);
    return silence;
}

void painter_stop(struct painter *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    p->news = NEWS_NONE; /* or painter_wait would not wait */
    pthread_mutex_unlock(&p->lock);
}

const struct painter_result *painter_result(const struct painter *p)
{
    return &p->result;
}

void painter_free(struct painter *p)
{
    if (!p)
        return;
    painter_stop(p);
    pthread_join(p->thread, NULL);
    destroy(p);
}

void painter_abandon(struct painter *p, void (*release)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    bool done = p->done;
    if (!done) {
        p->release = release;
        p->release_ctx = ctx;
        pthread_detach(p->thread);
    }
    pthread_mutex_unlock(&p->lock);
    if (done) {
        painter_free(p);
        release(ctx);
    }
}

/* SPDX-License-Identifier: MIT */
/* Pillow's LANCZOS resize for 8-bit RGB, to the bit (Pillow 13, src/libImaging/Resample.c):
 * weights computed in double, rounded to 22-bit fixed point; a horizontal and a vertical
 * pass, each rounding to 8 bits; a pass whose size does not change is left out.
 * Which pass comes first shows in the last bits: horizontal, except (since Pillow 13) where
 * the height shrinks by more than twice as many pixels as the width. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "image/image_impl.h"

#define PRECISION_BITS (32 - 8 - 2)
#define LANCZOS_SUPPORT 3.0

/* For each output position: where its window starts, how long it is, its weights. */
struct filter {
    size_t window_max;
    size_t *first, *length;
    int32_t *weights; /* [n_out, window_max] */
};

static double sinc(double x)
{
    if (x == 0.0)
        return 1.0;
    x *= M_PI;
    return sin(x) / x;
}

static double lanczos(double x)
{
    return -LANCZOS_SUPPORT <= x && x < LANCZOS_SUPPORT ? sinc(x) * sinc(x / LANCZOS_SUPPORT) : 0.0;
}

static void filter_deinit(struct filter *f)
{
    free(f->first);
    free(f->length);
    free(f->weights);
}

/* The weights of one output position, normalised. */
static void window_compute(struct filter *f, size_t out, size_t n_in, double scale, double *w)
{
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double support = LANCZOS_SUPPORT * filter_scale;
    double centre = ((double)out + 0.5) * scale;
    double step = 1.0 / filter_scale;
    double low = centre - support + 0.5, high = centre + support + 0.5;
    size_t first = low < 0.0 ? 0 : (size_t)low;
    size_t end = min_size((size_t)high, n_in);
    double sum = 0.0;
    for (size_t i = 0; i < end - first; i++) {
        /* in Pillow's order: the integer sum first, then the centre */
        w[i] = lanczos(((double)(i + first) - centre + 0.5) * step);
        sum += w[i];
    }
    f->first[out] = first;
    f->length[out] = end - first;
    int32_t *fixed = f->weights + out * f->window_max;
    for (size_t i = 0; i < end - first; i++) {
        double v = (sum != 0.0 ? w[i] / sum : w[i]) * (1 << PRECISION_BITS);
        fixed[i] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
    }
}

static enum err filter_init(struct filter *f, size_t n_in, size_t n_out, struct errmsg *em)
{
    double scale = (double)n_in / (double)n_out;
    *f = (struct filter){0};
    f->window_max = (size_t)ceil(LANCZOS_SUPPORT * (scale < 1.0 ? 1.0 : scale)) * 2 + 1;
    double *w = calloc(f->window_max, sizeof *w);
    f->first = calloc(n_out, sizeof *f->first);
    f->length = calloc(n_out, sizeof *f->length);
    size_t n_weights;
    if (mul_size(n_out, f->window_max, &n_weights))
        f->weights = calloc(n_weights, sizeof *f->weights);
    if (!w || !f->first || !f->length || !f->weights) {
        free(w);
        filter_deinit(f);
        return err_nomem(em, (unsigned long long)n_out * f->window_max * sizeof *f->weights);
    }
    for (size_t i = 0; i < n_out; i++)
        window_compute(f, i, n_in, scale, w);
    free(w);
    return ERR_OK;
}

static uint8_t fixed_round(int32_t v)
{
    v >>= PRECISION_BITS; /* arithmetic, as in every compiler we build with */
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void pass_horizontal(const struct filter *f, const struct image *in, struct image *out)
{
    for (size_t y = 0; y < out->height_px; y++) {
        const uint8_t *row = in->rgb + y * in->width_px * 3;
        uint8_t *to = out->rgb + y * out->width_px * 3;
        for (size_t x = 0; x < out->width_px; x++, to += 3) {
            const uint8_t *p = row + f->first[x] * 3;
            const int32_t *w = f->weights + x * f->window_max;
            int32_t r = 1 << (PRECISION_BITS - 1), g = r, b = r;
            for (size_t i = 0; i < f->length[x]; i++, p += 3) {
                r += p[0] * w[i];
                g += p[1] * w[i];
                b += p[2] * w[i];
            }
            to[0] = fixed_round(r);
            to[1] = fixed_round(g);
            to[2] = fixed_round(b);
        }
    }
}

/* Whole rows at a time, so that the compiler can use vectors. */
static void pass_vertical(const struct filter *f, const struct image *in, struct image *out,
                          int32_t *sums)
{
    size_t n = in->width_px * 3;
    for (size_t y = 0; y < out->height_px; y++) {
        const int32_t *w = f->weights + y * f->window_max;
        const uint8_t *row = in->rgb + f->first[y] * n;
        for (size_t x = 0; x < n; x++)
            sums[x] = 1 << (PRECISION_BITS - 1);
        for (size_t i = 0; i < f->length[y]; i++, row += n)
            for (size_t x = 0; x < n; x++)
                sums[x] += row[x] * w[i];
        uint8_t *to = out->rgb + y * n;
        for (size_t x = 0; x < n; x++)
            to[x] = fixed_round(sums[x]);
    }
}

static enum err resize_width(const struct image *in, size_t width_px, struct image *out,
                             struct errmsg *em)
{
    struct filter f;
    enum err rc = filter_init(&f, in->width_px, width_px, em);
    if (rc)
        return rc;
    rc = image_init(out, width_px, in->height_px, em);
    if (!rc)
        pass_horizontal(&f, in, out);
    filter_deinit(&f);
    return rc;
}

static enum err resize_height(const struct image *in, size_t height_px, struct image *out,
                              struct errmsg *em)
{
    struct filter f;
    enum err rc = filter_init(&f, in->height_px, height_px, em);
    if (rc)
        return rc;
    int32_t *sums = calloc(in->width_px * 3, sizeof *sums);
    rc = sums ? image_init(out, in->width_px, height_px, em)
              : err_nomem(em, in->width_px * 3 * sizeof *sums);
    if (!rc)
        pass_vertical(&f, in, out, sums);
    free(sums);
    filter_deinit(&f);
    return rc;
}

static bool vertical_first(const struct image *in, size_t width_px, size_t height_px)
{
    int64_t less_wide = (int64_t)in->width_px - (int64_t)width_px;
    int64_t less_high = (int64_t)in->height_px - (int64_t)height_px;
    return less_high > 0 && less_high > 2 * less_wide;
}

/* Both sizes change: one pass into a picture between, the other out of it. */
static enum err resize_both(const struct image *in, size_t width_px, size_t height_px,
                            struct image *out, struct errmsg *em)
{
    struct image between;
    enum err rc;
    if (vertical_first(in, width_px, height_px)) {
        rc = resize_height(in, height_px, &between, em);
        if (rc)
            return rc;
        rc = resize_width(&between, width_px, out, em);
    } else {
        rc = resize_width(in, width_px, &between, em);
        if (rc)
            return rc;
        rc = resize_height(&between, height_px, out, em);
    }
    image_deinit(&between);
    return rc;
}

enum err image_resize_lanczos(const struct image *in, size_t width_px, size_t height_px,
                              struct image *out, struct errmsg *em)
{
    if (width_px == 0 || height_px == 0 || width_px > LIMIT_PICTURE_PIXELS_MAX ||
        height_px > LIMIT_PICTURE_PIXELS_MAX || width_px * height_px > LIMIT_PICTURE_PIXELS_MAX)
        return err_set(em, ERR_USAGE, "a picture cannot be resized to %zu×%zu pixels", width_px,
                       height_px);
    if (width_px != in->width_px && height_px != in->height_px)
        return resize_both(in, width_px, height_px, out, em);
    if (width_px != in->width_px)
        return resize_width(in, width_px, out, em);
    if (height_px != in->height_px)
        return resize_height(in, height_px, out, em);
    return image_crop(in, 0, 0, width_px, height_px, out, em);
}

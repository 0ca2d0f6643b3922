/* SPDX-License-Identifier: MIT */
/* 256 colours for a picture: its colours are counted in 32×32×32 bins, all bins are put in
 * one box, and the box that is spread widest along an axis is cut there at its mean, until
 * there are 256 boxes or nothing is left to cut. A box's colour is its pixels' mean. */
#include <stdlib.h>
#include <string.h>

#include "image/image_impl.h"
#include "image/terminal_impl.h"

#define N_BINS (1u << 15)

struct bin {
    uint64_t n, sum[3];
};

struct box {
    size_t first, n_bins; /* in work.order */
    int axis;             /* to cut along */
    double spread;        /* sum of squared distances from the mean, along it */
    double mean;
};

struct work {
    struct bin bins[N_BINS];
    uint16_t order[N_BINS]; /* the bins in use, those of a box together */
    struct box boxes[PALETTE_COLOURS_MAX];
    size_t n_boxes;
};

static unsigned bin_coordinate(unsigned bin, int axis)
{
    return bin >> (10 - 5 * axis) & 31;
}

static void box_measure(const struct work *w, struct box *box)
{
    box->spread = 0;
    for (int axis = 0; axis < 3; axis++) {
        double n = 0, sum = 0, squares = 0;
        for (size_t i = box->first; i < box->first + box->n_bins; i++) {
            double v = bin_coordinate(w->order[i], axis), count = (double)w->bins[w->order[i]].n;
            n += count;
            sum += count * v;
            squares += count * v * v;
        }
        double mean = sum / n, spread = squares - sum * mean;
        if (axis == 0 || spread > box->spread) {
            box->axis = axis;
            box->spread = spread;
            box->mean = mean;
        }
    }
    if (box->n_bins == 1)
        box->spread = 0; /* whatever rounding says */
}

/* Move the bins up to the mean in front; how many they are. */
static size_t box_partition(struct work *w, const struct box *box)
{
    uint16_t *order = w->order + box->first;
    size_t low = 0;
    for (size_t i = 0; i < box->n_bins; i++) {
        if ((double)bin_coordinate(order[i], box->axis) > box->mean)
            continue;
        uint16_t t = order[low];
        order[low++] = order[i];
        order[i] = t;
    }
    return low;
}

/* Cut the box that is spread widest; false: none can be cut. */
static bool widest_cut(struct work *w)
{
    struct box *widest = &w->boxes[0];
    for (size_t i = 1; i < w->n_boxes; i++)
        if (w->boxes[i].spread > widest->spread)
            widest = &w->boxes[i];
    if (widest->spread <= 0)
        return false;
    size_t low = box_partition(w, widest);
    if (low == 0 || low == widest->n_bins)
        return false;
    struct box *other = &w->boxes[w->n_boxes++];
    *other = (struct box){.first = widest->first + low, .n_bins = widest->n_bins - low};
    widest->n_bins = low;
    box_measure(w, widest);
    box_measure(w, other);
    return true;
}

static void box_colour(const struct work *w, const struct box *box, struct palette *out)
{
    struct bin all = {0};
    for (size_t i = box->first; i < box->first + box->n_bins; i++) {
        const struct bin *b = &w->bins[w->order[i]];
        all.n += b->n;
        for (int k = 0; k < 3; k++)
            all.sum[k] += b->sum[k];
        out->index_of[w->order[i]] = (uint8_t)out->n;
    }
    for (int k = 0; k < 3; k++)
        out->rgb[out->n][k] = (uint8_t)((all.sum[k] + all.n / 2) / all.n);
    out->n++;
}

enum err palette_make(const struct image *img, struct palette *out, struct errmsg *em)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w)
        return err_nomem(em, sizeof *w);
    const uint8_t *p = img->rgb;
    for (size_t i = 0; i < img->width_px * img->height_px; i++, p += 3) {
        struct bin *b = &w->bins[colour_bin(p)];
        b->n++;
        for (int k = 0; k < 3; k++)
            b->sum[k] += p[k];
    }
    struct box *all = &w->boxes[0];
    for (unsigned i = 0; i < N_BINS; i++)
        if (w->bins[i].n)
            w->order[all->n_bins++] = (uint16_t)i;
    w->n_boxes = 1;
    box_measure(w, all);
    while (w->n_boxes < PALETTE_COLOURS_MAX && widest_cut(w))
        ;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < w->n_boxes; i++)
        box_colour(w, &w->boxes[i], out);
    free(w);
    return ERR_OK;
}

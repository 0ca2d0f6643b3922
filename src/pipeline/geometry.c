/* SPDX-License-Identifier: MIT */
#include "pipeline/geometry.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

struct grid grid_for_size(size_t w_px, size_t h_px, size_t px_per_tok, size_t native_pixels)
{
    struct grid g;
    if (native_pixels) {
        double aspect = (double)w_px / (double)h_px;
        double side = sqrt((double)native_pixels) / (double)px_per_tok;
        g.w_tok = max_size(1, (size_t)lround(side * sqrt(aspect)));
        g.h_tok = max_size(1, (size_t)lround(side / sqrt(aspect)));
    } else {
        g.w_tok = div_up(w_px, px_per_tok);
        g.h_tok = div_up(h_px, px_per_tok);
    }
    g.drawn_w_px = g.w_tok * px_per_tok;
    g.drawn_h_px = g.h_tok * px_per_tok;
    return g;
}

enum err grid_fit_picture(const struct image *drawn, size_t px_per_tok, size_t w_px, size_t h_px,
                          struct image *out, struct errmsg *em)
{
    struct image resized = {0};
    bool is_small = drawn->width_px < w_px || drawn->height_px < h_px;
    bool is_large = drawn->width_px >= w_px + px_per_tok && drawn->height_px >= h_px + px_per_tok;
    const struct image *src = drawn;
    enum err rc;
    if (is_small || is_large) {
        double scale =
            fmax((double)w_px / (double)drawn->width_px, (double)h_px / (double)drawn->height_px);
        /* rounding must not leave the picture a pixel short of the asked size */
        size_t w = max_size(w_px, (size_t)lround((double)drawn->width_px * scale));
        size_t h = max_size(h_px, (size_t)lround((double)drawn->height_px * scale));
        rc = image_resize_lanczos(drawn, w, h, &resized, em);
        if (rc)
            return rc;
        src = &resized;
    }
    rc = image_crop(src, (src->width_px - w_px) / 2, (src->height_px - h_px) / 2, w_px, h_px, out,
                    em);
    image_deinit(&resized);
    return rc;
}

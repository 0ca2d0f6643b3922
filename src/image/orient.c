/* SPDX-License-Identifier: MIT */
/* Turning a picture as its EXIF orientation says. */
#include <string.h>

#include "base/size.h"
#include "image/image_impl.h"

#define TILE_PX 32u /* rows become columns: work in squares that stay in the cache */

/* Where the pixel that belongs at x, y of the turned picture (of w×h) is stored. */
static size_t source_index(unsigned orientation, size_t x, size_t y, size_t w, size_t h)
{
    switch (orientation) {
    case 2: /* mirrored */
        return y * w + (w - 1 - x);
    case 3: /* upside down */
        return (h - 1 - y) * w + (w - 1 - x);
    case 4: /* upside down, mirrored */
        return (h - 1 - y) * w + x;
    case 5: /* transposed; from here on the stored rows are h long */
        return x * h + y;
    case 6: /* to be turned a quarter clockwise */
        return (w - 1 - x) * h + y;
    case 7: /* transposed about the other diagonal */
        return (w - 1 - x) * h + (h - 1 - y);
    case 8: /* to be turned a quarter anticlockwise */
        return x * h + (h - 1 - y);
    default:
        return y * w + x;
    }
}

enum err image_orient(struct image *img, unsigned orientation, struct errmsg *em)
{
    if (orientation < 2 || orientation > 8)
        return ERR_OK;
    bool turned = orientation >= 5;
    struct image out;
    enum err rc = image_init(&out, turned ? img->height_px : img->width_px,
                             turned ? img->width_px : img->height_px, em);
    if (rc)
        return rc;
    size_t w = out.width_px, h = out.height_px;
    for (size_t y0 = 0; y0 < h; y0 += TILE_PX)
        for (size_t x0 = 0; x0 < w; x0 += TILE_PX)
            for (size_t y = y0; y < min_size(h, y0 + TILE_PX); y++)
                for (size_t x = x0; x < min_size(w, x0 + TILE_PX); x++)
                    memcpy(out.rgb + (y * w + x) * 3,
                           img->rgb + source_index(orientation, x, y, w, h) * 3, 3);
    image_deinit(img);
    *img = out;
    return ERR_OK;
}

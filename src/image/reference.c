/* SPDX-License-Identifier: MIT */
/* Reference pictures made fit for the autoencoder, as diffusers' Flux2KleinPipeline does
 * it with Flux2ImageProcessor (0.42): check_image_input, _resize_to_target_area, then
 * preprocess(resize_mode="crop"), whose _resize_and_crop is overridden there to crop about
 * the centre without resizing. */
#include <math.h>
#include <string.h>

#include "image/image_impl.h"

#define REFERENCE_AREA_MAX (1024u * 1024u)

enum err image_crop(const struct image *in, size_t x_px, size_t y_px, size_t width_px,
                    size_t height_px, struct image *out, struct errmsg *em)
{
    if (width_px == 0 || height_px == 0 || x_px > in->width_px || y_px > in->height_px ||
        width_px > in->width_px - x_px || height_px > in->height_px - y_px)
        return err_set(em, ERR_USAGE,
                       "the rectangle %zu×%zu at %zu,%zu does not lie inside a picture of %zu×%zu",
                       width_px, height_px, x_px, y_px, in->width_px, in->height_px);
    struct image img;
    enum err rc = image_init(&img, width_px, height_px, em);
    if (rc)
        return rc;
    for (size_t y = 0; y < height_px; y++)
        memcpy(img.rgb + y * width_px * 3, in->rgb + ((y_px + y) * in->width_px + x_px) * 3,
               width_px * 3);
    *out = img;
    return ERR_OK;
}

enum err image_check_reference(const struct image *in, struct errmsg *em)
{
    size_t w = in->width_px, h = in->height_px;
    if (w < LIMIT_REFERENCE_SIDE_MIN_PX || h < LIMIT_REFERENCE_SIDE_MIN_PX)
        return err_set(em, ERR_USAGE,
                       "the reference picture is too small: %zu×%zu, each side must be at least "
                       "%u pixels",
                       w, h, LIMIT_REFERENCE_SIDE_MIN_PX);
    size_t longer = w > h ? w : h, shorter = w > h ? h : w;
    if (longer > shorter * LIMIT_REFERENCE_ASPECT_MAX)
        return err_set(em, ERR_USAGE,
                       "the reference picture is too narrow: %zu×%zu, at most %u:1 is taken", w, h,
                       LIMIT_REFERENCE_ASPECT_MAX);
    return ERR_OK;
}

enum err image_prepare_reference(const struct image *in, size_t multiple_of_px, struct image *out,
                                 struct errmsg *em)
{
    if (multiple_of_px == 0 || multiple_of_px > LIMIT_REFERENCE_SIDE_MIN_PX)
        return err_set(em, ERR_USAGE, "references cannot be cut to multiples of %zu pixels",
                       multiple_of_px);
    enum err rc = image_check_reference(in, em);
    if (rc)
        return rc;
    struct image scaled = {0};
    if (in->width_px * in->height_px > REFERENCE_AREA_MAX) {
        double scale = sqrt((double)REFERENCE_AREA_MAX / (double)(in->width_px * in->height_px));
        rc = image_resize_lanczos(in, (size_t)((double)in->width_px * scale),
                                  (size_t)((double)in->height_px * scale), &scaled, em);
        if (rc)
            return rc;
        in = &scaled;
    }
    size_t width_px = in->width_px / multiple_of_px * multiple_of_px;
    size_t height_px = in->height_px / multiple_of_px * multiple_of_px;
    rc = image_crop(in, (in->width_px - width_px) / 2, (in->height_px - height_px) / 2, width_px,
                    height_px, out, em);
    image_deinit(&scaled);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* Floats to pixels, and the picture as it forms. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/drawing.h"

/* Previews are decoded at about this area: enough to see, a fraction of a step. */
#define PREVIEW_PIXELS_MAX ((size_t)512 * 512)

bool autoencoder_is_tiny(const struct autoencoder *ae)
{
    return strcmp(autoencoder_info(ae).kind, "AutoencoderTAEF2") == 0;
}

bool drawing_can_preview(const struct pipeline *p)
{
    return p->preview_autoencoder || autoencoder_is_tiny(p->autoencoder);
}

enum err image_from_floats(const float *rgb, size_t w_px, size_t h_px, struct image *out,
                           struct errmsg *em)
{
    enum err rc = image_init(out, w_px, h_px, em);
    if (rc)
        return rc;
    /* nearbyintf rounds halves to even, as numpy does in the reference */
    for (size_t i = 0; i < w_px * h_px * 3; i++)
        out->rgb[i] = (uint8_t)nearbyintf(fminf(fmaxf(rgb[i], 0.0f), 1.0f) * 255.0f);
    return ERR_OK;
}

/* h, w: of a latent. */
static bool is_too_large(size_t h, size_t w, size_t scale)
{
    return h * w * scale * scale > PREVIEW_PIXELS_MAX && h > 1 && w > 1;
}

static struct autoencoder *preview_autoencoder(const struct pipeline *p)
{
    return p->preview_autoencoder ? p->preview_autoencoder : p->autoencoder;
}

double drawing_preview_flops(const struct drawing *d)
{
    struct autoencoder_info ae = autoencoder_info(d->p->autoencoder);
    size_t h = d->grid.h_tok * ae.patch, w = d->grid.w_tok * ae.patch;
    double flops =
        autoencoder_decode_flops(preview_autoencoder(d->p), d->grid.h_tok, d->grid.w_tok);
    for (; is_too_large(h, w, ae.scale); h /= 2, w /= 2)
        flops /= 4;
    return flops;
}

/* Half the side by averaging, until the picture is small enough for a preview. */
static void shrink_latent(float *latent, size_t *h, size_t *w, size_t channels, size_t scale)
{
    while (is_too_large(*h, *w, scale)) {
        size_t h2 = *h / 2, w2 = *w / 2;
        for (size_t y = 0; y < h2; y++)
            for (size_t x = 0; x < w2; x++)
                for (size_t c = 0; c < channels; c++) {
                    const float *a = latent + ((2 * y) * *w + 2 * x) * channels + c;
                    const float *b = a + *w * channels;
                    latent[(y * w2 + x) * channels + c] =
                        0.25f * (a[0] + a[channels] + b[0] + b[channels]);
                }
        *h = h2;
        *w = w2;
    }
}

enum err drawing_preview(const struct drawing *d, float sigma, struct image *out,
                         struct errmsg *em)
{
    const struct pipeline *p = d->p;
    struct autoencoder_info ae = autoencoder_info(p->autoencoder);
    size_t n = d->n_noise * d->token_width;
    size_t h = d->grid.h_tok * ae.patch, w = d->grid.w_tok * ae.patch;
    float *rgb = NULL;
    float *estimate = malloc(n * sizeof *estimate);
    float *latent = malloc(n * sizeof *latent);
    enum err rc = ERR_OK;
    if (!estimate || !latent) {
        rc = err_nomem(em, 2 * n * sizeof *latent);
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        estimate[i] = d->tokens[i] - sigma * d->velocity[i];
    autoencoder_unpack(p->autoencoder, estimate, d->grid.h_tok, d->grid.w_tok, latent);
    shrink_latent(latent, &h, &w, ae.latent_channels, ae.scale);
    rgb = malloc(h * w * ae.scale * ae.scale * 3 * sizeof *rgb);
    if (!rgb) {
        rc = err_nomem(em, h * w * ae.scale * ae.scale * 3 * sizeof *rgb);
        goto out;
    }
    rc = autoencoder_decode_latent(preview_autoencoder(p), latent, h, w, rgb, NULL, em);
    if (!rc)
        rc = image_from_floats(rgb, w * ae.scale, h * ae.scale, out, em);
out:
    free(rgb);
    free(latent);
    free(estimate);
    return rc;
}

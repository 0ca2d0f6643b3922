/* SPDX-License-Identifier: MIT */
#include "models/autoencoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "models/autoencoder_impl.h"

/* A picture's sides beyond this cannot come from any caller, and below it no product
 * of sizes in a run can wrap. */
#define SIDE_MAX_PX ((size_t)1 << 15)
/* Measured at 1024x768 and 1440x1440: larger strips gain nothing, smaller ones lose
 * to the rows that neighbours both compute. */
#define STRIP_BYTES ((size_t)192 << 20)
#define DISCARD_FLOATS_MIN ((size_t)8 << 20)
#define PATCH_MAX 16

static const struct autoencoder_kind *const kinds[] = {
    &autoencoder_kl_kind,
    &autoencoder_taef2_kind,
};

NODISCARD static enum err kind_of(const char *class_name, const char *path,
                                  const struct autoencoder_kind **out, struct errmsg *em)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(kinds[i]->class_name, class_name)) {
            *out = kinds[i];
            return ERR_OK;
        }
    }
    return err_set(em, ERR_UNSUPPORTED,
                   "%s: this program has no autoencoder of class %s (it has AutoencoderKLFlux2 "
                   "and AutoencoderTAEF2)",
                   path, class_name);
}

enum err ae_config_common(struct autoencoder *ae, const struct config *c, struct errmsg *em)
{
    size_t patch[2] = {2, 2}, n = 0;
    enum err rc = config_sizes(c, "patch_size", 1, PATCH_MAX, patch, 2, &n, em);
    if (rc)
        return rc;
    if (n == 0)
        patch[0] = patch[1] = 2;
    if (n == 1 || patch[0] != patch[1])
        return err_set(em, ERR_UNSUPPORTED,
                       "%s: patch_size must be two equal numbers, such as [2, 2]",
                       weights_path(ae->weights));
    ae->info.patch = patch[0];
    return config_double(c, "batch_norm_eps", 0, 1, 1e-4, &ae->bn_eps, em);
}

/* ---- Opening ---- */

/* running_mean and running_var -> mean and standard deviation, once. */
NODISCARD static enum err load_bn(struct autoencoder *ae, struct errmsg *em)
{
    size_t n = ae->info.latent_channels * ae->info.patch * ae->info.patch;
    struct tensor mean, var;
    if (!ae->bn_required && !weights_has(ae->weights, "bn.running_mean") &&
        !weights_has(ae->weights, "bn.running_var"))
        return ERR_OK;
    enum err rc = weights_get_shaped(ae->weights, "bn.running_mean", &mean, em, 1, n);
    if (!rc)
        rc = weights_get_shaped(ae->weights, "bn.running_var", &var, em, 1, n);
    if (rc)
        return rc;
    ae->bn_mean = malloc(n * sizeof(float));
    ae->bn_std = malloc(n * sizeof(float));
    if (!ae->bn_mean || !ae->bn_std)
        return err_nomem(em, n * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        float m = f32_load(mean.data, mean.dtype, i);
        float s = sqrtf(f32_load(var.data, var.dtype, i) + (float)ae->bn_eps);
        if (!isfinite(m) || !isfinite(s) || s <= 0)
            return err_set(em, ERR_FORMAT,
                           "%s: bn.running_mean and bn.running_var are no statistics at channel "
                           "%zu; the file is damaged",
                           weights_path(ae->weights), i);
        ae->bn_mean[i] = m;
        ae->bn_std[i] = s;
    }
    ae->info.has_bn = true;
    return ERR_OK;
}

NODISCARD static enum err open_folder(struct autoencoder *ae, const char *path, struct config **c,
                                      struct errmsg *em)
{
    enum err rc;
    const char *class_name;
    char *config_path = path_join(path, "config.json");
    if (!config_path)
        return err_nomem(em, strlen(path) + 16);
    rc = config_open(config_path, c, em);
    if (!rc)
        rc = config_string(*c, "_class_name", NULL, &class_name, em);
    if (!rc)
        rc = kind_of(class_name, config_path, &ae->kind, em);
    free(config_path);
    return rc;
}

enum err autoencoder_open(struct backend *be, const char *path, struct autoencoder **out,
                          struct errmsg *em)
{
    enum err rc = ERR_OK;
    struct config *c = NULL;
    struct autoencoder *ae = calloc(1, sizeof *ae);
    if (!ae)
        return err_nomem(em, sizeof *ae);
    ae->be = be;
    ae->strip_bytes = STRIP_BYTES;
    ae->discard_floats_min = DISCARD_FLOATS_MIN;
    ae->bn_eps = 1e-4;
    if (file_is_dir(path))
        rc = open_folder(ae, path, &c, em);
    else
        ae->kind = &autoencoder_kl_kind;
    if (!rc)
        rc = weights_open(path, &ae->weights, em);
    if (rc)
        goto out;
    ae->info.kind = ae->kind->class_name;
    ae->info.n_params = weights_n_params(ae->weights);
    ae->info.weight_bytes = weights_bytes(ae->weights);
    rc = ae->kind->open(ae, c, em);
    if (!rc)
        rc = load_bn(ae, em);
    /* every convolution was copied into the backend's order: little of the mapped file
     * will be read again */
    weights_release_pages(ae->weights);
out:
    config_close(c);
    if (rc) {
        autoencoder_close(ae);
        return rc;
    }
    *out = ae;
    return ERR_OK;
}

void autoencoder_close(struct autoencoder *ae)
{
    if (!ae)
        return;
    if (ae->kind && ae->model)
        ae->kind->close(ae);
    weights_close(ae->weights);
    free(ae->bn_mean);
    free(ae->bn_std);
    free(ae);
}

struct autoencoder_info autoencoder_info(const struct autoencoder *ae)
{
    return ae->info;
}

void autoencoder_release_pages(const struct autoencoder *ae)
{
    weights_release_pages(ae->weights);
}

/* ---- Packing ---- */

/* Packed channel c·patch² + i·patch + j of token (y, x) is channel c of the latent
 * cell (y·patch + i, x·patch + j). */
void autoencoder_unpack(const struct autoencoder *ae, const float *tokens, size_t h_tok,
                        size_t w_tok, float *latent)
{
    size_t p = ae->info.patch, z = ae->info.latent_channels, n_ch = z * p * p;
    for (size_t y = 0; y < h_tok * p; y++) {
        for (size_t x = 0; x < w_tok * p; x++, latent += z) {
            const float *t = tokens + (y / p * w_tok + x / p) * n_ch;
            size_t first = y % p * p + x % p;
            for (size_t c = 0; c < z; c++) {
                size_t k = c * p * p + first;
                latent[c] = ae->bn_std ? t[k] * ae->bn_std[k] + ae->bn_mean[k] : t[k];
            }
        }
    }
}

void autoencoder_pack(const struct autoencoder *ae, const float *latent, size_t h_tok, size_t w_tok,
                      float *tokens)
{
    size_t p = ae->info.patch, z = ae->info.latent_channels, n_ch = z * p * p;
    for (size_t y = 0; y < h_tok * p; y++) {
        for (size_t x = 0; x < w_tok * p; x++, latent += z) {
            float *t = tokens + (y / p * w_tok + x / p) * n_ch;
            size_t first = y % p * p + x % p;
            for (size_t c = 0; c < z; c++) {
                size_t k = c * p * p + first;
                t[k] = ae->bn_std ? (latent[c] - ae->bn_mean[k]) / ae->bn_std[k] : latent[c];
            }
        }
    }
}

/* ---- Whole pictures ---- */

NODISCARD static enum err check_half(const struct autoencoder *ae, bool has, const char *half,
                                     struct errmsg *em)
{
    if (has)
        return ERR_OK;
    return err_set(em, ERR_UNSUPPORTED, "%s holds no %s", weights_path(ae->weights), half);
}

/* sides in pixels */
NODISCARD static enum err check_sides(size_t h, size_t w, size_t multiple, struct errmsg *em)
{
    if (h && w && h <= SIDE_MAX_PX && w <= SIDE_MAX_PX && h % multiple == 0 && w % multiple == 0)
        return ERR_OK;
    return err_set(em, ERR_USAGE,
                   "a picture of %zux%zu pixels: sides must be multiples of %zu, at most %zu", w, h,
                   multiple, SIDE_MAX_PX);
}

NODISCARD static enum err alloc_latent(const struct autoencoder *ae, size_t h_tok, size_t w_tok,
                                       float **out, struct errmsg *em)
{
    size_t p = ae->info.patch;
    size_t size_bytes = h_tok * w_tok * p * p * ae->info.latent_channels * sizeof(float);
    *out = malloc(size_bytes);
    return *out ? ERR_OK : err_nomem(em, size_bytes);
}

enum err autoencoder_decode_latent(struct autoencoder *ae, const float *latent, size_t h, size_t w,
                                   float *rgb, const struct progress *progress, struct errmsg *em)
{
    size_t h_px = 0, w_px = 0;
    enum err rc = check_half(ae, ae->info.has_decoder, "decoder", em);
    if (rc)
        return rc;
    if (!mul_size(h, ae->info.scale, &h_px) || !mul_size(w, ae->info.scale, &w_px))
        return err_set(em, ERR_USAGE, "a latent of %zux%zu is too large", w, h);
    rc = check_sides(h_px, w_px, ae->info.scale, em);
    if (!rc)
        rc = ae_check_finite(ae, latent, h * w * ae->info.latent_channels, "the latent", em);
    if (!rc)
        rc = ae->kind->decode(ae, latent, h, w, rgb, progress, em);
    return rc;
}

enum err autoencoder_decode(struct autoencoder *ae, const float *tokens, size_t h_tok, size_t w_tok,
                            float *rgb, const struct progress *progress, struct errmsg *em)
{
    float *latent = NULL;
    size_t p = ae->info.patch, side_max = SIDE_MAX_PX / (p * ae->info.scale);
    enum err rc = check_half(ae, ae->info.has_decoder, "decoder", em);
    if (!rc && (h_tok > side_max || w_tok > side_max))
        rc = err_set(em, ERR_USAGE, "a picture of %zux%zu tokens is too large", w_tok, h_tok);
    if (!rc)
        rc = alloc_latent(ae, h_tok, w_tok, &latent, em);
    if (rc)
        return rc;
    autoencoder_unpack(ae, tokens, h_tok, w_tok, latent);
    rc = autoencoder_decode_latent(ae, latent, h_tok * p, w_tok * p, rgb, progress, em);
    free(latent);
    return rc;
}

enum err autoencoder_encode(struct autoencoder *ae, const float *rgb, size_t h_px, size_t w_px,
                            float *tokens, const struct progress *progress, struct errmsg *em)
{
    float *latent = NULL;
    size_t token_px = ae->info.scale * ae->info.patch;
    enum err rc = check_half(ae, ae->info.has_encoder, "encoder", em);
    if (!rc)
        rc = check_sides(h_px, w_px, token_px, em);
    if (!rc)
        rc = ae_check_finite(ae, rgb, h_px * w_px * 3, "the picture", em);
    if (!rc)
        rc = alloc_latent(ae, h_px / token_px, w_px / token_px, &latent, em);
    if (rc)
        return rc;
    rc = ae->kind->encode(ae, rgb, h_px, w_px, latent, progress, em);
    if (!rc)
        rc = ae_check_finite(
            ae, latent, h_px / ae->info.scale * (w_px / ae->info.scale) * ae->info.latent_channels,
            "the encoded picture", em);
    if (!rc)
        autoencoder_pack(ae, latent, h_px / token_px, w_px / token_px, tokens);
    free(latent);
    return rc;
}

double autoencoder_decode_flops(const struct autoencoder *ae, size_t h_tok, size_t w_tok)
{
    size_t p = ae->info.patch;
    return ae->info.has_decoder ? ae->kind->decode_flops(ae, h_tok * p, w_tok * p) : 0;
}

size_t autoencoder_decode_bytes(struct autoencoder *ae, size_t h_tok, size_t w_tok)
{
    size_t p = ae->info.patch;
    return ae->info.has_decoder ? ae->kind->decode_bytes(ae, h_tok * p, w_tok * p) : 0;
}

double autoencoder_encode_flops(const struct autoencoder *ae, size_t h_px, size_t w_px)
{
    return ae->info.has_encoder ? ae->kind->encode_flops(ae, h_px, w_px) : 0;
}

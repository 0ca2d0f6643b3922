/* SPDX-License-Identifier: MIT */
/* Layers of autoencoders: loading with every shape and value checked. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/autoencoder_impl.h"

#define NAME_MAX_BYTES 192

double ae_conv_flops(const struct ae_conv *c, double n_pixels)
{
    return 2.0 * (double)(c->k * c->k) * (double)c->c_in * (double)c->c_out * n_pixels;
}

/* True when no element of a 16-bit type has all exponent bits set. Without branches,
 * so that a whole model takes a few milliseconds. */
static bool finite_16(const void *data, size_t n, uint16_t exponent)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t u;
        memcpy(&u, (const char *)data + 2 * i, sizeof u);
        bad |= (u & exponent) == exponent;
    }
    return !bad;
}

static bool finite_32(const void *data, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, (const char *)data + 4 * i, sizeof u);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

/* A weight that is not a number would vanish behind a ReLU and leave a wrong picture
 * without a word, so it is looked for here. */
NODISCARD static enum err check_tensor(const struct autoencoder *ae, const struct tensor *t,
                                       struct errmsg *em)
{
    bool ok = t->dtype == DTYPE_F32   ? finite_32(t->data, t->n_elems)
              : t->dtype == DTYPE_F16 ? finite_16(t->data, t->n_elems, 0x7c00)
                                      : finite_16(t->data, t->n_elems, 0x7f80);
    if (ok)
        return ERR_OK;
    return err_set(em, ERR_FORMAT,
                   "%s: tensor %s holds values that are not finite numbers; the file is damaged",
                   weights_path(ae->weights), t->name);
}

/* BASE.SUFFIX as a vector of n elements, of which the first n_rows are kept. */
NODISCARD static enum err load_vector(struct autoencoder *ae, struct weight **out, const char *base,
                                      const char *suffix, size_t n, size_t n_rows,
                                      struct errmsg *em)
{
    char name[NAME_MAX_BYTES];
    struct tensor t;
    snprintf(name, sizeof name, "%s.%s", base, suffix);
    enum err rc = weights_get_shaped(ae->weights, name, &t, em, 1, n);
    if (!rc)
        rc = check_tensor(ae, &t, em);
    if (!rc)
        rc = backend_weight(ae->be, &t, 0, n_rows, out, em);
    return rc;
}

/* flat: the file has a matrix [c_out, c_in], not a 1x1 convolution. */
NODISCARD static enum err load(struct autoencoder *ae, struct ae_conv *out, const char *base,
                               size_t c_out, size_t c_in, size_t k, size_t n_rows, bool has_bias,
                               bool flat, struct errmsg *em)
{
    char name[NAME_MAX_BYTES];
    struct tensor t;
    enum err rc;
    snprintf(name, sizeof name, "%s.weight", base);
    if (flat)
        rc = weights_get_shaped(ae->weights, name, &t, em, 2, c_out, c_in);
    else
        rc = weights_get_shaped(ae->weights, name, &t, em, 4, c_out, c_in, k, k);
    if (!rc)
        rc = check_tensor(ae, &t, em);
    if (rc)
        return rc;
    *out = (struct ae_conv){.c_in = c_in, .c_out = n_rows, .k = k};
    t.n_elems = t.n_elems / t.shape[0] * n_rows;
    t.shape[0] = n_rows;
    if (k == 1) {
        t.n_dims = 2;
        rc = backend_weight(ae->be, &t, 0, 0, &out->w, em);
    } else {
        rc = backend_weight_conv2d(ae->be, &t, &out->w, em);
    }
    if (!rc && has_bias)
        rc = load_vector(ae, &out->bias, base, "bias", c_out, n_rows, em);
    return rc;
}

enum err ae_load_conv(struct autoencoder *ae, struct ae_conv *out, const char *name, size_t c_out,
                      size_t c_in, size_t k, bool has_bias, struct errmsg *em)
{
    return load(ae, out, name, c_out, c_in, k, c_out, has_bias, false, em);
}

enum err ae_load_conv_rows(struct autoencoder *ae, struct ae_conv *out, const char *name,
                           size_t c_out, size_t c_in, size_t k, size_t n_rows, struct errmsg *em)
{
    return load(ae, out, name, c_out, c_in, k, n_rows, true, false, em);
}

enum err ae_load_linear(struct autoencoder *ae, struct ae_conv *out, const char *name, size_t c_out,
                        size_t c_in, struct errmsg *em)
{
    return load(ae, out, name, c_out, c_in, 1, c_out, true, true, em);
}

enum err ae_load_norm(struct autoencoder *ae, struct ae_norm *out, const char *name,
                      size_t channels, struct errmsg *em)
{
    out->channels = channels;
    enum err rc = load_vector(ae, &out->w, name, "weight", channels, channels, em);
    if (!rc)
        rc = load_vector(ae, &out->b, name, "bias", channels, channels, em);
    return rc;
}

void ae_free_conv(struct autoencoder *ae, struct ae_conv *c)
{
    backend_weight_free(ae->be, c->w);
    backend_weight_free(ae->be, c->bias);
    *c = (struct ae_conv){0};
}

void ae_free_norm(struct autoencoder *ae, struct ae_norm *n)
{
    backend_weight_free(ae->be, n->w);
    backend_weight_free(ae->be, n->b);
    *n = (struct ae_norm){0};
}

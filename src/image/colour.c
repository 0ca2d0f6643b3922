/* SPDX-License-Identifier: MIT */
/* Decoded rows → 8-bit sRGB on white.
 * A profile is applied through lcms2 with perceptual intent (Pillow's ImageCms default).
 * Without one, RGB and grey are taken as sRGB and CMYK is turned by Pillow's formula.
 * Alpha is laid on white after the colour conversion, rounded as Pillow's
 * alpha_composite does. */
#include <lcms2.h>
#include <string.h>

#include "image/image_impl.h"

size_t colour_channels(enum colour_layout layout)
{
    switch (layout) {
    case COLOUR_GREY:
        return 1;
    case COLOUR_GREY_ALPHA:
        return 2;
    case COLOUR_RGB:
        return 3;
    case COLOUR_RGBA:
    case COLOUR_CMYK_INVERTED:
        break;
    }
    return 4;
}

/* lcms says what it dislikes about a profile; the profile is then passed over. */
static void log_nothing(cmsContext context, cmsUInt32Number code, const char *text)
{
    (void)context;
    (void)code;
    (void)text;
}

/* The lcms name of the pixels that the transform reads; 0: the profile does not fit. */
static cmsUInt32Number source_type(struct colour *c, cmsColorSpaceSignature space)
{
    bool grey = c->layout == COLOUR_GREY || c->layout == COLOUR_GREY_ALPHA;
    if (space == cmsSigGrayData && grey)
        return c->layout == COLOUR_GREY ? TYPE_GRAY_8 : TYPE_GRAYA_8;
    if (space == cmsSigRgbData && grey) {
        c->expand_first = true;
        return TYPE_RGB_8;
    }
    if (space == cmsSigRgbData && c->layout == COLOUR_RGB)
        return TYPE_RGB_8;
    if (space == cmsSigRgbData && c->layout == COLOUR_RGBA)
        return TYPE_RGBA_8;
    if (space == cmsSigCmykData && c->layout == COLOUR_CMYK_INVERTED)
        return TYPE_CMYK_8_REV;
    return 0;
}

static bool class_is_usable(cmsProfileClassSignature class)
{
    return class == cmsSigInputClass || class == cmsSigDisplayClass || class == cmsSigOutputClass ||
           class == cmsSigColorSpaceClass;
}

void colour_open(struct colour *c, enum colour_layout layout, const void *icc, size_t icc_len)
{
    *c = (struct colour){.layout = layout};
    if (!icc || icc_len == 0 || icc_len > IMAGE_ICC_BYTES_MAX)
        return;
    cmsContext context = cmsCreateContext(NULL, NULL);
    if (!context)
        return;
    cmsSetLogErrorHandlerTHR(context, log_nothing);
    cmsHPROFILE from = cmsOpenProfileFromMemTHR(context, icc, (cmsUInt32Number)icc_len);
    cmsHPROFILE srgb = cmsCreate_sRGBProfileTHR(context);
    if (from && srgb && class_is_usable(cmsGetDeviceClass(from))) {
        cmsUInt32Number type = source_type(c, cmsGetColorSpace(from));
        if (type)
            c->transform =
                cmsCreateTransformTHR(context, from, type, srgb, TYPE_RGB_8, INTENT_PERCEPTUAL, 0);
    }
    if (from)
        cmsCloseProfile(from);
    if (srgb)
        cmsCloseProfile(srgb);
    if (c->transform)
        c->context = context;
    else
        cmsDeleteContext(context);
}

void colour_close(struct colour *c)
{
    if (c->transform)
        cmsDeleteTransform(c->transform);
    if (c->context)
        cmsDeleteContext(c->context);
    *c = (struct colour){0};
}

/* Pillow's MULDIV255: a·b/255, rounded. */
static unsigned mul_div_255(unsigned a, unsigned b)
{
    unsigned t = a * b + 128;
    return ((t >> 8) + t) >> 8;
}

/* Pillow's cmyk2rgb; 255 - n undoes the inversion. */
static void cmyk_to_rgb(const uint8_t *in, uint8_t *rgb)
{
    unsigned white = in[3];
    for (int i = 0; i < 3; i++)
        rgb[i] = (uint8_t)(white - mul_div_255(255u - in[i], white));
}

static void expand(enum colour_layout layout, const uint8_t *in, uint8_t *rgb, size_t n_px)
{
    size_t step = colour_channels(layout);
    for (size_t i = 0; i < n_px; i++, in += step, rgb += 3) {
        switch (layout) {
        case COLOUR_GREY:
        case COLOUR_GREY_ALPHA:
            rgb[0] = rgb[1] = rgb[2] = in[0];
            break;
        case COLOUR_RGB:
        case COLOUR_RGBA:
            memcpy(rgb, in, 3);
            break;
        case COLOUR_CMYK_INVERTED:
            cmyk_to_rgb(in, rgb);
            break;
        }
    }
}

/* Pillow's alpha_composite over opaque white, which carries 7 bits of fraction. */
static uint8_t on_white(unsigned colour, unsigned alpha)
{
    unsigned t = (colour * alpha + 255 * (255 - alpha)) * 128 + (0x80 << 7);
    return (uint8_t)((((t >> 8) + t) >> 8) >> 7);
}

static void lay_on_white(const uint8_t *alpha, size_t step, uint8_t *rgb, size_t n_px)
{
    for (size_t i = 0; i < n_px; i++, alpha += step, rgb += 3) {
        if (*alpha == 255)
            continue;
        for (int k = 0; k < 3; k++)
            rgb[k] = on_white(rgb[k], *alpha);
    }
}

void colour_row(const struct colour *c, const uint8_t *in, uint8_t *rgb, size_t n_px)
{
    size_t step = colour_channels(c->layout);
    if (c->transform && !c->expand_first) {
        cmsDoTransform(c->transform, in, rgb, (cmsUInt32Number)n_px);
    } else {
        expand(c->layout, in, rgb, n_px);
        if (c->transform)
            cmsDoTransform(c->transform, rgb, rgb, (cmsUInt32Number)n_px);
    }
    if (c->layout == COLOUR_GREY_ALPHA || c->layout == COLOUR_RGBA)
        lay_on_white(in + step - 1, step, rgb, n_px);
}

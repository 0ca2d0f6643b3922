/* SPDX-License-Identifier: MIT */
#include "api/sizes.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"

#define SIZE_STEP 16.0
#define RATIO_DIGITS_MAX 4u

static unsigned side(double px)
{
    double rounded = round(px / SIZE_STEP) * SIZE_STEP;
    return (unsigned)fmin(LIMIT_SIDE_MAX_PX, fmax(LIMIT_OFFERED_SIDE_MIN_PX, rounded));
}

static void fit(double width, double height, unsigned *width_px, unsigned *height_px)
{
    double scale = fmin(1, LIMIT_SIDE_MAX_PX / fmax(width, height));
    scale = fmax(scale, LIMIT_OFFERED_SIDE_MIN_PX / fmin(width, height));
    *width_px = side(width * scale);
    *height_px = side(height * scale);
}

static bool is_drawable(size_t px)
{
    return px >= LIMIT_OFFERED_SIDE_MIN_PX && px <= LIMIT_SIDE_MAX_PX;
}

void size_of_reference(size_t ref_width_px, size_t ref_height_px, unsigned *width_px,
                       unsigned *height_px)
{
    *width_px = (unsigned)ref_width_px;
    *height_px = (unsigned)ref_height_px;
    if (!is_drawable(ref_width_px) || !is_drawable(ref_height_px))
        fit((double)ref_width_px, (double)ref_height_px, width_px, height_px);
}

/* The digits at *p, which moves behind them; 0: none, too many, or they begin with a zero. */
static unsigned take_number(const char **p)
{
    size_t n = strspn(*p, "0123456789");
    unsigned value = 0;
    for (size_t i = 0; i < n && n <= RATIO_DIGITS_MAX && **p != '0'; i++)
        value = value * 10 + (unsigned)((*p)[i] - '0');
    *p += n;
    return value;
}

bool size_of_ratio(const char *ratio, unsigned *width_px, unsigned *height_px)
{
    unsigned across = take_number(&ratio);
    if (across == 0 || *ratio++ != ':')
        return false;
    unsigned down = take_number(&ratio);
    if (down == 0 || *ratio)
        return false;
    double shape = (double)across / down;
    fit(SIZE_DEFAULT_PX * sqrt(shape), SIZE_DEFAULT_PX / sqrt(shape), width_px, height_px);
    return true;
}

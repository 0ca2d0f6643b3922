/* SPDX-License-Identifier: MIT */
/* DEC's sixel graphics: ESC P 0;1 q, the size, a palette in per cent, then bands of six
 * rows. In a band each colour that it uses is drawn over the whole width: one character
 * per column whose six bits, plus '?', say which pixels have it; "!n" before one repeats
 * it; '$' goes back to the left edge, '-' on to the next band (after the last one it would only
 * scroll the screen).
 * Source: VT330/VT340 Programmer Reference Manual, volume 2, chapter 14. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "image/image_impl.h"
#include "image/terminal_impl.h"

struct band {
    size_t width;
    uint8_t *bits;                     /* [256, width], all zero between bands */
    size_t first[PALETTE_COLOURS_MAX]; /* columns that a colour is found in */
    size_t end[PALETTE_COLOURS_MAX];   /* 0: not in this band */
};

static enum err palette_append(const struct palette *p, struct buf *out, struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (size_t i = 0; i < p->n && !rc; i++)
        rc = buf_printf(out, em, "#%zu;2;%u;%u;%u", i, (p->rgb[i][0] * 100u + 127) / 255,
                        (p->rgb[i][1] * 100u + 127) / 255, (p->rgb[i][2] * 100u + 127) / 255);
    return rc;
}

static void band_fill(struct band *b, const struct image *img, const struct palette *p, size_t y0)
{
    size_t rows = min_size(SIXEL_BAND_ROWS, img->height_px - y0);
    memset(b->end, 0, sizeof b->end);
    for (size_t y = 0; y < rows; y++) {
        const uint8_t *px = img->rgb + (y0 + y) * b->width * 3;
        for (size_t x = 0; x < b->width; x++, px += 3) {
            unsigned c = p->index_of[colour_bin(px)];
            if (b->end[c] == 0) {
                b->first[c] = x;
                b->end[c] = x + 1;
            }
            b->first[c] = min_size(b->first[c], x);
            b->end[c] = max_size(b->end[c], x + 1);
            b->bits[c * b->width + x] |= (uint8_t)(1u << y);
        }
    }
}

static enum err run_append(struct buf *out, uint8_t bits, size_t n, struct errmsg *em)
{
    char c = (char)('?' + bits);
    if (n > 3)
        return buf_printf(out, em, "!%zu%c", n, c);
    const char s[3] = {c, c, c};
    return buf_append(out, s, n, em);
}

static enum err colour_append(struct band *b, size_t c, struct buf *out, struct errmsg *em)
{
    uint8_t *bits = b->bits + c * b->width;
    enum err rc = buf_printf(out, em, "#%zu", c);
    if (!rc && b->first[c] > 0)
        rc = run_append(out, 0, b->first[c], em);
    for (size_t x = b->first[c], n; x < b->end[c] && !rc; x += n) {
        n = 1;
        while (x + n < b->end[c] && bits[x + n] == bits[x])
            n++;
        rc = run_append(out, bits[x], n, em);
    }
    memset(bits + b->first[c], 0, b->end[c] - b->first[c]);
    return rc;
}

static enum err band_append(struct band *b, size_t n_colours, struct buf *out, struct errmsg *em)
{
    enum err rc = ERR_OK;
    bool begun = false;
    for (size_t c = 0; c < n_colours && !rc; c++) {
        if (b->end[c] == 0)
            continue;
        if (begun)
            rc = buf_append(out, "$", 1, em);
        if (!rc)
            rc = colour_append(b, c, out, em);
        begun = true;
    }
    return rc;
}

enum err sixel_append(const struct image *img, struct buf *out, struct errmsg *em)
{
    struct band b = {.width = img->width_px};
    struct palette *palette = malloc(sizeof *palette);
    size_t n_bits;
    enum err rc = ERR_NOMEM;
    if (mul_size(img->width_px, PALETTE_COLOURS_MAX, &n_bits))
        b.bits = calloc(n_bits, 1);
    if (!palette || !b.bits) {
        rc = err_set(em, ERR_NOMEM, "out of memory for a picture on the terminal");
        goto out;
    }
    rc = palette_make(img, palette, em);
    if (!rc)
        rc = buf_printf(out, em, "\033P0;1q\"1;1;%zu;%zu", img->width_px, img->height_px);
    if (!rc)
        rc = palette_append(palette, out, em);
    for (size_t y = 0; y < img->height_px && !rc; y += SIXEL_BAND_ROWS) {
        band_fill(&b, img, palette, y);
        if (y)
            rc = buf_append(out, "-", 1, em);
        if (!rc)
            rc = band_append(&b, palette->n, out, em);
    }
    if (!rc)
        rc = buf_append(out, "\033\\", 2, em);
out:
    free(b.bits);
    free(palette);
    return rc;
}

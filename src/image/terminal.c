/* SPDX-License-Identifier: MIT */
/* Which graphics a terminal has; the protocols of kitty and iTerm2, which both carry a PNG
 * in base64. Sources: kitty's graphics-protocol page, iTerm2's images page. */
#include "image/terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/size.h"
#include "image/image_impl.h"
#include "image/terminal_impl.h"

#define KITTY_CHUNK_BYTES 4096u
#define KONSOLE_WITH_IMAGES 220400 /* 22.04 */
/* Of a cell that nobody told the size of: the smallest usual one, so that pictures come out
 * rather too small than too large. */
#define CELL_WIDTH_PX 8
#define CELL_HEIGHT_PX 16
#define ATTRIBUTES_QUESTION "\033[c"
#define KITTY_QUESTION "\033_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\033\\"

/* ---- which ------------------------------------------------------------------- */

static bool is(const char *value, const char *name)
{
    return value && strcmp(value, name) == 0;
}

static bool starts(const char *value, const char *prefix)
{
    return value && strncmp(value, prefix, strlen(prefix)) == 0;
}

static bool is_set(const char *value)
{
    return value && *value;
}

/* Whether the primary device attributes "ESC [ ? 62 ; 4 ; … c" list 4, sixel graphics. */
static bool attributes_have_sixel(const char *answer)
{
    const char *p = strstr(answer, "\033[?");
    if (!p)
        return false;
    p += 3;
    size_t len = strspn(p, "0123456789;");
    if (p[len] != 'c')
        return false;
    for (const char *end = p + len; p < end; p++) {
        size_t n = strcspn(p, ";c");
        if (n == 1 && *p == '4')
            return true;
        p += n;
    }
    return false;
}

static bool is_dumb(const struct terminal_hints *h)
{
    return !is_set(h->term) || is(h->term, "dumb");
}

/* tmux or screen: what they can show is not what the terminal around them can. */
static bool is_inside_another(const struct terminal_hints *h)
{
    return is_set(h->tmux) || is_set(h->sty) || starts(h->term, "screen") ||
           starts(h->term, "tmux");
}

static enum terminal_graphics guess_from_answer(const char *answer)
{
    if (strstr(answer, "\033_Gi=31;OK"))
        return TERMINAL_GRAPHICS_KITTY;
    return attributes_have_sixel(answer) ? TERMINAL_GRAPHICS_SIXEL : TERMINAL_GRAPHICS_NONE;
}

/* Nobody can be asked for iTerm2's protocol. */
static bool has_iterm2(const struct terminal_hints *h)
{
    return is(h->term_program, "iTerm.app") || is(h->lc_terminal, "iTerm2") ||
           is(h->term_program, "WezTerm") || is(h->term_program, "mintty") ||
           is(h->term_program, "rio");
}

static enum terminal_graphics guess_from_variables(const struct terminal_hints *h)
{
    if (is_set(h->kitty_window_id) || is(h->term, "xterm-kitty") || is(h->term, "xterm-ghostty") ||
        is(h->term_program, "ghostty") || is(h->term_program, "WarpTerminal"))
        return TERMINAL_GRAPHICS_KITTY;
    if (is_set(h->konsole_version) && strtol(h->konsole_version, NULL, 10) >= KONSOLE_WITH_IMAGES)
        return TERMINAL_GRAPHICS_KITTY;
    if (starts(h->term, "foot") || starts(h->term, "mlterm") || starts(h->term, "contour") ||
        starts(h->term, "yaft"))
        return TERMINAL_GRAPHICS_SIXEL;
    return TERMINAL_GRAPHICS_NONE;
}

enum terminal_graphics terminal_graphics_guess(const struct terminal_hints *h)
{
    enum terminal_graphics told = TERMINAL_GRAPHICS_NONE;
    if (is_dumb(h))
        return TERMINAL_GRAPHICS_NONE;
    if (h->answer)
        told = guess_from_answer(h->answer);
    if (told == TERMINAL_GRAPHICS_KITTY || is_inside_another(h))
        return told;
    if (has_iterm2(h))
        return TERMINAL_GRAPHICS_ITERM2;
    return h->answer ? told : guess_from_variables(h);
}

/* tmux and screen would take kitty's question for a title. */
const char *terminal_graphics_question(const struct terminal_hints *h)
{
    if (is_dumb(h))
        return NULL;
    return is_inside_another(h) ? ATTRIBUTES_QUESTION : KITTY_QUESTION ATTRIBUTES_QUESTION;
}

/* ---- how --------------------------------------------------------------------- */

/* Where a picture goes: its size in pixels, and in cells: both sides, since an older kitty
 * takes the picture's own pixels for the one that is not given. */
struct fit {
    size_t w_px, h_px;
    unsigned columns, rows; /* 0: as many as the pixels need */
    unsigned rows_used;
};

/* The nearest number of cells: less than half of one is cut off or added. */
static unsigned cells_of(double px, double cell_px, unsigned most)
{
    unsigned n = (unsigned)fmax(1, round(px / cell_px));
    return most && n > most ? most : n;
}

static struct fit fit_into(const struct image *img, const struct terminal_placement *at,
                           bool is_sixel)
{
    double cell_w = at->cell_width_px ? at->cell_width_px : CELL_WIDTH_PX;
    double cell_h = at->cell_height_px ? at->cell_height_px : CELL_HEIGHT_PX;
    double w = (double)img->width_px, h = (double)img->height_px;
    double most_h = at->rows * cell_h;
    if (is_sixel && most_h >= SIXEL_BAND_ROWS) /* whole bands, or the last one would scroll */
        most_h = SIXEL_BAND_ROWS * floor(most_h / SIXEL_BAND_ROWS);
    double by_columns = at->columns ? at->columns * cell_w / w : INFINITY;
    double by_rows = at->rows ? most_h / h : INFINITY;
    double scale = fmin(by_columns, by_rows);
    bool is_free = isinf(scale) || (is_sixel && scale > 1);
    if (is_free)
        scale = 1;
    struct fit f = {.w_px = max_size(1, (size_t)(w * scale + 1e-6)),
                    .h_px = max_size(1, (size_t)(h * scale + 1e-6))};
    f.rows_used =
        (unsigned)div_up(div_up(f.h_px, SIXEL_BAND_ROWS) * SIXEL_BAND_ROWS, (size_t)cell_h);
    if (!is_sixel && !is_free) {
        f.columns = cells_of(w * scale, cell_w, at->columns);
        f.rows = f.rows_used = cells_of(h * scale, cell_h, at->rows);
    }
    return f;
}

/* ESC _ G keys ; payload ESC \, the payload cut into chunks; only the first has keys but
 * m. q=2: no answers. C=1: the cursor stays. A picture sent again under its id replaces the
 * old one. */
static enum err kitty_append(const struct buf *base64, unsigned id, const struct fit *f,
                             struct buf *out, struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (size_t i = 0; i < base64->len && !rc; i += KITTY_CHUNK_BYTES) {
        size_t n = min_size(KITTY_CHUNK_BYTES, base64->len - i);
        rc = buf_append(out, "\033_G", 3, em);
        if (!rc && i == 0)
            rc = buf_printf(out, em, "a=T,f=100,t=d,q=2,C=1,i=%u,p=1,", id);
        if (!rc && i == 0 && f->columns)
            rc = buf_printf(out, em, "c=%u,", f->columns);
        if (!rc && i == 0 && f->rows)
            rc = buf_printf(out, em, "r=%u,", f->rows);
        if (!rc)
            rc = buf_printf(out, em, "m=%d;", i + n < base64->len);
        if (!rc)
            rc = buf_append(out, base64->ptr + i, n, em);
        if (!rc)
            rc = buf_append(out, "\033\\", 2, em);
    }
    return rc;
}

static enum err iterm2_append(const struct buf *base64, size_t png_len, const struct fit *f,
                              struct buf *out, struct errmsg *em)
{
    enum err rc = buf_printf(out, em, "\033]1337;File=inline=1;size=%zu", png_len);
    if (!rc && f->columns)
        rc = buf_printf(out, em, ";width=%u", f->columns);
    if (!rc && f->rows)
        rc = buf_printf(out, em, ";height=%u", f->rows);
    if (!rc)
        rc = buf_append(out, ":", 1, em);
    if (!rc)
        rc = buf_append(out, base64->ptr, base64->len, em);
    return rc ? rc : buf_append(out, "\a", 1, em);
}

static enum err append_sixel(const struct image *img, const struct fit *f, struct buf *out,
                             struct errmsg *em)
{
    struct image smaller = {0};
    enum err rc = ERR_OK;
    if (f->w_px != img->width_px || f->h_px != img->height_px) {
        rc = image_resize_lanczos(img, f->w_px, f->h_px, &smaller, em);
        img = &smaller;
    }
    if (!rc)
        rc = sixel_append(img, out, em);
    image_deinit(&smaller);
    return rc;
}

static enum err append_png(const struct image *img, enum terminal_graphics graphics, unsigned id,
                           const struct fit *f, struct buf *out, struct errmsg *em)
{
    struct buf png = {0}, base64 = {0};
    enum err rc = image_encode(img, IMAGE_PNG, 0, NULL, &png, em);
    if (!rc)
        rc = base64_encode(png.ptr, png.len, &base64, em);
    if (!rc && graphics == TERMINAL_GRAPHICS_KITTY)
        rc = kitty_append(&base64, id, f, out, em);
    else if (!rc)
        rc = iterm2_append(&base64, png.len, f, out, em);
    buf_deinit(&png);
    buf_deinit(&base64);
    return rc;
}

enum err terminal_image_append(const struct image *img, enum terminal_graphics graphics,
                               const struct terminal_placement *at, unsigned *rows_used,
                               struct buf *out, struct errmsg *em)
{
    if (graphics == TERMINAL_GRAPHICS_NONE)
        return err_set(em, ERR_USAGE, "this terminal cannot show pictures");
    struct fit f = fit_into(img, at, graphics == TERMINAL_GRAPHICS_SIXEL);
    *rows_used = f.rows_used;
    if (graphics == TERMINAL_GRAPHICS_SIXEL)
        return append_sixel(img, &f, out, em);
    return append_png(img, graphics, at->id, &f, out, em);
}

/* SPDX-License-Identifier: MIT */
/* Which graphics a terminal has; the protocols of kitty and iTerm2, which both carry a PNG
 * in base64. Sources: kitty's graphics-protocol page, iTerm2's images page. */
#include "image/terminal.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "image/image_impl.h"
#include "image/terminal_impl.h"

#define KITTY_CHUNK_BYTES 4096u
#define KONSOLE_WITH_IMAGES 220400 /* 22.04 */

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

static enum terminal_graphics guess_from_answer(const char *answer)
{
    if (!answer)
        return TERMINAL_GRAPHICS_NONE;
    if (strstr(answer, "\033_Gi=31;OK"))
        return TERMINAL_GRAPHICS_KITTY;
    return attributes_have_sixel(answer) ? TERMINAL_GRAPHICS_SIXEL : TERMINAL_GRAPHICS_NONE;
}

static enum terminal_graphics guess_from_variables(const struct terminal_hints *h)
{
    if (is_set(h->kitty_window_id) || is(h->term, "xterm-kitty") || is(h->term, "xterm-ghostty") ||
        is(h->term_program, "ghostty") || is(h->term_program, "WarpTerminal"))
        return TERMINAL_GRAPHICS_KITTY;
    if (is_set(h->konsole_version) && strtol(h->konsole_version, NULL, 10) >= KONSOLE_WITH_IMAGES)
        return TERMINAL_GRAPHICS_KITTY;
    if (is(h->term_program, "iTerm.app") || is(h->lc_terminal, "iTerm2") ||
        is(h->term_program, "WezTerm") || is(h->term_program, "mintty") ||
        is(h->term_program, "rio"))
        return TERMINAL_GRAPHICS_ITERM2;
    if (starts(h->term, "foot") || starts(h->term, "mlterm") || starts(h->term, "contour") ||
        starts(h->term, "yaft"))
        return TERMINAL_GRAPHICS_SIXEL;
    return TERMINAL_GRAPHICS_NONE;
}

enum terminal_graphics terminal_graphics_guess(const struct terminal_hints *h)
{
    if (!is_set(h->term) || is(h->term, "dumb"))
        return TERMINAL_GRAPHICS_NONE;
    if (is_set(h->tmux) || starts(h->term, "screen") || starts(h->term, "tmux"))
        return guess_from_answer(h->answer);
    enum terminal_graphics g = guess_from_variables(h);
    return g != TERMINAL_GRAPHICS_NONE ? g : guess_from_answer(h->answer);
}

const char *terminal_graphics_question(void)
{
    return "\033_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\033\\\033[c";
}

/* ---- how --------------------------------------------------------------------- */

enum err base64_append(struct buf *out, const uint8_t *bytes, size_t len, struct errmsg *em)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    enum err rc = buf_reserve(out, div_up(len, 3) * 4, em);
    if (rc)
        return rc;
    for (size_t i = 0; i < len; i += 3) {
        size_t n = min_size(3, len - i);
        uint32_t v = (uint32_t)bytes[i] << 16;
        if (n > 1)
            v |= (uint32_t)bytes[i + 1] << 8;
        if (n > 2)
            v |= bytes[i + 2];
        uint8_t *to = out->ptr + out->len;
        for (size_t k = 0; k < 4; k++)
            to[k] = (uint8_t)(k <= n ? digits[v >> (18 - 6 * k) & 63] : '=');
        out->len += 4;
    }
    return buf_append(out, NULL, 0, em);
}

/* ESC _ G keys ; payload ESC \, the payload cut into chunks; only the first has keys but
 * m. q=2: no answers. A picture sent again under its id replaces the old one. */
static enum err kitty_append(const struct buf *base64, const struct terminal_placement *at,
                             struct buf *out, struct errmsg *em)
{
    enum err rc = ERR_OK;
    for (size_t i = 0; i < base64->len && !rc; i += KITTY_CHUNK_BYTES) {
        size_t n = min_size(KITTY_CHUNK_BYTES, base64->len - i);
        rc = buf_append(out, "\033_G", 3, em);
        if (!rc && i == 0)
            rc = buf_printf(out, em, "a=T,f=100,t=d,q=2,i=%u,p=1,", at->id);
        if (!rc && i == 0 && at->columns)
            rc = buf_printf(out, em, "c=%u,", at->columns);
        if (!rc && i == 0 && at->rows)
            rc = buf_printf(out, em, "r=%u,", at->rows);
        if (!rc)
            rc = buf_printf(out, em, "m=%d;", i + n < base64->len);
        if (!rc)
            rc = buf_append(out, base64->ptr + i, n, em);
        if (!rc)
            rc = buf_append(out, "\033\\", 2, em);
    }
    return rc ? rc : buf_append(out, "\r\n", 2, em);
}

static enum err iterm2_append(const struct buf *base64, size_t png_len,
                              const struct terminal_placement *at, struct buf *out,
                              struct errmsg *em)
{
    enum err rc = buf_printf(out, em, "\033]1337;File=inline=1;size=%zu", png_len);
    if (!rc && at->columns)
        rc = buf_printf(out, em, ";width=%u", at->columns);
    if (!rc && at->rows)
        rc = buf_printf(out, em, ";height=%u", at->rows);
    if (!rc)
        rc = buf_append(out, ":", 1, em);
    if (!rc)
        rc = buf_append(out, base64->ptr, base64->len, em);
    return rc ? rc : buf_append(out, "\a\r\n", 3, em);
}

enum err terminal_image_append(const struct image *img, enum terminal_graphics graphics,
                               const struct terminal_placement *at, struct buf *out,
                               struct errmsg *em)
{
    if (graphics == TERMINAL_GRAPHICS_NONE)
        return err_set(em, ERR_USAGE, "this terminal cannot show pictures");
    if (graphics == TERMINAL_GRAPHICS_SIXEL)
        return sixel_append(img, out, em);
    struct buf png = {0}, base64 = {0};
    enum err rc = image_encode(img, IMAGE_PNG, 0, NULL, &png, em);
    if (!rc)
        rc = base64_append(&base64, png.ptr, png.len, em);
    if (!rc && graphics == TERMINAL_GRAPHICS_KITTY)
        rc = kitty_append(&base64, at, out, em);
    else if (!rc)
        rc = iterm2_append(&base64, png.len, at, out, em);
    buf_deinit(&png);
    buf_deinit(&base64);
    return rc;
}

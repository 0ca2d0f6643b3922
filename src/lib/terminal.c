/* SPDX-License-Identifier: MIT */
/* The public interface: pictures on a terminal. */
#include "image/terminal.h"

#include <stdint.h>
#include <stdlib.h>

#include "easel.h"
#include "lib/lib_impl.h"

_Static_assert((int)EASEL_TERMINAL_SIXEL == (int)TERMINAL_GRAPHICS_SIXEL &&
                   (int)EASEL_TERMINAL_KITTY == (int)TERMINAL_GRAPHICS_KITTY,
               "the public and the internal protocols are the same");

static struct terminal_hints hints_of(const char *answer)
{
    return (struct terminal_hints){
        .term = getenv("TERM"),
        .term_program = getenv("TERM_PROGRAM"),
        .lc_terminal = getenv("LC_TERMINAL"),
        .kitty_window_id = getenv("KITTY_WINDOW_ID"),
        .konsole_version = getenv("KONSOLE_VERSION"),
        .tmux = getenv("TMUX"),
        .sty = getenv("STY"),
        .answer = answer,
    };
}

enum easel_terminal easel_terminal_guess(const char *answer)
{
    struct terminal_hints hints = hints_of(answer);
    return (enum easel_terminal)terminal_graphics_guess(&hints);
}

const char *easel_terminal_question(void)
{
    struct terminal_hints hints = hints_of(NULL);
    return terminal_graphics_question(&hints);
}

enum easel_status easel_terminal_picture(enum easel_terminal terminal, const uint8_t *rgb,
                                         unsigned width, unsigned height,
                                         const struct easel_terminal_space *space,
                                         unsigned *rows_used, void **bytes, size_t *len,
                                         struct easel_error *error)
{
    struct errmsg em = {""};
    struct buf out = {0};
    struct image img = {.width_px = width, .height_px = height, .rgb = (uint8_t *)(uintptr_t)rgb};
    struct terminal_placement at = {.id = space->id,
                                    .columns = space->columns,
                                    .rows = space->rows,
                                    .cell_width_px = space->cell_width,
                                    .cell_height_px = space->cell_height};
    enum err rc =
        terminal_image_append(&img, (enum terminal_graphics)terminal, &at, rows_used, &out, &em);
    if (!rc)
        lib_give_buf(&out, bytes, len);
    buf_deinit(&out);
    return lib_status(rc, &em, error);
}

/* SPDX-License-Identifier: MIT */
/* The public interface: pictures on a terminal. */
#include "image/terminal.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/size.h"
#include "easel.h"
#include "lib/lib_impl.h"

_Static_assert((int)EASEL_TERMINAL_SIXEL == (int)TERMINAL_GRAPHICS_SIXEL &&
                   (int)EASEL_TERMINAL_KITTY == (int)TERMINAL_GRAPHICS_KITTY,
               "the public and the internal protocols are the same");

/* A sixel picture takes as many lines as its pixels need: about this high a line. */
#define PIXELS_PER_ROW 16u
/* Names our picture among others on a kitty terminal. */
#define PICTURE_ID 0xea5e1u

enum easel_terminal easel_terminal_guess(const char *answer)
{
    struct terminal_hints hints = {
        .term = getenv("TERM"),
        .term_program = getenv("TERM_PROGRAM"),
        .lc_terminal = getenv("LC_TERMINAL"),
        .kitty_window_id = getenv("KITTY_WINDOW_ID"),
        .konsole_version = getenv("KONSOLE_VERSION"),
        .tmux = getenv("TMUX"),
        .answer = answer,
    };
    return (enum easel_terminal)terminal_graphics_guess(&hints);
}

const char *easel_terminal_question(void)
{
    return terminal_graphics_question();
}

enum easel_status easel_terminal_picture(enum easel_terminal terminal, const uint8_t *rgb,
                                         unsigned width, unsigned height, unsigned rows,
                                         void **bytes, size_t *len, struct easel_error *error)
{
    struct errmsg em = {""};
    struct buf out = {0};
    struct image img = {.width_px = width, .height_px = height, .rgb = (uint8_t *)(uintptr_t)rgb};
    struct image smaller = {0};
    struct terminal_placement at = {.id = PICTURE_ID, .rows = rows};
    size_t fit_px = (size_t)rows * PIXELS_PER_ROW;
    enum err rc = ERR_OK;
    if (terminal == EASEL_TERMINAL_SIXEL && height > fit_px && fit_px) {
        rc = image_resize_lanczos(&img, max_size(1, width * fit_px / height), fit_px, &smaller,
                                  &em);
        img = smaller;
    }
    if (!rc)
        rc = terminal_image_append(&img, (enum terminal_graphics)terminal, &at, &out, &em);
    if (!rc)
        lib_give_buf(&out, bytes, len);
    image_deinit(&smaller);
    buf_deinit(&out);
    return lib_status(rc, &em, error);
}

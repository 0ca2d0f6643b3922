/* SPDX-License-Identifier: MIT */
/* Pictures on a terminal: which protocol it understands, and the bytes to send. Nothing
 * here reads the environment or touches a terminal. */
#ifndef EASEL_IMAGE_TERMINAL_H
#define EASEL_IMAGE_TERMINAL_H

#include "base/buf.h"
#include "base/err.h"
#include "image/image.h"

enum terminal_graphics {
    TERMINAL_GRAPHICS_NONE,
    TERMINAL_GRAPHICS_KITTY,  /* kitty, Ghostty, Konsole, Warp */
    TERMINAL_GRAPHICS_ITERM2, /* iTerm2, WezTerm, mintty, Rio */
    TERMINAL_GRAPHICS_SIXEL,  /* foot, mlterm, contour, xterm -ti vt340, Windows Terminal */
};

/* What is known of the terminal: the environment's variables of these names, each NULL
 * when it is not set, and the answer to terminal_graphics_question. */
struct terminal_hints {
    const char *term, *term_program, *lc_terminal;
    const char *kitty_window_id, *konsole_version, *tmux;
    const char *answer; /* NULL: not asked, or silent */
};

/* The best protocol there is evidence for. Inside tmux or screen only an answer counts,
 * since the variables tell of the terminal around it. */
enum terminal_graphics terminal_graphics_guess(const struct terminal_hints *hints);

/* Bytes that make a terminal say what it can do. Every terminal answers the second part
 * ("ESC [ ? … c"): read until that 'c', or give up after some 100 ms. */
const char *terminal_graphics_question(void);

struct terminal_placement {
    unsigned id;            /* kitty: a picture with the same id is replaced; not 0 */
    unsigned columns, rows; /* cells to fill; 0: as many as the pixels need. Sixel has no
                             * such thing: there the caller scales the picture */
};

/* The picture as escape sequences for the cursor's place, appended to out; the cursor
 * ends up below it. ERR_USAGE for TERMINAL_GRAPHICS_NONE. */
NODISCARD enum err terminal_image_append(const struct image *img, enum terminal_graphics graphics,
                                         const struct terminal_placement *at, struct buf *out,
                                         struct errmsg *em);

#endif

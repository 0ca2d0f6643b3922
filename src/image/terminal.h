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
    const char *kitty_window_id, *konsole_version, *tmux, *sty;
    const char *answer; /* NULL: not asked, or silent */
};

/* The best protocol there is evidence for. An answer outweighs variables, which programs
 * started from another terminal inherit; inside tmux or screen only an answer counts. */
enum terminal_graphics terminal_graphics_guess(const struct terminal_hints *hints);

/* Bytes that make this terminal say what it can do. Every terminal answers their last part
 * ("ESC [ ? … c"): read until that 'c', or give up after a second. NULL: a terminal that
 * should not be asked (TERM is not set, or "dumb"). */
const char *terminal_graphics_question(const struct terminal_hints *hints);

/* The free space that a picture is scaled to fit into, its aspect kept. Kitty's and iTerm2's
 * grow to fill it; a sixel picture shrinks only. */
struct terminal_placement {
    unsigned id;            /* kitty: a picture with the same id is replaced; not 0 */
    unsigned columns, rows; /* cells; 0: no limit */
    unsigned cell_width_px, cell_height_px; /* 0: not known; a small cell is assumed */
};

/* The picture as escape sequences for the cursor's place, appended to out. *rows_used: lines
 * that it covers, at most at->rows. It does not scroll where so many lines are below the
 * cursor, and one more; the cursor's place afterwards depends on the terminal: save it
 * before. ERR_USAGE for TERMINAL_GRAPHICS_NONE. */
NODISCARD enum err terminal_image_append(const struct image *img, enum terminal_graphics graphics,
                                         const struct terminal_placement *at, unsigned *rows_used,
                                         struct buf *out, struct errmsg *em);

#endif

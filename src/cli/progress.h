/* SPDX-License-Identifier: MIT */
/* How a drawing shows that it gets on: a bar on a terminal, plain lines elsewhere,
 * and the picture as it forms where the terminal can show one. */
#ifndef EASEL_CLI_PROGRESS_H
#define EASEL_CLI_PROGRESS_H

#include <stdbool.h>

#include "easel.h"

struct progress_view {
    bool quiet;
    bool is_terminal;             /* one that a bar can be drawn on */
    enum easel_terminal graphics; /* for previews; EASEL_TERMINAL_NONE: none */
    double started_s, drawn_s;
    int last_stage;
    unsigned last_step;
    bool line_is_open;
    struct easel_terminal_space preview; /* where the last one was shown; rows 0: none yet */
    unsigned preview_id;                 /* of this picture among all that the terminal shows */
};

void progress_view_init(struct progress_view *v, bool quiet, bool preview);
/* A new picture begins. */
void progress_view_start(struct progress_view *v);
void progress_view_update(struct progress_view *v, const struct easel_progress *p);
/* The same as a drawing's on_progress, with the view as its user: stops it after Ctrl-C. */
int progress_view_callback(void *view, const struct easel_progress *p);
/* Clear the bar, so that other lines can follow. */
void progress_view_end(struct progress_view *v);

#endif

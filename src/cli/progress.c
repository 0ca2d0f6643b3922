/* SPDX-License-Identifier: MIT */
#include "cli/progress.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define BAR_CELLS 28
#define STAGE_COLUMNS 23
#define PERCENT_COLUMNS 6 /* " 100 %" */
#define LEFT_COLUMNS 18   /* "  59 min 59 s left" */
/* Lines that a preview takes at most; they are made free first, so that it never scrolls. */
#define PREVIEW_ROWS 18u
#define PREVIEW_ROWS_MIN 3u
#define ANSWER_WAIT_MS 1000
#define REDRAW_INTERVAL_S 0.08
/* Below this the arithmetic done says little of the time left. */
#define ESTIMATE_FROM_FRACTION 0.02

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static const char *stage_text(const struct easel_progress *p, char *buf, size_t size)
{
    static const char *const texts[EASEL_N_STAGES] = {"enhancing the prompt", "reading the prompt",
                                                      "looking at references", "", "finishing"};
    if (p->stage == EASEL_STAGE_DENOISE)
        snprintf(buf, size, "step %u of %u", p->step ? p->step : 1, p->n_steps);
    else
        snprintf(buf, size, "%s", texts[p->stage]);
    return buf;
}

static void draw_cells(int n, double fraction)
{
    /* eighths of a cell */
    static const char *const parts[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int eighths = (int)(fraction * n * 8);
    fputs("│", stderr);
    for (int i = 0; i < n; i++, eighths -= 8)
        fputs(eighths >= 8 ? "█" : parts[eighths > 0 ? eighths : 0], stderr);
    fputs("│", stderr);
}

/* In one line however narrow the window: a line that wraps could not be drawn over. */
static void draw_bar(struct progress_view *v, const struct easel_progress *p, double now)
{
    char stage[64], left[64] = "", duration[32];
    /* the last one, and a ^C, would wrap */
    int columns = cli_screen_size(STDERR_FILENO).ws_col - 3;
    int cells = columns - STAGE_COLUMNS - PERCENT_COLUMNS - LEFT_COLUMNS - 2;
    double elapsed = now - v->started_s;
    if (p->fraction > ESTIMATE_FROM_FRACTION && cells >= 0)
        snprintf(left, sizeof left, "  %s left",
                 cli_duration(elapsed * (1 - p->fraction) / p->fraction, duration,
                              sizeof duration));
    int text = columns - PERCENT_COLUMNS;
    text = text > STAGE_COLUMNS ? STAGE_COLUMNS : text > 0 ? text : 0;
    fprintf(stderr, "\r\033[K%-*.*s", text, text, stage_text(p, stage, sizeof stage));
    if (cells > 0)
        draw_cells(cells < BAR_CELLS ? cells : BAR_CELLS, p->fraction);
    fprintf(stderr, " %3.0f %%%s", 100 * p->fraction, left);
    fflush(stderr);
    v->line_is_open = true;
}

static void print_line(struct progress_view *v, const struct easel_progress *p, double now)
{
    char stage[64];
    fprintf(stderr, "%s (%.0f %%, %.1f s)\n", stage_text(p, stage, sizeof stage),
            100 * p->fraction, now - v->started_s);
}

/* The space for a preview on this screen, which may have changed its size. rows 0: too small
 * for one. Below the picture there are the bar and, for the cursor, one line more. */
static struct easel_terminal_space preview_space(void)
{
    struct winsize w = cli_screen_size(STDERR_FILENO);
    unsigned rows = w.ws_row < PREVIEW_ROWS_MIN + 2u ? 0 : w.ws_row - 2u;
    return (struct easel_terminal_space){
        .columns = w.ws_col,
        .rows = rows < PREVIEW_ROWS ? rows : PREVIEW_ROWS,
        .cell_width = w.ws_xpixel / w.ws_col,
        .cell_height = w.ws_ypixel / w.ws_row,
    };
}

static bool is_same_screen(const struct easel_terminal_space *a,
                           const struct easel_terminal_space *b)
{
    return a->columns == b->columns && a->rows == b->rows && a->cell_width == b->cell_width &&
           a->cell_height == b->cell_height;
}

/* Above the line that the cursor is on, in place of the one before. Up and down are counted
 * in lines from there, since no saved place outlives scrolling. */
static void show_preview(struct progress_view *v, const struct easel_progress *p)
{
    void *bytes = NULL;
    size_t len = 0;
    unsigned rows = 0;
    struct easel_terminal_space space = preview_space();
    space.id = v->preview_id;
    if (!space.rows || easel_terminal_picture(v->graphics, p->preview_rgb, p->preview_width,
                                              p->preview_height, &space, &rows, &bytes, &len, NULL))
        return;
    progress_view_end(v);
    if (!is_same_screen(&v->preview, &space))
        for (unsigned i = 0; i < rows; i++)
            fputc('\n', stderr);
    v->preview = space;
    fprintf(stderr, "\r\033[%uA\0337", rows);
    fwrite(bytes, 1, len, stderr);
    fprintf(stderr, "\0338\033[%uB", rows);
    easel_free(bytes);
}

/* Read what the terminal answers, up to its last letter: false if that did not come. */
static bool read_answer(int fd, char *answer, size_t size)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    size_t n = 0;
    while (n + 1 < size && poll(&wait, 1, ANSWER_WAIT_MS) > 0) {
        ssize_t got = read(fd, answer + n, size - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        answer[n] = '\0';
        if (answer[n - 1] == 'c' && strstr(answer, "\033[?"))
            return true;
    }
    answer[n] = '\0';
    return false;
}

/* Ask the terminal what it can show: some say so only when asked. NULL: no answer. */
static const char *ask_terminal(char *answer, size_t size)
{
    struct termios saved, raw;
    const char *question = easel_terminal_question();
    int fd = question ? open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
    if (fd < 0)
        return NULL;
    *answer = '\0';
    /* a background job that touched the terminal's mode would be stopped */
    if (tcgetpgrp(fd) == getpgrp() && tcgetattr(fd, &saved) == 0) {
        raw = saved;
        raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
        bool is_whole = tcsetattr(fd, TCSANOW, &raw) == 0 &&
                        write(fd, question, strlen(question)) == (ssize_t)strlen(question) &&
                        read_answer(fd, answer, size);
        /* the rest of a late answer must not look as if it had been typed */
        tcsetattr(fd, is_whole ? TCSANOW : TCSAFLUSH, &saved);
    }
    close(fd);
    return *answer ? answer : NULL;
}

void progress_view_init(struct progress_view *v, bool quiet, bool preview)
{
    *v = (struct progress_view){.quiet = quiet};
    const char *term = getenv("TERM");
    v->is_terminal = isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb");
    char answer[256];
    if (preview && v->is_terminal && !quiet)
        v->graphics = easel_terminal_guess(ask_terminal(answer, sizeof answer));
    v->preview_id = (unsigned)getpid() << 8;
}

void progress_view_start(struct progress_view *v)
{
    v->started_s = now_s();
    v->drawn_s = 0;
    v->last_stage = -1;
    v->last_step = 0;
    v->preview = (struct easel_terminal_space){0};
    v->preview_id++;
}

void progress_view_update(struct progress_view *v, const struct easel_progress *p)
{
    if (v->quiet)
        return;
    double now = now_s();
    bool news = (int)p->stage != v->last_stage || p->step != v->last_step;
    v->last_stage = (int)p->stage;
    v->last_step = p->step;
    if (p->preview_rgb && v->graphics != EASEL_TERMINAL_NONE)
        show_preview(v, p);
    if (!v->is_terminal) {
        if (news)
            print_line(v, p, now);
    } else if (news || now - v->drawn_s >= REDRAW_INTERVAL_S) {
        draw_bar(v, p, now);
        v->drawn_s = now;
    }
}

int progress_view_callback(void *view, const struct easel_progress *p)
{
    progress_view_update(view, p);
    return cli_interrupted();
}

void progress_view_end(struct progress_view *v)
{
    if (v->line_is_open)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    v->line_is_open = false;
}

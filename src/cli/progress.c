/* SPDX-License-Identifier: MIT */
#include "cli/progress.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define BAR_CELLS 28
/* Lines that a preview takes; they are made free first, so that it never scrolls. */
#define PREVIEW_ROWS 18
#define ANSWER_WAIT_MS 150
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

static void draw_bar(struct progress_view *v, const struct easel_progress *p, double now)
{
    /* eighths of a cell */
    static const char *const parts[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    char stage[64], left[64] = "", duration[32];
    int eighths = (int)(p->fraction * BAR_CELLS * 8);
    double elapsed = now - v->started_s;
    if (p->fraction > ESTIMATE_FROM_FRACTION)
        snprintf(left, sizeof left, "  %s left",
                 cli_duration(elapsed * (1 - p->fraction) / p->fraction, duration,
                              sizeof duration));
    fprintf(stderr, "\r\033[K%-22s │", stage_text(p, stage, sizeof stage));
    for (int i = 0; i < BAR_CELLS; i++, eighths -= 8)
        fputs(eighths >= 8 ? "█" : parts[eighths > 0 ? eighths : 0], stderr);
    fprintf(stderr, "│ %3.0f %%%s", 100 * p->fraction, left);
    fflush(stderr);
    v->line_is_open = true;
}

static void print_line(struct progress_view *v, const struct easel_progress *p, double now)
{
    char stage[64];
    fprintf(stderr, "%s (%.0f %%, %.1f s)\n", stage_text(p, stage, sizeof stage),
            100 * p->fraction, now - v->started_s);
}

static void show_preview(struct progress_view *v, const struct easel_progress *p)
{
    void *bytes = NULL;
    size_t len = 0;
    if (easel_terminal_picture(v->graphics, p->preview_rgb, p->preview_width, p->preview_height,
                               PREVIEW_ROWS, &bytes, &len, NULL))
        return;
    progress_view_end(v);
    if (v->preview_is_placed) {
        fputs("\0338", stderr); /* back to where the first one was drawn */
    } else {
        for (int i = 0; i < PREVIEW_ROWS; i++)
            fputc('\n', stderr);
        fprintf(stderr, "\033[%dA\0337", PREVIEW_ROWS);
        v->preview_is_placed = true;
    }
    fwrite(bytes, 1, len, stderr);
    fputs("\r\n", stderr);
    easel_free(bytes);
}

/* Ask the terminal what it can show: some say so only when asked. NULL: no answer. */
static const char *ask_terminal(char *answer, size_t size)
{
    struct termios saved, raw;
    size_t n = 0;
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    const char *question = easel_terminal_question();
    bool asked = tcgetattr(fd, &saved) == 0;
    if (asked) {
        raw = saved;
        raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
        asked = tcsetattr(fd, TCSANOW, &raw) == 0 &&
                write(fd, question, strlen(question)) == (ssize_t)strlen(question);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        while (asked && n + 1 < size && (!n || answer[n - 1] != 'c') &&
               poll(&wait, 1, ANSWER_WAIT_MS) > 0) {
            ssize_t got = read(fd, answer + n, size - 1 - n);
            if (got <= 0)
                break;
            n += (size_t)got;
        }
        tcsetattr(fd, TCSANOW, &saved);
    }
    close(fd);
    answer[n] = '\0';
    return n ? answer : NULL;
}

void progress_view_init(struct progress_view *v, bool quiet, bool preview)
{
    *v = (struct progress_view){.quiet = quiet};
    v->is_terminal = isatty(STDERR_FILENO);
    char answer[256];
    if (preview && v->is_terminal && !quiet)
        v->graphics = easel_terminal_guess(ask_terminal(answer, sizeof answer));
}

void progress_view_start(struct progress_view *v)
{
    v->started_s = now_s();
    v->drawn_s = 0;
    v->last_stage = -1;
    v->last_step = 0;
    v->preview_is_placed = false;
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

void progress_view_end(struct progress_view *v)
{
    if (v->line_is_open)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    v->line_is_open = false;
}

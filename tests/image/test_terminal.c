/* SPDX-License-Identifier: MIT */
/* Pictures on a terminal: each encoding decoded again, and the guess. */
#include "image_test.h"

#include "image/terminal.h"
#include "image/terminal_impl.h"

static unsigned rows_used;

static struct buf encoded(const struct image *img, enum terminal_graphics g,
                          struct terminal_placement at)
{
    struct errmsg em;
    struct buf b = {0};
    assert_ok(terminal_image_append(img, g, &at, &rows_used, &b, &em));
    return b;
}

/* ---- base64 ------------------------------------------------------------------- */

static struct buf base64_decode(const char *s, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct errmsg em;
    struct buf b = {0};
    assert_int_equal(len % 4, 0);
    for (size_t i = 0; i < len; i += 4) {
        uint32_t v = 0;
        size_t n = s[i + 2] == '=' ? 1 : s[i + 3] == '=' ? 2 : 3;
        for (size_t k = 0; k < 4; k++) {
            const char *d = k <= n ? strchr(digits, s[i + k]) : digits;
            assert_non_null(d);
            v = v << 6 | (uint32_t)(d - digits);
        }
        const uint8_t bytes[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        assert_ok(buf_append(&b, bytes, n, &em));
    }
    return b;
}

static void check_png(const struct buf *png, const struct image *img)
{
    struct errmsg em;
    struct image seen;
    assert_ok(image_decode(png->ptr, png->len, &seen, &em));
    assert_int_equal(seen.width_px, img->width_px);
    assert_int_equal(seen.height_px, img->height_px);
    assert_memory_equal(seen.rgb, img->rgb, img->width_px * img->height_px * 3);
    image_deinit(&seen);
}

/* ---- kitty, iTerm2 ------------------------------------------------------------- */

/* Join the payloads; checks the frame of every chunk. */
static struct buf kitty_payload(const struct buf *b, const char *first_keys, int *n_chunks)
{
    struct errmsg em;
    struct buf all = {0};
    char *p = (char *)b->ptr;
    bool more = true;
    for (*n_chunks = 0; more; (*n_chunks)++) {
        assert_memory_equal(p, "\033_G", 3);
        p += 3;
        if (*n_chunks == 0) {
            assert_memory_equal(p, first_keys, strlen(first_keys));
            p += strlen(first_keys) - 1; /* the m is looked at below */
        }
        assert_memory_equal(p, "m=", 2);
        more = p[2] == '1';
        assert_true(more || p[2] == '0');
        assert_int_equal(p[3], ';');
        p += 4;
        char *end = strstr(p, "\033\\");
        assert_non_null(end);
        assert_true(end - p > 0 && end - p <= 4096);
        assert_true(!more || end - p == 4096);
        assert_ok(buf_append(&all, p, (size_t)(end - p), &em));
        p = end + 2;
    }
    assert_string_equal(p, "");
    return all;
}

static void check_kitty(size_t w, size_t h, struct terminal_placement at, const char *keys,
                        int at_least)
{
    struct image img = picture_noise(w, h);
    int n_chunks;
    struct buf b = encoded(&img, TERMINAL_GRAPHICS_KITTY, at);
    struct buf payload = kitty_payload(&b, keys, &n_chunks);
    struct buf png = base64_decode((char *)payload.ptr, payload.len);
    assert_true(n_chunks >= at_least);
    check_png(&png, &img);
    buf_deinit(&png);
    buf_deinit(&payload);
    buf_deinit(&b);
    image_deinit(&img);
}

static void test_kitty(void **state)
{
    (void)state;
    check_kitty(1, 1, (struct terminal_placement){.id = 7}, "a=T,f=100,t=d,q=2,C=1,i=7,p=1,m", 1);
    assert_int_equal(rows_used, 1);
    /* 90x70 in 320x192 pixels: the height decides; in 80x192: the width */
    check_kitty(90, 70, (struct terminal_placement){.id = 1, .columns = 40, .rows = 12},
                "a=T,f=100,t=d,q=2,C=1,i=1,p=1,c=31,r=12,m", 5);
    assert_int_equal(rows_used, 12);
    check_kitty(90, 70, (struct terminal_placement){.id = 1, .columns = 10, .rows = 12},
                "a=T,f=100,t=d,q=2,C=1,i=1,p=1,c=10,r=4,m", 5);
    assert_int_equal(rows_used, 4);
    struct terminal_placement large = {
        .id = 1, .columns = 10, .rows = 12, .cell_width_px = 20, .cell_height_px = 10};
    check_kitty(90, 70, large, "a=T,f=100,t=d,q=2,C=1,i=1,p=1,c=8,r=12,m", 5);
}

static void test_iterm2(void **state)
{
    (void)state;
    struct image img = picture_noise(33, 21);
    struct buf b = encoded(&img, TERMINAL_GRAPHICS_ITERM2,
                           (struct terminal_placement){.columns = 30, .rows = 10});
    char *s = (char *)b.ptr, *colon = strchr(s, ':'), *bell = strchr(s, '\a');
    static const char start[] = "\033]1337;File=inline=1;size=";
    assert_memory_equal(s, start, sizeof start - 1);
    assert_true(colon && bell);
    assert_memory_equal(colon - 19, ";width=30;height=10", 19);
    assert_int_equal(rows_used, 10);
    assert_string_equal(bell, "\a");
    struct buf png = base64_decode(colon + 1, (size_t)(bell - colon - 1));
    assert_int_equal(strtoul(s + sizeof start - 1, NULL, 10), png.len);
    check_png(&png, &img);
    buf_deinit(&png);
    buf_deinit(&b);
    image_deinit(&img);
}

/* ---- sixel --------------------------------------------------------------------- */

struct sixel {
    struct image img;
    uint8_t palette[256][3];
    size_t x, y, colour;
    uint8_t *painted;
};

static const char *number(const char *s, size_t *out)
{
    char *end;
    assert_true(*s >= '0' && *s <= '9');
    *out = strtoul(s, &end, 10);
    return end;
}

static void paint(struct sixel *s, unsigned bits, size_t n)
{
    for (; n > 0; n--, s->x++) {
        for (size_t i = 0; i < 6; i++) {
            size_t y = s->y + i;
            if (!(bits >> i & 1))
                continue;
            assert_true(s->x < s->img.width_px && y < s->img.height_px);
            size_t at = y * s->img.width_px + s->x;
            assert_false(s->painted[at]); /* each pixel once */
            s->painted[at] = 1;
            memcpy(s->img.rgb + at * 3, s->palette[s->colour], 3);
        }
    }
}

/* "#n" or "#n;2;r;g;b". */
static const char *colour_read(struct sixel *s, const char *p)
{
    size_t v[4];
    p = number(p, &s->colour);
    assert_true(s->colour < 256);
    if (*p != ';')
        return p;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(*p, ';');
        p = number(p + 1, &v[i]);
    }
    assert_int_equal(v[0], 2);
    for (int i = 0; i < 3; i++) {
        assert_true(v[i + 1] <= 100);
        s->palette[s->colour][i] = (uint8_t)((v[i + 1] * 255 + 50) / 100);
    }
    return p;
}

/* A decoder of what we may write; every pixel must be painted, once. */
static struct image sixel_decode(const struct buf *b)
{
    struct sixel s = {0};
    const char *p = (char *)b->ptr;
    size_t w, h, repeat;
    assert_memory_equal(p, "\033P0;1q\"1;1;", 11);
    p = number(p + 11, &w);
    assert_int_equal(*p, ';');
    p = number(p + 1, &h);
    s.img = picture_new(w, h);
    s.painted = calloc(w * h, 1);
    assert_non_null(s.painted);
    while (*p != '\033') {
        char c = *p++;
        repeat = 1;
        if (c == '!') {
            p = number(p, &repeat);
            c = *p++;
        }
        if (c >= '?' && c <= '~') {
            paint(&s, (unsigned)(c - '?'), repeat);
        } else if (c == '#') {
            p = colour_read(&s, p);
        } else {
            assert_true(c == '$' || c == '-');
            s.x = 0;
            s.y += c == '-' ? 6 : 0;
        }
    }
    assert_string_equal(p, "\033\\");
    for (size_t i = 0; i < w * h; i++)
        assert_true(s.painted[i]);
    free(s.painted);
    return s.img;
}

static size_t check_sixel(const struct image *img, int most)
{
    struct buf b = encoded(img, TERMINAL_GRAPHICS_SIXEL, (struct terminal_placement){0});
    struct image seen = sixel_decode(&b);
    assert_int_equal(seen.width_px, img->width_px);
    assert_int_equal(seen.height_px, img->height_px);
    int d = pixels_differ(seen.rgb, img->rgb, img->width_px * img->height_px * 3);
    if (d > most)
        fail_msg("%zu×%zu differs by %d, at most %d", img->width_px, img->height_px, d, most);
    size_t len = b.len;
    image_deinit(&seen);
    buf_deinit(&b);
    return len;
}

/* A colour is a mean of its neighbours, told in hundredths: a few levels away. */
static void test_sixel(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {1, 6}, {6, 1}, {2, 7}, {31, 13}, {200, 120}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct image img = picture_smooth(sizes[i][0], sizes[i][1]);
        check_sixel(&img, 36);
        image_deinit(&img);
    }
    struct image noise = picture_noise(64, 64);
    check_sixel(&noise, 160);
    image_deinit(&noise);
}

static void test_sixel_of_few_colours_is_exact_and_small(void **state)
{
    (void)state;
    static const uint8_t colours[4][3] = {{255, 255, 255}, {0, 0, 0}, {255, 0, 0}, {51, 102, 204}};
    struct image img = picture_new(640, 480);
    for (size_t i = 0; i < 640 * 480; i++)
        memcpy(img.rgb + i * 3, colours[(i / 640 / 120 + i % 640 / 160) % 4], 3);
    assert_true(check_sixel(&img, 1) < 8000);
    image_deinit(&img);
}

/* Scaled down to fit, never up, to whole bands: what is a pixel too high scrolls. */
static void test_sixel_fits(void **state)
{
    (void)state;
    static const struct {
        unsigned columns, rows, cell_w, cell_h;
        size_t w, h;
        unsigned rows_used;
    } cases[] = {{100, 50, 9, 18, 240, 180, 10}, {100, 10, 9, 18, 240, 180, 10},
                 {100, 9, 9, 18, 216, 162, 9},   {100, 9, 9, 17, 200, 150, 9},
                 {12, 50, 10, 20, 120, 90, 5},   {100, 1, 0, 0, 16, 12, 1},
                 {0, 0, 0, 0, 240, 180, 12}};
    struct image img = picture_smooth(240, 180);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct terminal_placement at = {.columns = cases[i].columns,
                                        .rows = cases[i].rows,
                                        .cell_width_px = cases[i].cell_w,
                                        .cell_height_px = cases[i].cell_h};
        struct buf b = encoded(&img, TERMINAL_GRAPHICS_SIXEL, at);
        struct image seen = sixel_decode(&b);
        assert_int_equal(seen.width_px, cases[i].w);
        assert_int_equal(seen.height_px, cases[i].h);
        assert_int_equal(rows_used, cases[i].rows_used);
        image_deinit(&seen);
        buf_deinit(&b);
    }
    image_deinit(&img);
}

static void test_palette(void **state)
{
    (void)state;
    struct errmsg em;
    static struct palette a, b;
    struct image img = picture_noise(100, 100);
    assert_ok(palette_make(&img, &a, &em));
    assert_ok(palette_make(&img, &b, &em));
    assert_int_equal(a.n, 256);
    assert_memory_equal(&a, &b, sizeof a);
    image_deinit(&img);
}

/* ---- which --------------------------------------------------------------------- */

static void test_guess(void **state)
{
    (void)state;
#define T "xterm-256color"
#define SIXEL_ANSWER "\033[?62;4;22c"
    static const struct {
        struct terminal_hints hints;
        enum terminal_graphics expected;
    } cases[] = {
        {{0}, TERMINAL_GRAPHICS_NONE},
        {{.term = T}, TERMINAL_GRAPHICS_NONE},
        {{.term = "dumb", .kitty_window_id = "1"}, TERMINAL_GRAPHICS_NONE},
        {{.term = "xterm-kitty"}, TERMINAL_GRAPHICS_KITTY},
        {{.term = T, .kitty_window_id = "3"}, TERMINAL_GRAPHICS_KITTY},
        {{.term = T, .kitty_window_id = ""}, TERMINAL_GRAPHICS_NONE},
        {{.term = "xterm-ghostty"}, TERMINAL_GRAPHICS_KITTY},
        {{.term = T, .konsole_version = "220401"}, TERMINAL_GRAPHICS_KITTY},
        {{.term = T, .konsole_version = "210800"}, TERMINAL_GRAPHICS_NONE},
        {{.term = T, .term_program = "iTerm.app"}, TERMINAL_GRAPHICS_ITERM2},
        {{.term = T, .lc_terminal = "iTerm2"}, TERMINAL_GRAPHICS_ITERM2},
        {{.term = T, .term_program = "WezTerm"}, TERMINAL_GRAPHICS_ITERM2},
        {{.term = T, .term_program = "Apple_Terminal"}, TERMINAL_GRAPHICS_NONE},
        {{.term = "foot"}, TERMINAL_GRAPHICS_SIXEL},
        {{.term = "foot-extra"}, TERMINAL_GRAPHICS_SIXEL},
        {{.term = T, .answer = SIXEL_ANSWER}, TERMINAL_GRAPHICS_SIXEL},
        {{.term = T, .answer = "\033[?4c"}, TERMINAL_GRAPHICS_SIXEL},
        {{.term = T, .answer = "\033[?62;14;40c"}, TERMINAL_GRAPHICS_NONE},
        {{.term = T, .answer = "\033[?62;4"}, TERMINAL_GRAPHICS_NONE},
        {{.term = T, .answer = "\033_Gi=31;OK\033\\" SIXEL_ANSWER}, TERMINAL_GRAPHICS_KITTY},
        {{.term = T, .answer = "\033_Gi=31;ENOTSUP\033\\\033[?6c"}, TERMINAL_GRAPHICS_NONE},
        {{.term = "screen", .kitty_window_id = "1"}, TERMINAL_GRAPHICS_NONE},
        {{.term = T, .tmux = "/tmp/t", .term_program = "iTerm.app"}, TERMINAL_GRAPHICS_NONE},
        {{.term = "tmux-256color", .answer = SIXEL_ANSWER}, TERMINAL_GRAPHICS_SIXEL},
        {{.term = T, .sty = "1.pts-0", .kitty_window_id = "1"}, TERMINAL_GRAPHICS_NONE},
        /* xterm, started from a kitty; and what iTerm2 says of itself */
        {{.term = "xterm", .kitty_window_id = "1", .answer = "\033[?64;1;2c"},
         TERMINAL_GRAPHICS_NONE},
        {{.term = T, .kitty_window_id = "1", .answer = SIXEL_ANSWER}, TERMINAL_GRAPHICS_SIXEL},
        {{.term = T, .lc_terminal = "iTerm2", .answer = SIXEL_ANSWER}, TERMINAL_GRAPHICS_ITERM2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (terminal_graphics_guess(&cases[i].hints) != cases[i].expected)
            fail_msg("case %zu: %d", i, (int)terminal_graphics_guess(&cases[i].hints));
}

static void test_question(void **state)
{
    (void)state;
    struct terminal_hints hints = {.term = T};
    const char *q = terminal_graphics_question(&hints);
    assert_memory_equal(q, "\033_G", 3);
    assert_string_equal(q + strlen(q) - 3, "\033[c");
    hints.tmux = "/tmp/tmux-0/default,1,0";
    assert_string_equal(terminal_graphics_question(&hints), "\033[c");
    hints = (struct terminal_hints){.term = "dumb"};
    assert_null(terminal_graphics_question(&hints));
}

static void test_no_graphics_is_refused(void **state)
{
    (void)state;
    struct errmsg em;
    struct image img = picture_noise(2, 2);
    struct buf b = {0};
    struct terminal_placement at = {.id = 1};
    assert_fails(terminal_image_append(&img, TERMINAL_GRAPHICS_NONE, &at, &rows_used, &b, &em),
                 ERR_USAGE, "cannot show pictures");
    image_deinit(&img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kitty),
        cmocka_unit_test(test_iterm2),
        cmocka_unit_test(test_sixel),
        cmocka_unit_test(test_sixel_of_few_colours_is_exact_and_small),
        cmocka_unit_test(test_sixel_fits),
        cmocka_unit_test(test_palette),
        cmocka_unit_test(test_guess),
        cmocka_unit_test(test_question),
        cmocka_unit_test(test_no_graphics_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/progress.h"

#define PROMPT_BYTES_MAX ((size_t)128 << 10)
#define COUNT_MAX 10000

static const char help[] =
    "Usage: easel draw PROMPT [options]\n"
    "\n"
    "Draw a picture from a prompt. A prompt of - is read from standard input.\n"
    "\n"
    "  -o, --output FILE      where to (default: easel-SEED.png); - is standard output\n"
    "  -m, --model MODEL      an installed model's name or a folder in the diffusers\n"
    "                         layout (default: the embedded one; see easel model list)\n"
    "  -s, --size WxH         256 to 1440 a side (default: 1024x768, or the size of the\n"
    "                         first reference picture)\n"
    "      --seed N           0 to 4294967295; the same seed draws the same picture\n"
    "                         (default: a random one, which is printed)\n"
    "  -n, --count N          so many pictures, with seeds counting up\n"
    "  -i, --image PICTURE    a reference picture to edit or combine (JPEG, PNG, WebP);\n"
    "                         up to 10 times\n"
    "      --enhance          let the model rewrite the prompt in more detail first\n"
    "      --steps N          denoising steps (default: the model's)\n"
    "      --guidance G       guidance scale (default: the model's)\n"
    "      --format F         png, jpeg or webp (default: by the ending of FILE)\n"
    "      --preview          show the picture as it forms (kitty, iTerm2, sixel)\n"
    "      --json             print one JSON object a picture\n"
    "  -q, --quiet            no progress, only errors\n"
    "      --threads N        (default: one for each processor)\n"
    "      --rng torch        the noise of torch's CPU generator, which is the default:\n"
    "                         a seed draws what diffusers draws with it\n"
    "      --transformer FILE a single .safetensors file in place of the model's own\n"
    "      --vae FILE         likewise for the autoencoder\n"
    "\n"
    "Examples:\n"
    "  easel draw \"a red apple on a blue background\" -o apple.png\n"
    "  easel draw \"a fox\" --seed 7 -n 4 -o fox.png        fox-1.png to fox-4.png\n"
    "  easel draw \"a city at night\" -m ~/models/FLUX.2-klein-4B -s 1440x768\n"
    "  easel draw \"make it winter\" -i photo.jpg -m ~/models/FLUX.2-klein-4B\n"
    "  echo \"a cat\" | easel draw - --enhance --json\n";

struct draw_command {
    struct easel_model_options model;
    struct easel_draw_options draw;
    struct easel_reference references[EASEL_REFERENCES_MAX];
    const char *model_name, *output, *format;
    char *prompt;
    int64_t count;
    bool preview, json, quiet;
    struct progress_view view;
};

enum { OPT_SEED = 256, OPT_STEPS, OPT_GUIDANCE, OPT_FORMAT, OPT_THREADS, OPT_RNG, OPT_ENHANCE,
       OPT_PREVIEW, OPT_JSON, OPT_TRANSFORMER, OPT_VAE };

static const struct option long_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"model", required_argument, NULL, 'm'},
    {"size", required_argument, NULL, 's'},
    {"count", required_argument, NULL, 'n'},
    {"image", required_argument, NULL, 'i'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},
    {"seed", required_argument, NULL, OPT_SEED},
    {"steps", required_argument, NULL, OPT_STEPS},
    {"guidance", required_argument, NULL, OPT_GUIDANCE},
    {"format", required_argument, NULL, OPT_FORMAT},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"rng", required_argument, NULL, OPT_RNG},
    {"enhance", no_argument, NULL, OPT_ENHANCE},
    {"preview", no_argument, NULL, OPT_PREVIEW},
    {"json", no_argument, NULL, OPT_JSON},
    {"transformer", required_argument, NULL, OPT_TRANSFORMER},
    {"vae", required_argument, NULL, OPT_VAE},
    {NULL, 0, NULL, 0},
};

static int add_reference(struct draw_command *c, const char *path)
{
    if (c->draw.n_references == EASEL_REFERENCES_MAX)
        return cli_usage("draw", "at most %d reference pictures", EASEL_REFERENCES_MAX);
    int rc = cli_option_reference(path, &c->references[c->draw.n_references]);
    c->draw.n_references += !rc;
    return rc;
}

static int parse_size(struct draw_command *c, const char *text)
{
    if (!cli_parse_size(text, &c->draw.width, &c->draw.height))
        return cli_usage("draw", "a size is WIDTHxHEIGHT, such as 1024x768; not \"%s\"", text);
    if (c->draw.width < 256 || c->draw.width > 1440 || c->draw.height < 256 ||
        c->draw.height > 1440)
        return cli_usage("draw", "the size %s is out of range: 256 to 1440 a side", text);
    return 0;
}

static int parse_option(struct draw_command *c, int option, const char *arg)
{
    switch (option) {
    case 'o':
        c->output = arg;
        return 0;
    case 'm':
        c->model_name = arg;
        return 0;
    case 's':
        return parse_size(c, arg);
    case 'n':
        if (!cli_parse_int(arg, 1, COUNT_MAX, &c->count))
            return cli_usage("draw", "the count must be from 1 to %d, not \"%s\"", COUNT_MAX, arg);
        return 0;
    case 'i':
        return add_reference(c, arg);
    case 'q':
        c->quiet = true;
        return 0;
    case OPT_SEED:
        if (!cli_parse_int(arg, 0, UINT32_MAX, &c->draw.seed))
            return cli_usage("draw", "the seed must be from 0 to 4294967295, not \"%s\"", arg);
        return 0;
    case OPT_STEPS:
        return cli_option_steps("draw", arg, &c->draw.steps);
    case OPT_GUIDANCE:
        if (!cli_parse_double(arg, 0, 100, &c->draw.guidance))
            return cli_usage("draw", "the guidance must be from 0 to 100, not \"%s\"", arg);
        return 0;
    case OPT_FORMAT:
        if (strcmp(arg, "png") && strcmp(arg, "jpeg") && strcmp(arg, "webp"))
            return cli_usage("draw", "the format must be png, jpeg or webp, not \"%s\"", arg);
        c->format = arg;
        return 0;
    case OPT_THREADS:
        return cli_option_threads("draw", arg, &c->model.n_threads);
    case OPT_RNG:
        if (strcmp(arg, "torch"))
            return cli_usage("draw", "the only --rng is torch, not \"%s\"", arg);
        return 0;
    case OPT_ENHANCE:
        c->draw.enhance = 1;
        return 0;
    case OPT_PREVIEW:
        c->preview = true;
        return 0;
    case OPT_JSON:
        c->json = true;
        return 0;
    case OPT_TRANSFORMER:
        c->model.transformer_file = arg;
        return 0;
    case OPT_VAE:
        c->model.autoencoder_file = arg;
        return 0;
    default:
        return cli_usage("draw", "that option is not known, or lacks its value");
    }
}

/* The prompt itself, or standard input without its last line end. */
static int read_prompt(struct draw_command *c, const char *arg)
{
    struct easel_error error;
    size_t len;
    void *bytes = NULL;
    if (strcmp(arg, "-")) {
        c->prompt = strdup(arg);
        return c->prompt ? 0 : EXIT_FAILED;
    }
    enum easel_status rc = easel_file_read("-", PROMPT_BYTES_MAX, &bytes, &len, &error);
    if (rc)
        return cli_failed(rc, &error);
    if (bytes && strlen(bytes) != len) {
        easel_free(bytes);
        return cli_usage("draw", "the prompt on standard input holds a NUL byte");
    }
    c->prompt = bytes ? bytes : strdup("");
    size_t n = c->prompt ? strlen(c->prompt) : 0;
    while (n && (c->prompt[n - 1] == '\n' || c->prompt[n - 1] == '\r'))
        c->prompt[--n] = '\0';
    return c->prompt ? 0 : EXIT_FAILED;
}

static int parse(struct draw_command *c, int argc, char **argv)
{
    int option, rc = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "o:m:s:n:i:qh", long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return -1;
        }
        if (option == '?')
            return cli_usage("draw", "%s is not an option, or lacks its value", argv[optind - 1]);
        rc = parse_option(c, option, optarg);
        if (rc)
            return rc;
    }
    if (optind == argc)
        return cli_usage("draw", "a prompt is missing: say what to draw");
    if (optind + 1 < argc)
        return cli_usage("draw",
                         "more than one prompt: \"%s\" and \"%s\"; put quotes around the whole",
                         argv[optind], argv[optind + 1]);
    rc = read_prompt(c, argv[optind]);
    if (!rc && !c->prompt[strspn(c->prompt, " \t\r\n")])
        rc = cli_usage("draw", "the prompt is empty: say what to draw");
    return rc;
}

static int cannot_write(const char *what, const char *path)
{
    cli_error("cannot write to %s%s: %s", what, path, strerror(errno));
    return EXIT_FAILED;
}

/* Whether a file of that name can be made, or what stands there be written to. */
static int check_place(const char *path)
{
    struct stat st;
    bool exists = !stat(path, &st);
    if (!exists && errno != ENOENT)
        return cannot_write("", path);
    if (exists && S_ISDIR(st.st_mode))
        return cli_usage("draw", "%s is a folder; name a file", path);
    if (exists && !S_ISREG(st.st_mode)) /* a device or a FIFO */
        return access(path, W_OK) ? cannot_write("", path) : 0;
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!dir) {
        cli_error("out of memory");
        return EXIT_FAILED;
    }
    int rc = access(dir, W_OK | X_OK) ? cannot_write("the folder ", dir) : 0;
    free(dir);
    return rc;
}

static int check_json(const char *path)
{
    json_t *name = json_string(path);
    if (!name)
        return cli_usage("draw", "the output's name is no UTF-8, which --json cannot print");
    json_decref(name);
    return 0;
}

/* Told before the work, not after it: a place that cannot be written to. */
static int check_output(const struct draw_command *c)
{
    if (!c->output)
        return check_place("easel.png");
    if (!strcmp(c->output, "-")) {
        if (c->count > 1)
            return cli_usage("draw", "standard output takes one picture; use -n 1");
        if (c->json)
            return cli_usage("draw", "the picture and --json cannot share standard output");
        if (isatty(STDOUT_FILENO))
            return cli_usage("draw", "not writing a picture to a terminal; use -o FILE");
        return 0;
    }
    if (!*c->output)
        return cli_usage("draw", "the output's name is empty; use -o FILE");
    if (!c->format && !easel_format_of_path(c->output))
        return cli_usage("draw", "%s: the ending names no format; use .png, .jpg or .webp, or "
                                 "--format",
                         c->output);
    int rc = c->json ? check_json(c->output) : 0;
    return rc ? rc : check_place(c->output);
}

/* FILE, FILE with -INDEX before its ending, or easel-SEED.ending. */
static char *output_path(const struct draw_command *c, const struct easel_picture *p,
                         int64_t index)
{
    char *path = NULL;
    const char *format = c->format ? c->format : "png";
    if (!c->output) {
        const char *ending = !strcmp(format, "jpeg") ? "jpg" : format;
        if (asprintf(&path, "easel-%lld.%s", (long long)p->seed, ending) < 0)
            return NULL;
        return path;
    }
    if (c->count == 1)
        return strdup(c->output);
    const char *dot = strrchr(c->output, '.');
    if (!dot || strchr(dot, '/'))
        dot = c->output + strlen(c->output);
    if (asprintf(&path, "%.*s-%lld%s", (int)(dot - c->output), c->output, (long long)index + 1,
                 dot) < 0)
        return NULL;
    return path;
}

static int print_json(const struct easel_picture *p, const char *path)
{
    json_t *seconds = cli_json_seconds(p);
    json_object_set_new(seconds, "total", json_real(p->seconds_total));
    json_t *o = json_pack("{s:s, s:I, s:i, s:i, s:i, s:i, s:s, s:i, s:f, s:s, s:s?, s:i, s:i, s:o, "
                          "s:I}",
                          "file", path, "seed", (json_int_t)p->seed, "width", (int)p->width,
                          "height", (int)p->height, "drawn_width", (int)p->drawn_width,
                          "drawn_height", (int)p->drawn_height, "model", p->model, "steps",
                          (int)p->steps, "guidance", p->guidance, "prompt", p->prompt,
                          "enhanced_prompt", p->enhanced_prompt, "tokens", (int)p->n_tokens,
                          "tokens_dropped", (int)p->n_tokens_dropped, "seconds", seconds,
                          "peak_memory_bytes", (json_int_t)p->peak_memory_bytes);
    return cli_print_json(o, JSON_COMPACT | JSON_REAL_PRECISION(6));
}

static void print_text(const struct easel_picture *p, const char *path)
{
    char duration[32];
    if (p->enhanced_prompt) {
        printf("prompt: ");
        cli_print_text(p->enhanced_prompt, (int)strlen("prompt: "));
        putchar('\n');
    }
    printf("%s  %ux%u  seed %lld  %u steps  %s", path, p->width, p->height, (long long)p->seed,
           p->steps, cli_duration(p->seconds_total, duration, sizeof duration));
    if (p->drawn_width < p->width || p->drawn_height < p->height)
        printf("  (drawn at %ux%u, enlarged)", p->drawn_width, p->drawn_height);
    putchar('\n');
    fflush(stdout);
}

static int write_stdout(const struct draw_command *c, const struct easel_picture *p)
{
    struct easel_error error;
    void *bytes;
    size_t len;
    enum easel_status rc =
        easel_picture_encode(p, c->format ? c->format : "png", &bytes, &len, &error);
    if (rc)
        return cli_failed(rc, &error);
    bool ok = fwrite(bytes, 1, len, stdout) == len && !fflush(stdout);
    easel_free(bytes);
    if (!ok) {
        cli_error("cannot write the picture to standard output: %s", strerror(errno));
        return EXIT_FAILED;
    }
    return 0;
}

static int save(const struct draw_command *c, const struct easel_picture *p, int64_t index)
{
    struct easel_error error;
    if (p->n_tokens_dropped && !c->quiet)
        cli_error("warning: the prompt is %u tokens too long for this model; its end was cut",
                  p->n_tokens_dropped);
    if (c->output && !strcmp(c->output, "-"))
        return write_stdout(c, p);
    char *path = output_path(c, p, index);
    if (!path) {
        cli_error("out of memory");
        return EXIT_FAILED;
    }
    int rc = 0;
    enum easel_status status = easel_picture_save(p, path, c->format, &error);
    if (status)
        rc = cli_failed(status, &error);
    else if (c->json)
        rc = print_json(p, path);
    else if (!c->quiet)
        print_text(p, path);
    free(path);
    return rc;
}

static void say_no_previews(void)
{
    const char *why = "this terminal shows no pictures (kitty, iTerm2 or sixel can)";
    if (!isatty(STDERR_FILENO))
        why = "there is no terminal to show pictures on";
    else if (getenv("TMUX"))
        why = "this tmux shows no pictures (one with sixel, from 3.4 on, can)";
    else if (getenv("STY"))
        why = "screen shows no pictures";
    cli_error("%s; going on without previews", why);
}

static int draw_all(struct draw_command *c, struct easel_model *model)
{
    struct easel_error error;
    for (int64_t i = 0; i < c->count; i++) {
        struct easel_picture *picture = NULL;
        progress_view_start(&c->view);
        enum easel_status status = easel_draw(model, &c->draw, &picture, &error);
        progress_view_end(&c->view);
        if (status == EASEL_CANCELLED && i) {
            cli_error("stopped; %lld of %lld pictures were drawn", (long long)i,
                      (long long)c->count);
            return EXIT_INTERRUPTED;
        }
        if (status)
            return cli_failed(status, &error);
        int rc = save(c, picture, i);
        c->draw.seed = (picture->seed + 1) & UINT32_MAX;
        easel_picture_free(picture);
        if (rc)
            return rc;
    }
    return 0;
}

int cmd_draw(int argc, char **argv)
{
    struct draw_command c = {.count = 1};
    struct easel_model *model = NULL;
    struct easel_error error;
    easel_model_defaults(&c.model);
    easel_draw_defaults(&c.draw);
    c.model.cpu = getenv("EASEL_CPU");
    int rc = parse(&c, argc, argv);
    if (!rc)
        rc = check_output(&c);
    if (!rc) {
        enum easel_status status = easel_model_open(c.model_name, &c.model, &model, &error);
        if (status)
            rc = cli_failed(status, &error);
    }
    if (!rc) {
        cli_catch_interrupts();
        progress_view_init(&c.view, c.quiet, c.preview);
        if (c.preview && !c.quiet && c.view.graphics == EASEL_TERMINAL_NONE)
            say_no_previews();
        c.draw.prompt = c.prompt;
        c.draw.references = c.references;
        c.draw.previews = c.view.graphics != EASEL_TERMINAL_NONE;
        c.draw.on_progress = progress_view_callback;
        c.draw.user = &c.view;
        rc = draw_all(&c, model);
    }
    easel_model_close(model);
    for (unsigned i = 0; i < c.draw.n_references; i++)
        easel_free((void *)(uintptr_t)c.references[i].bytes);
    free(c.prompt);
    return rc < 0 ? 0 : rc;
}

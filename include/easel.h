/* SPDX-License-Identifier: MIT */
/* libeasel: pictures from text with open FLUX.2 models, on your own machine.
 *
 *     struct easel_model *model = NULL;
 *     struct easel_picture *picture = NULL;
 *     struct easel_error error;
 *     struct easel_draw_options options;
 *     easel_draw_defaults(&options);
 *     options.prompt = "a red apple on a blue background";
 *     if (easel_model_open(NULL, NULL, &model, &error) ||
 *         easel_draw(model, &options, &picture, &error) ||
 *         easel_picture_save(picture, "apple.png", NULL, &error))
 *         fprintf(stderr, "%s\n", error.message);
 *     easel_picture_free(picture);
 *     easel_model_close(model);
 *
 * Every function that can fail returns an easel_status and, where it is not
 * EASEL_OK, fills *error (which may be NULL) with one line for a human. Nothing is
 * printed and there is no global state: any number of models may be open, in any
 * threads. One model draws one picture at a time; calls from several threads wait
 * for each other.
 *
 * A picture is a function of its inputs: the same model, prompt, size, seed,
 * references, steps and processor level give the same bytes, whatever the number
 * of threads. */
#ifndef EASEL_H
#define EASEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EASEL_API __attribute__((visibility("default")))
#else
#define EASEL_API
#endif

enum easel_status {
    EASEL_OK = 0,
    EASEL_USAGE,       /* an argument is out of range or contradictory */
    EASEL_NOMEM,       /* too little memory */
    EASEL_IO,          /* a file could not be read or written */
    EASEL_NOTFOUND,    /* no such model or file */
    EASEL_FORMAT,      /* a file is damaged or is not what it claims to be */
    EASEL_UNSUPPORTED, /* well formed, but not something this program can run */
    EASEL_CANCELLED,   /* the progress callback asked to stop */
    EASEL_DEVICE       /* an accelerator failed */
};

struct easel_error {
    char message[512];
};

EASEL_API const char *easel_version(void);

/* ---- Models ---------------------------------------------------------------- */

struct easel_model;

struct easel_model_options {
    unsigned n_threads; /* 0: one for each processor that the process may use */
    const char *cpu;    /* "scalar", "avx2", "avx512"; NULL: the best this machine has */
    /* Single files in the layout of Black Forest Labs, in place of the model's own
     * transformer and autoencoder; NULL: the model's own. */
    const char *transformer_file;
    const char *autoencoder_file;
};
EASEL_API void easel_model_defaults(struct easel_model_options *options);

/* name: a directory in the diffusers layout, or the name of an installed model (see
 * easel_model_list); NULL or "": the embedded one. Weights are mapped, not read, so
 * this is quick. options NULL: the defaults. *out: the caller closes it. */
EASEL_API enum easel_status easel_model_open(const char *name,
                                             const struct easel_model_options *options,
                                             struct easel_model **out,
                                             struct easel_error *error);
EASEL_API void easel_model_close(struct easel_model *model);

struct easel_part_info {
    const char *name;     /* "transformer", "text encoder", "autoencoder" */
    const char *summary;  /* its shape in words */
    uint64_t n_params;
    uint64_t weight_bytes;
};

struct easel_model_info {
    const char *name, *path, *licence, *description; /* "" where unknown */
    const char *architecture;
    struct easel_part_info parts[3];
    unsigned n_parts;
    unsigned steps;         /* default number of steps */
    double guidance;        /* default guidance */
    int uses_cfg;           /* classifier-free guidance: two passes a step */
    int can_enhance;        /* the text encoder has an output head */
    uint64_t native_pixels; /* drawn at this area, then enlarged; 0: at the asked size */
    unsigned max_tokens;    /* longer prompts are cut */
    unsigned references_max; /* reference pictures that it takes; 0: it does not edit */
    uint64_t memory_bytes;  /* at the most, for a picture of 1024x768: mapped weights and
                             * workspace; parts of 1 GB and more are used one after the other */
    const char *cpu;        /* processor level in use */
    unsigned n_threads;
};
/* Borrowed from the model. */
EASEL_API const struct easel_model_info *easel_model_info(const struct easel_model *model);

/* Calls fn for every installed model: folders of $EASEL_MODELS, the user's and the
 * system's model folders. An entry that cannot be opened has error != NULL. */
EASEL_API enum easel_status easel_model_list(
    void (*fn)(void *user, const char *name, const char *path, const char *error), void *user,
    struct easel_error *error);

/* Write a model of a known shape with random weights, for timing: "klein-4b",
 * "klein-base-4b", "klein-9b", "klein-base-9b", "dev", "tiny" or "tiny-dev". dir must
 * not exist. The tokenizer is that of the embedded model. */
EASEL_API enum easel_status easel_model_write_random(
    const char *shape, const char *dir, int (*on_progress)(void *user, double fraction),
    void *user, struct easel_error *error);
/* The known shapes, NULL-terminated. */
EASEL_API const char *const *easel_model_shapes(void);

/* ---- Drawing --------------------------------------------------------------- */

enum easel_stage {
    EASEL_STAGE_ENHANCE,    /* rewriting the prompt */
    EASEL_STAGE_TEXT,       /* encoding the prompt */
    EASEL_STAGE_REFERENCES, /* encoding the reference pictures */
    EASEL_STAGE_DENOISE,    /* the steps */
    EASEL_STAGE_DECODE,     /* latent to pixels */
    EASEL_N_STAGES
};
EASEL_API const char *easel_stage_name(enum easel_stage stage);

struct easel_progress {
    enum easel_stage stage;
    unsigned step, n_steps; /* during EASEL_STAGE_DENOISE: step 1 … n_steps */
    double fraction;        /* of the whole work, 0 … 1, by arithmetic still to do */
    /* After each step, when previews were asked for; otherwise NULL. Valid during the
     * call: preview_width * preview_height * 3 bytes of RGB. */
    const uint8_t *preview_rgb;
    unsigned preview_width, preview_height;
};

/* A reference picture: a JPEG, PNG or WebP file's bytes, borrowed. */
struct easel_reference {
    const void *bytes;
    size_t len;
    const char *name; /* for messages; may be NULL */
};

#define EASEL_SEED_RANDOM (-1)
#define EASEL_REFERENCES_MAX 10

struct easel_draw_options {
    const char *prompt;     /* UTF-8, required */
    unsigned width, height; /* 64 … 1440; 0: from the first reference, else 1024x768 */
    int64_t seed;           /* 0 … 4294967295, or EASEL_SEED_RANDOM */
    unsigned steps;         /* 0: the model's */
    double guidance;        /* 0 … 100; negative: the model's */
    int enhance;            /* rewrite the prompt first */
    int previews;           /* give a preview after each step */
    const struct easel_reference *references;
    unsigned n_references;  /* at most EASEL_REFERENCES_MAX */
    /* Called often (many times a step); a value other than 0 stops the drawing. */
    int (*on_progress)(void *user, const struct easel_progress *progress);
    void *user;
};
EASEL_API void easel_draw_defaults(struct easel_draw_options *options);

struct easel_picture {
    unsigned width, height;
    uint8_t *rgb; /* height * width * 3, sRGB */
    unsigned drawn_width, drawn_height; /* before enlarging or cropping to the asked size */
    int64_t seed;
    unsigned steps;
    double guidance;
    char *prompt;          /* as asked */
    char *enhanced_prompt; /* as drawn when it was enhanced, else NULL */
    char *model;
    char *transformer_file, *autoencoder_file; /* names, without folders, or NULL */
    unsigned n_references;
    unsigned n_tokens;         /* of the prompt as drawn, template included */
    unsigned n_tokens_dropped; /* that did not fit and were cut */
    double seconds[EASEL_N_STAGES];
    double seconds_total;
    /* Multiplications and additions of each stage's matrix products and convolutions,
     * counted as direct work; norms, softmax and activations are left out. 0: not counted
     * (enhancing) or not done (the prompt of the last picture is not encoded again). */
    double flops[EASEL_N_STAGES];
    uint64_t peak_memory_bytes; /* of the process so far */
};

/* *out: the caller frees it with easel_picture_free. */
EASEL_API enum easel_status easel_draw(struct easel_model *model,
                                       const struct easel_draw_options *options,
                                       struct easel_picture **out, struct easel_error *error);
EASEL_API void easel_picture_free(struct easel_picture *picture);

/* The prompt rewritten by the model's text encoder; free with easel_free. EASEL_UNSUPPORTED: this
 * one's text encoder cannot write. */
EASEL_API enum easel_status easel_enhance(struct easel_model *model, const char *prompt,
                                          unsigned n_references, int64_t seed, char **out,
                                          struct easel_error *error);

/* ---- Files ----------------------------------------------------------------- */

/* format: "png", "jpeg" or "webp". The parameters go into the file's metadata.
 * *bytes: free with easel_free. */
EASEL_API enum easel_status easel_picture_encode(const struct easel_picture *picture,
                                                 const char *format, void **bytes, size_t *len,
                                                 struct easel_error *error);
/* The same with a quality for JPEG and WebP: 1 … 100 (a WebP of 100 is lossless), or 0 for
 * the default, 95. PNG has none and ignores it. EASEL_USAGE: another quality. */
EASEL_API enum easel_status easel_picture_encode_quality(const struct easel_picture *picture,
                                                         const char *format, int quality,
                                                         void **bytes, size_t *len,
                                                         struct easel_error *error);
/* Pixels alone, without metadata, for previews. rgb: height * width * 3 bytes. quality as
 * above. *bytes: free with easel_free. */
EASEL_API enum easel_status easel_rgb_encode(const uint8_t *rgb, unsigned width, unsigned height,
                                             const char *format, int quality, void **bytes,
                                             size_t *len, struct easel_error *error);
/* Written whole or not at all, through a symbolic link to where it leads; a device or a FIFO is
 * written to. format NULL: by the path's ending. */
EASEL_API enum easel_status easel_picture_save(const struct easel_picture *picture,
                                               const char *path, const char *format,
                                               struct easel_error *error);
/* The format that a path's ending means ("png", "jpeg", "webp"), or NULL. */
EASEL_API const char *easel_format_of_path(const char *path);

/* The format that a picture file's first bytes tell, or NULL. */
EASEL_API const char *easel_format_of_bytes(const void *bytes, size_t len);

/* Calls fn for each parameter that a picture file carries (prompt, seed, …).
 * width, height: of the picture, may be NULL. */
EASEL_API enum easel_status easel_metadata_read(
    const void *bytes, size_t len, void (*fn)(void *user, const char *key, const char *value),
    void *user, unsigned *width, unsigned *height, struct easel_error *error);

/* A file of at most max_bytes ("-": standard input). *bytes: NUL-terminated for
 * convenience, free with easel_free. */
EASEL_API enum easel_status easel_file_read(const char *path, size_t max_bytes, void **bytes,
                                            size_t *len, struct easel_error *error);
EASEL_API void easel_free(void *p);

/* ---- Terminals ------------------------------------------------------------- */

enum easel_terminal { EASEL_TERMINAL_NONE, EASEL_TERMINAL_KITTY, EASEL_TERMINAL_ITERM2,
                      EASEL_TERMINAL_SIXEL };
/* What the terminal can show, by the environment and by its answer to
 * easel_terminal_question: what it said until the final 'c'; NULL if it was not asked or
 * said nothing. */
EASEL_API enum easel_terminal easel_terminal_guess(const char *answer);
/* Write this to the terminal, in raw mode, and read its answer for up to a second. NULL: this
 * terminal should not be asked. */
EASEL_API const char *easel_terminal_question(void);

/* Where a picture may go: it is scaled to fit, its aspect kept. */
struct easel_terminal_space {
    unsigned columns, rows;           /* of cells; 0: no limit */
    unsigned cell_width, cell_height; /* pixels; 0: not known */
    unsigned id; /* kitty: a picture shown before under the same id is replaced; not 0 */
};
/* The bytes that show a picture at the cursor; free with easel_free. *rows_used: the lines
 * that it covers. One more must be below it on the screen, or it may scroll; where the
 * cursor ends up depends on the terminal: save its place before. */
EASEL_API enum easel_status easel_terminal_picture(enum easel_terminal terminal, const uint8_t *rgb,
                                                   unsigned width, unsigned height,
                                                   const struct easel_terminal_space *space,
                                                   unsigned *rows_used, void **bytes, size_t *len,
                                                   struct easel_error *error);

/* ---- Measuring ------------------------------------------------------------- */

struct easel_bench_row {
    const char *operation; /* "linear", "swiglu", "gemv", "conv2d", "attention" */
    const char *layer;     /* whose shape it is */
    const char *shape, *dtype;
    double ms;             /* the best run */
    double gflops;
    double gbytes_per_s;   /* of weights read; 0 where that is not what bounds it */
    double share_of_peak;  /* of the limits below, measured in the same run, 0 … 1 */
};
struct easel_bench_limits {
    double peak_gflops;       /* fused multiply-adds between registers, all threads */
    double peak_gbytes_per_s; /* memory read in order, all threads */
};
/* Time the kernels on the shapes of klein-4B and of the embedded model; about 20 s.
 * fn gets each row as it is measured. */
EASEL_API enum easel_status easel_bench_kernels(
    const struct easel_model_options *options,
    void (*fn)(void *user, const struct easel_bench_row *row), void *user,
    struct easel_bench_limits *limits, struct easel_error *error);

struct easel_bench_stage {
    double gflops;        /* of easel_picture's flops and seconds; 0: not counted */
    double peak_gflops;   /* the best measured beside the stage; 0: there was no such stage */
    double share_of_peak; /* can pass 1 where Winograd's method saves work (decode) */
};
struct easel_bench_picture {
    struct easel_bench_stage stages[EASEL_N_STAGES];
    double peak_gflops; /* the best of the whole run */
};
/* easel_draw, with the processor's peak measured in turns with it: at each stage's and step's
 * beginning and end, and about once a second between. The seconds in *out are without the
 * time that takes. */
EASEL_API enum easel_status easel_bench_model(struct easel_model *model,
                                              const struct easel_draw_options *options,
                                              struct easel_picture **out,
                                              struct easel_bench_picture *bench,
                                              struct easel_error *error);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: MIT */
/* The public interface: models, drawing, enhancing. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/pool.h"
#include "easel.h"
#include "lib/lib_impl.h"
#include "lib/registry.h"
#include "pipeline/pipeline.h"

_Static_assert((int)EASEL_USAGE == (int)ERR_USAGE && (int)EASEL_DEVICE == (int)ERR_DEVICE,
               "the public and the internal error numbers are the same");
_Static_assert((int)EASEL_STAGE_DECODE == (int)STAGE_DECODE &&
                   (int)EASEL_N_STAGES == (int)N_STAGES,
               "the public and the internal stages are the same");
_Static_assert(EASEL_REFERENCES_MAX == LIMIT_REFERENCES_MAX, "one limit");

struct easel_model {
    pthread_mutex_t lock; /* one drawing at a time */
    struct pool *pool;
    struct backend *backend;
    struct pipeline *pipeline;
    struct easel_model_info info;
    char summaries[3][160];
    /* as in easel_model_options, without their folders */
    char *transformer_file, *autoencoder_file;
};

const char *easel_version(void)
{
    return EASEL_VERSION;
}

void easel_free(void *p)
{
    free(p);
}

enum easel_status lib_status(enum err rc, const struct errmsg *em, struct easel_error *error)
{
    if (rc && error)
        memcpy(error->message, em->text, sizeof error->message);
    return (enum easel_status)rc;
}

void lib_give_buf(struct buf *b, void **bytes, size_t *len)
{
    *bytes = b->ptr;
    *len = b->len;
    *b = (struct buf){0};
}

const char *easel_stage_name(enum easel_stage stage)
{
    static const char *const names[EASEL_N_STAGES] = {"enhance", "text", "references", "denoise",
                                                      "decode"};
    return (unsigned)stage < EASEL_N_STAGES ? names[stage] : "";
}

void easel_model_defaults(struct easel_model_options *options)
{
    *options = (struct easel_model_options){0};
}

void easel_draw_defaults(struct easel_draw_options *options)
{
    *options = (struct easel_draw_options){.seed = EASEL_SEED_RANDOM, .guidance = -1};
}

/* ---- models ---------------------------------------------------------------- */

static void describe(struct easel_model *m)
{
    struct pipeline_info p = pipeline_info(m->pipeline);
    struct easel_model_info *info = &m->info;
    info->name = p.dir->name;
    info->path = p.dir->path;
    info->licence = p.dir->licence;
    info->description = p.dir->description;
    info->architecture = "FLUX.2";
    snprintf(m->summaries[0], sizeof m->summaries[0],
             "%zu blocks %zu wide, %zu heads (%zu key/value) of %zu, vocabulary of %zu",
             p.text_encoder.n_layers, p.text_encoder.hidden, p.text_encoder.n_heads,
             p.text_encoder.n_kv_heads, p.text_encoder.head_dim, p.text_encoder.vocab);
    snprintf(m->summaries[1], sizeof m->summaries[1],
             "%zu double and %zu single blocks %zu wide, %zu heads of %zu%s",
             p.transformer.n_double, p.transformer.n_single, p.transformer.hidden,
             p.transformer.n_heads, p.transformer.head_dim,
             p.transformer.guidance_embed ? ", guidance embedded" : "");
    snprintf(m->summaries[2], sizeof m->summaries[2],
             "%s, %zu latent channels, %zu pixels a token", p.autoencoder.kind,
             p.autoencoder.latent_channels, p.autoencoder.scale * p.autoencoder.patch);
    info->parts[0] = (struct easel_part_info){"text encoder", m->summaries[0],
                                              p.text_encoder.n_params,
                                              p.text_encoder.weight_bytes};
    info->parts[1] = (struct easel_part_info){"transformer", m->summaries[1],
                                              p.transformer.n_params,
                                              p.transformer.weight_bytes};
    info->parts[2] = (struct easel_part_info){"autoencoder", m->summaries[2],
                                              p.autoencoder.n_params,
                                              p.autoencoder.weight_bytes};
    info->n_parts = 3;
    info->steps = (unsigned)p.steps;
    info->guidance = p.guidance;
    info->uses_cfg = p.uses_cfg;
    info->can_enhance = p.text_encoder.has_head;
    info->native_pixels = p.dir->native_pixels;
    info->max_tokens = (unsigned)p.dir->max_tokens;
    info->references_max = (unsigned)p.dir->references_max;
    info->memory_bytes = p.memory_bytes;
    info->n_threads = pool_n_threads(m->pool);
}

/* The last part of a path that may be NULL. */
static enum err keep_name(const char *path, char **out, struct errmsg *em)
{
    if (!path)
        return ERR_OK;
    const char *slash = strrchr(path, '/');
    *out = strdup(slash ? slash + 1 : path);
    return *out ? ERR_OK : err_nomem(em, strlen(path));
}

enum easel_status easel_model_open(const char *name, const struct easel_model_options *options,
                                   struct easel_model **out, struct easel_error *error)
{
    struct easel_model_options defaults;
    struct errmsg em = {""};
    enum cpu_level level;
    char *dir = NULL, *preview_dir = NULL;
    easel_model_defaults(&defaults);
    if (!options)
        options = &defaults;
    struct easel_model *m = calloc(1, sizeof *m);
    if (!m)
        return lib_status(err_nomem(&em, sizeof *m), &em, error);
    pthread_mutex_init(&m->lock, NULL);
    enum err rc = registry_find(name, &dir, &em);
    if (!rc)
        rc = cpu_level_parse(options->cpu, &level, &em);
    if (!rc)
        rc = keep_name(options->transformer_file, &m->transformer_file, &em);
    if (!rc)
        rc = keep_name(options->autoencoder_file, &m->autoencoder_file, &em);
    if (!rc)
        rc = pool_new(options->n_threads, &m->pool, &em);
    if (!rc)
        rc = backend_cpu_new(m->pool, level, &m->backend, &em);
    if (!rc) {
        preview_dir = registry_find_preview();
        struct pipeline_options opts = {
            .transformer_file = options->transformer_file,
            .autoencoder_file = options->autoencoder_file,
            .preview_autoencoder_dir = preview_dir,
        };
        rc = pipeline_open(m->backend, dir, &opts, &m->pipeline, &em);
    }
    free(preview_dir);
    free(dir);
    if (rc) {
        easel_model_close(m);
        return lib_status(rc, &em, error);
    }
    describe(m);
    m->info.cpu = cpu_level_name(level);
    *out = m;
    return EASEL_OK;
}

void easel_model_close(struct easel_model *m)
{
    if (!m)
        return;
    pipeline_close(m->pipeline);
    backend_free(m->backend);
    pool_free(m->pool);
    pthread_mutex_destroy(&m->lock);
    free(m->transformer_file);
    free(m->autoencoder_file);
    free(m);
}

const struct easel_model_info *easel_model_info(const struct easel_model *m)
{
    return &m->info;
}

struct backend *lib_model_backend(struct easel_model *m)
{
    return m->backend;
}

struct list_ctx {
    void (*fn)(void *, const char *, const char *, const char *);
    void *user;
};

static void list_one(void *ctx, const char *name, const char *path)
{
    const struct list_ctx *l = ctx;
    struct model_dir dir;
    struct errmsg em = {""};
    if (model_dir_read(path, &dir, &em)) {
        l->fn(l->user, name, path, em.text);
        return;
    }
    l->fn(l->user, name, path, NULL);
    model_dir_deinit(&dir);
}

enum easel_status easel_model_list(void (*fn)(void *, const char *, const char *, const char *),
                                   void *user, struct easel_error *error)
{
    struct errmsg em = {""};
    struct list_ctx l = {fn, user};
    return lib_status(registry_list(list_one, &l, &em), &em, error);
}

/* ---- drawing --------------------------------------------------------------- */

struct progress_ctx {
    const struct easel_draw_options *options;
};

static bool on_progress(void *ctx, const struct stage_progress *sp)
{
    const struct easel_draw_options *o = ((struct progress_ctx *)ctx)->options;
    struct easel_progress p = {
        .stage = (enum easel_stage)sp->stage,
        .step = (unsigned)sp->step,
        .n_steps = (unsigned)sp->n_steps,
        .fraction = sp->fraction,
    };
    if (sp->preview) {
        p.preview_rgb = sp->preview->rgb;
        p.preview_width = (unsigned)sp->preview->width_px;
        p.preview_height = (unsigned)sp->preview->height_px;
    }
    return o->on_progress(o->user, &p) == 0;
}

static enum err choose_seed(int64_t asked, uint32_t *seed, struct errmsg *em)
{
    if (asked < EASEL_SEED_RANDOM || asked > UINT32_MAX)
        return err_set(em, ERR_USAGE, "the seed must be from 0 to 4294967295");
    *seed = (uint32_t)asked;
    if (asked == EASEL_SEED_RANDOM && getrandom(seed, sizeof *seed, 0) != sizeof *seed)
        return err_set(em, ERR_IO, "the system gave no random number for a seed; give --seed");
    return ERR_OK;
}

static enum err decode_references(const struct easel_draw_options *o, struct image *out,
                                  struct errmsg *em)
{
    for (unsigned i = 0; i < o->n_references; i++) {
        const struct easel_reference *ref = &o->references[i];
        enum err rc = image_decode(ref->bytes, ref->len, &out[i], em);
        if (!rc)
            rc = image_check_reference(&out[i], em);
        if (rc && ref->name)
            return err_prefix(em, rc, "%s", ref->name);
        if (rc)
            return err_prefix(em, rc, "reference picture %u", i + 1);
    }
    return ERR_OK;
}

static enum err give_picture(const struct easel_model *m, const struct easel_draw_options *o,
                             uint32_t seed, struct draw_result *r, struct easel_picture **out,
                             struct errmsg *em)
{
    struct easel_picture *p = calloc(1, sizeof *p);
    if (!p)
        return err_nomem(em, sizeof *p);
    p->prompt = strdup(o->prompt);
    p->model = strdup(m->info.name);
    enum err rc = p->prompt && p->model ? ERR_OK : err_nomem(em, strlen(o->prompt));
    if (!rc)
        rc = keep_name(m->transformer_file, &p->transformer_file, em);
    if (!rc)
        rc = keep_name(m->autoencoder_file, &p->autoencoder_file, em);
    if (rc) {
        easel_picture_free(p);
        return rc;
    }
    p->width = (unsigned)r->picture.width_px;
    p->height = (unsigned)r->picture.height_px;
    p->rgb = r->picture.rgb;
    p->enhanced_prompt = r->enhanced_prompt;
    r->picture = (struct image){0};
    r->enhanced_prompt = NULL;
    p->drawn_width = (unsigned)r->drawn_w_px;
    p->drawn_height = (unsigned)r->drawn_h_px;
    p->seed = seed;
    p->steps = (unsigned)r->steps;
    p->guidance = r->guidance;
    p->n_references = o->n_references;
    p->n_tokens = (unsigned)r->n_tokens;
    p->n_tokens_dropped = (unsigned)r->n_tokens_dropped;
    memcpy(p->seconds, r->seconds, sizeof p->seconds);
    memcpy(p->flops, r->flops, sizeof p->flops);
    p->peak_memory_bytes = mem_peak_bytes();
    *out = p;
    return ERR_OK;
}

enum easel_status easel_draw(struct easel_model *m, const struct easel_draw_options *o,
                             struct easel_picture **out, struct easel_error *error)
{
    struct errmsg em = {""};
    struct image references[EASEL_REFERENCES_MAX] = {{0}};
    struct draw_result result = {0};
    struct progress_ctx ctx = {o};
    uint32_t seed = 0;
    double started = clock_now_s();
    enum err rc = ERR_OK;
    if (o->n_references > EASEL_REFERENCES_MAX)
        rc = err_set(&em, ERR_USAGE, "%u reference pictures; at most %u are allowed",
                     o->n_references, EASEL_REFERENCES_MAX);
    if (!rc)
        rc = choose_seed(o->seed, &seed, &em);
    if (!rc)
        rc = decode_references(o, references, &em);
    if (!rc) {
        struct draw_request req = {
            .prompt = o->prompt,
            .width_px = o->width,
            .height_px = o->height,
            .seed = seed,
            .steps = o->steps,
            .guidance = o->guidance,
            .enhance = o->enhance,
            .previews = o->previews && o->on_progress,
            .references = references,
            .n_references = o->n_references,
            .on_progress = o->on_progress ? on_progress : NULL,
            .ctx = &ctx,
        };
        pthread_mutex_lock(&m->lock);
        rc = pipeline_draw(m->pipeline, &req, &result, &em);
        pthread_mutex_unlock(&m->lock);
    }
    if (!rc)
        rc = give_picture(m, o, seed, &result, out, &em);
    if (!rc)
        (*out)->seconds_total = clock_now_s() - started;
    draw_result_deinit(&result);
    for (unsigned i = 0; i < EASEL_REFERENCES_MAX; i++)
        image_deinit(&references[i]);
    return lib_status(rc, &em, error);
}

void easel_picture_free(struct easel_picture *p)
{
    if (!p)
        return;
    free(p->rgb);
    free(p->prompt);
    free(p->enhanced_prompt);
    free(p->model);
    free(p->transformer_file);
    free(p->autoencoder_file);
    free(p);
}

enum easel_status easel_enhance(struct easel_model *m, const char *prompt, unsigned n_references,
                                int64_t seed, char **out, struct easel_error *error)
{
    struct errmsg em = {""};
    uint32_t used = 0;
    enum err rc = choose_seed(seed, &used, &em);
    if (!rc) {
        pthread_mutex_lock(&m->lock);
        rc = pipeline_enhance(m->pipeline, prompt, n_references > 0, used, out, &em);
        pthread_mutex_unlock(&m->lock);
    }
    return lib_status(rc, &em, error);
}

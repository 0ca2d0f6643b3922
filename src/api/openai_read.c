/* SPDX-License-Identifier: MIT */
/* OpenAI's requests: JSON for pictures from nothing, a form for edits; the fields are the same.
 * What only its own models understand (quality, style, background, moderation …) is passed
 * over. */
#include <stdlib.h>
#include <string.h>

#include "api/multipart.h"
#include "api/openai_impl.h"
#include "api/sizes.h"

#define MODEL_CHARS_MAX 256u
#define SIZE_CHARS_MAX 16u

static const char *const formats[] = {"png", "jpeg", "webp", NULL};
static const char *const response_formats[] = {"b64_json", "url", NULL};

/* ---- fields ---- */

/* Sizes that its clients offer and that are over what is drawn: the same shapes, smaller. */
static const struct {
    const char *name;
    unsigned width_px, height_px;
} presets[] = {
    {"1536x1024", 1440, 960},
    {"1024x1536", 960, 1440},
    {"1792x1024", 1440, 816},
    {"1024x1792", 816, 1440},
};

static unsigned take_side(const char **p)
{
    unsigned value = 0;
    size_t n = strspn(*p, "0123456789");
    for (size_t i = 0; i < n && value <= LIMIT_SIDE_MAX_PX; i++)
        value = value * 10 + (unsigned)((*p)[i] - '0');
    *p += n;
    return value >= LIMIT_OFFERED_SIDE_MIN_PX && value <= LIMIT_SIDE_MAX_PX ? value : 0;
}

static bool parse_size(const char *text, struct gen_request *r)
{
    if (strcmp(text, "auto") == 0)
        return true;
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        if (strcmp(text, presets[i].name) != 0)
            continue;
        r->width_px = presets[i].width_px;
        r->height_px = presets[i].height_px;
        return true;
    }
    r->width_px = take_side(&text);
    if (r->width_px == 0 || *text++ != 'x')
        return false;
    r->height_px = take_side(&text);
    return r->height_px > 0 && *text == '\0';
}

static void read_size(struct fields *f, struct gen_request *r)
{
    const char *text = field_string(f, "size", 0, SIZE_CHARS_MAX);
    if (text && !parse_size(text, r))
        faults_add(f->faults, f->rank - 1, "size",
                   "must be \"auto\", or a width and a height from %u to %u, such as 1024x768",
                   LIMIT_OFFERED_SIDE_MIN_PX, LIMIT_SIDE_MAX_PX);
}

/* 0: the encoder's default. */
static int read_quality(struct fields *f)
{
    int64_t compression = -1;
    field_integer(f, "output_compression", 0, 100, -1, &compression);
    return compression < 0 ? 0 : compression == 0 ? 1 : (int)compression;
}

/* Tasks are listed by model. Names of other vendors, and none, stand for the one that is here. */
static const char *listed_model(const char *name)
{
    return name && strncmp(name, "flux-2", 6) == 0 ? name : "flux-2-pro";
}

static void read_answer_kind(struct fields *f, struct openai *o)
{
    int64_t n_partials = 0;
    o->urls = field_choice(f, "response_format", response_formats) == 1;
    field_boolean(f, "stream", false, &o->stream);
    field_integer(f, "partial_images", 0, OPENAI_PARTIALS_MAX, 0, &n_partials);
    o->n_partials = (unsigned)n_partials;
}

static enum err read_fields(struct request *q, struct submission *s, struct fields *f,
                            struct errmsg *em)
{
    struct gen_request *r = &s->request;
    int64_t n = 1;
    const char *prompt =
        field_string(f, "prompt", FIELD_REQUIRED | FIELD_NOT_BLANK, API_PROMPT_CHARS_MAX);
    const char *model = field_string(f, "model", 0, MODEL_CHARS_MAX);
    field_integer(f, "n", 1, API_TASKS_MAX, 1, &n);
    s->n_tasks = (size_t)n;
    read_size(f, r);
    int format = field_choice(f, "output_format", formats);
    r->quality = read_quality(f);
    read_answer_kind(f, q->own);
    field_integer(f, "seed", 0, UINT32_MAX, -1, &r->seed);
    unsigned enhance_rank = f->rank;
    field_boolean(f, "prompt_upsampling", false, &r->enhance);
    submit_check_model(q, s, "prompt_upsampling", enhance_rank);
    enum err rc = field_keep(&r->prompt, prompt, em);
    if (!rc)
        rc = field_keep(&r->model, listed_model(model), em);
    if (!rc)
        rc = field_keep(&r->format, formats[format > 0 ? format : 0], em);
    return rc;
}

static enum err begin(struct request *q, bool edit, struct errmsg *em)
{
    struct openai *o = calloc(1, sizeof *o);
    if (!o)
        return err_nomem(em, sizeof *o);
    o->edit = edit;
    q->own = o;
    q->own_free = free;
    return ERR_OK;
}

enum err openai_read_json(struct request *q, struct submission *s, struct errmsg *em)
{
    static const char *const no_pictures[] = {NULL};
    struct http_body text = http_request_body(q->http);
    struct body b = {0};
    enum err rc = begin(q, false, em);
    if (!rc)
        rc = body_parse(text.ptr, text.len, no_pictures, &b, em);
    if (rc)
        return rc;
    struct fields f = {.root = b.root, .faults = &q->faults};
    rc = read_fields(q, s, &f, em);
    body_deinit(&b);
    return rc;
}

enum err openai_read_form(struct request *q, struct submission *s, struct errmsg *em)
{
    json_t *root = NULL;
    enum err rc = begin(q, true, em);
    if (!rc)
        rc = openai_form(q, s, &root, em);
    if (rc)
        return rc;
    /* the faults of pictures come first: their ranks are those of openai_form */
    struct fields f = {.root = root, .faults = &q->faults, .rank = MULTIPART_PARTS_MAX + 1};
    rc = read_fields(q, s, &f, em);
    json_decref(root);
    return rc;
}

void openai_resolve(struct request *q, struct submission *s)
{
    (void)q;
    struct gen_request *r = &s->request;
    if (r->width_px)
        return;
    r->width_px = r->height_px = SIZE_DEFAULT_PX;
    if (s->n_pictures > 0)
        size_of_reference(s->pictures[0].width_px, s->pictures[0].height_px, &r->width_px,
                          &r->height_px);
}

/* SPDX-License-Identifier: MIT */
/* Whole drawings against diffusers' Flux2KleinPipeline and Flux2Pipeline in float32: the
 * latents of every step and the picture (tests/data/pipeline/README.md describes the
 * fixtures). */
#include "test.h"

#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "formats/safetensors.h"
#include "pipeline/pipeline.h"
#include "pipeline/prompt.h"

/* Both sides sum in float32, in different orders, through some ten layers a step: the
 * differences seen are under 2e-4 of the latents' size; four references and CFG
 * (which multiplies them by the guidance) included. */
#define LATENT_TOLERANCE 2e-3f

struct test_case {
    json_t *json;
    struct weights *expected;
    struct image picture;
    struct image references[4];
    size_t n_references, row_step;
    size_t latents_checked;
};

struct engine {
    struct pool *pool;
    struct backend *be;
    struct pipeline *pipeline;
};

static void read_image(const char *path, struct image *out)
{
    struct errmsg em;
    struct buf bytes = {0};
    assert_ok(file_read(path, LIMIT_PICTURE_FILE_BYTES_MAX, &bytes, &em));
    assert_ok(image_decode(bytes.ptr, bytes.len, out, &em));
    buf_deinit(&bytes);
}

static void open_case(const char *name, struct test_case *c)
{
    struct errmsg em;
    char path[256];
    memset(c, 0, sizeof *c);
    snprintf(path, sizeof path, "pipeline/%s/case.json", name);
    c->json = json_load_file(data_path(path), 0, NULL);
    assert_non_null(c->json);
    c->row_step = (size_t)json_integer_value(json_object_get(c->json, "row_step"));
    assert_true(c->row_step > 0);
    snprintf(path, sizeof path, "pipeline/%s/expected.png", name);
    read_image(data_path(path), &c->picture);
    snprintf(path, sizeof path, "pipeline/%s/expected.safetensors", name);
    assert_ok(weights_open(data_path(path), &c->expected, &em));
    json_t *refs = json_object_get(c->json, "references");
    c->n_references = json_array_size(refs);
    assert_true(c->n_references <= 4);
    for (size_t i = 0; i < c->n_references; i++) {
        snprintf(path, sizeof path, "pipeline/%s", json_string_value(json_array_get(refs, i)));
        read_image(data_path(path), &c->references[i]);
    }
}

static void close_case(struct test_case *c)
{
    for (size_t i = 0; i < c->n_references; i++)
        image_deinit(&c->references[i]);
    image_deinit(&c->picture);
    weights_close(c->expected);
    json_decref(c->json);
}

static size_t number(const struct test_case *c, const char *key)
{
    json_t *v = json_object_get(c->json, key);
    assert_true(json_is_integer(v));
    return (size_t)json_integer_value(v);
}

static struct engine open_engine(const char *model, unsigned n_threads, enum cpu_level level)
{
    struct errmsg em;
    struct engine e = {0};
    char path[256];
    snprintf(path, sizeof path, "pipeline/%s", model);
    assert_ok(pool_new(n_threads, &e.pool, &em));
    assert_ok(backend_cpu_new(e.pool, level, &e.be, &em));
    assert_ok(pipeline_open(e.be, data_path(path), NULL, &e.pipeline, &em));
    return e;
}

static void close_engine(struct engine *e)
{
    pipeline_close(e->pipeline);
    backend_free(e->be);
    pool_free(e->pool);
}

static void check_latent(void *ctx, size_t step, const float *latent, size_t n, size_t channels)
{
    struct test_case *c = ctx;
    struct errmsg em;
    struct tensor t;
    char name[32];
    snprintf(name, sizeof name, "latents.%zu", step);
    assert_ok(weights_get(c->expected, name, &t, &em));
    assert_int_equal(t.shape[0], (n + c->row_step - 1) / c->row_step);
    assert_int_equal(t.shape[1], channels);
    for (size_t row = 0; row < t.shape[0]; row++)
        for (size_t k = 0; k < channels; k++) {
            float want = f32_load(t.data, t.dtype, row * channels + k);
            float got = latent[row * c->row_step * channels + k];
            if (!(fabsf(got - want) <= LATENT_TOLERANCE))
                fail_msg("%s, token %zu, channel %zu: %g, expected %g", name, row * c->row_step, k,
                         (double)got, (double)want);
        }
    c->latents_checked++;
}

static struct draw_request request_of(struct test_case *c)
{
    return (struct draw_request){
        .prompt = json_string_value(json_object_get(c->json, "prompt")),
        .width_px = number(c, "width"),
        .height_px = number(c, "height"),
        .seed = number(c, "seed"),
        .steps = number(c, "steps"),
        .guidance = json_number_value(json_object_get(c->json, "guidance")),
        .references = c->references,
        .n_references = c->n_references,
        .ctx = c,
        .on_latent = check_latent,
    };
}

static void check_picture(const char *name, const struct image *got, const struct image *want)
{
    assert_int_equal(got->width_px, want->width_px);
    assert_int_equal(got->height_px, want->height_px);
    size_t n_off = 0, n = got->width_px * got->height_px * 3;
    for (size_t i = 0; i < n; i++) {
        int off = abs((int)got->rgb[i] - (int)want->rgb[i]);
        if (off > 1)
            fail_msg("%s: byte %zu is %d, diffusers drew %d", name, i, got->rgb[i], want->rgb[i]);
        n_off += off != 0;
    }
    /* one level only where a value lies on the edge between two: rare */
    if (n_off * 100 > n)
        fail_msg("%s: %zu of %zu values are off by one", name, n_off, n);
}

static void check_case(const char *name, enum cpu_level level)
{
    struct errmsg em;
    struct test_case c;
    struct draw_result result;
    open_case(name, &c);
    struct engine e = open_engine(json_string_value(json_object_get(c.json, "model")), 2, level);
    struct draw_request req = request_of(&c);
    assert_ok(pipeline_draw(e.pipeline, &req, &result, &em));
    assert_int_equal(c.latents_checked, req.steps);
    check_picture(name, &result.picture, &c.picture);
    draw_result_deinit(&result);
    close_engine(&e);
    close_case(&c);
}

#define CASE_TEST(function, name)                                                                 \
    static void function(void **state)                                                            \
    {                                                                                             \
        (void)state;                                                                              \
        check_case(name, cpu_detect());                                                           \
    }
CASE_TEST(test_text_256, "text-256")
CASE_TEST(test_text_320x272, "text-320x272")
CASE_TEST(test_one_reference, "ref-1")
CASE_TEST(test_two_references, "ref-2")
CASE_TEST(test_four_references, "ref-4")
CASE_TEST(test_reference_over_a_megapixel, "ref-large")
CASE_TEST(test_cfg, "cfg")
CASE_TEST(test_cfg_with_reference, "cfg-ref")
CASE_TEST(test_dev, "dev-text")
CASE_TEST(test_dev_long_prompt, "dev-long")
CASE_TEST(test_dev_one_reference, "dev-ref-1")
CASE_TEST(test_dev_two_references, "dev-ref-2")

static void test_every_cpu_level(void **state)
{
    (void)state;
    for (int level = CPU_SCALAR; level < (int)cpu_detect(); level++) {
        check_case("ref-1", (enum cpu_level)level);
        check_case("dev-ref-1", (enum cpu_level)level);
    }
}

/* The tokens and where they stand: from the first on or, after the padding, up to the last. */
static void check_prompt_tokens(const char *name)
{
    struct errmsg em;
    struct test_case c;
    struct model_dir dir;
    struct tokenizer *tok;
    struct prompt_ids ids;
    char path[64];
    open_case(name, &c);
    snprintf(path, sizeof path, "pipeline/%s", json_string_value(json_object_get(c.json, "model")));
    assert_ok(model_dir_read(data_path(path), &dir, &em));
    assert_ok(tokenizer_open(dir.tokenizer_path, &tok, &em));
    assert_ok(prompt_tokenize(&dir, tok, json_string_value(json_object_get(c.json, "prompt")),
                              &ids, &em));
    json_t *want = json_object_get(c.json, "token_ids");
    size_t n = json_array_size(want);
    assert_int_equal(ids.n, 512);
    assert_int_equal(ids.n_valid, n < 512 ? n : 512);
    assert_int_equal(ids.n_dropped, n - ids.n_valid);
    size_t first = dir.pad_side == PAD_LEFT ? 512 - ids.n_valid : 0;
    int32_t pad = tokenizer_special_id(tok, dir.pad_token);
    assert_true(pad >= 0);
    for (size_t i = 0; i < 512; i++) {
        bool is_padding = i < first || i >= first + ids.n_valid;
        assert_int_equal(ids.ids[i],
                         is_padding ? pad : json_integer_value(json_array_get(want, i - first)));
    }
    prompt_ids_deinit(&ids);
    tokenizer_close(tok);
    model_dir_deinit(&dir);
    close_case(&c);
}

static void test_prompt_tokens(void **state)
{
    (void)state;
    static const char *const names[] = {"text-256", "text-320x272", "ref-1",    "cfg",
                                        "dev-text", "dev-long",     "dev-ref-1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_prompt_tokens(names[i]);
}

static void test_long_prompts_are_cut(void **state)
{
    (void)state;
    struct errmsg em;
    struct model_dir dir;
    struct tokenizer *tok;
    struct prompt_ids ids;
    static char prompt[20000];
    for (size_t i = 0; i + 1 < sizeof prompt; i++)
        prompt[i] = i % 5 == 4 ? ' ' : (char)('a' + i % 7);
    assert_ok(model_dir_read(data_path("pipeline/model"), &dir, &em));
    assert_ok(tokenizer_open(dir.tokenizer_path, &tok, &em));
    assert_ok(prompt_tokenize(&dir, tok, prompt, &ids, &em));
    assert_int_equal(ids.n_valid, 512);
    assert_true(ids.n_dropped > 1000);
    prompt_ids_deinit(&ids);
    tokenizer_close(tok);
    model_dir_deinit(&dir);
}

/* The same picture for any number of threads, and when drawn again. */
static void test_same_bytes(void **state)
{
    (void)state;
    struct errmsg em;
    struct test_case c;
    struct draw_result first = {0}, other;
    open_case("ref-1", &c);
    struct draw_request req = request_of(&c);
    req.on_latent = NULL;
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct engine e = open_engine("model", n_threads, cpu_detect());
        for (int round = 0; round < 2; round++) {
            assert_ok(pipeline_draw(e.pipeline, &req, &other, &em));
            if (!first.picture.rgb) {
                first = other;
                continue;
            }
            assert_memory_equal(first.picture.rgb, other.picture.rgb,
                                other.picture.width_px * other.picture.height_px * 3);
            draw_result_deinit(&other);
        }
        close_engine(&e);
    }
    draw_result_deinit(&first);
    close_case(&c);
}

struct cancel_ctx {
    size_t calls, stop_at;
    double last_fraction;
    enum stage stopped_in;
};

static bool stop_later(void *arg, const struct stage_progress *p)
{
    struct cancel_ctx *c = arg;
    assert_true(p->fraction >= c->last_fraction - 1e-9 && p->fraction <= 1.0);
    c->last_fraction = p->fraction;
    c->stopped_in = p->stage;
    return ++c->calls < c->stop_at;
}

static void test_progress_and_cancel(void **state)
{
    (void)state;
    struct errmsg em;
    struct test_case c;
    struct draw_result result;
    open_case("ref-1", &c);
    struct engine e = open_engine("model", 2, cpu_detect());
    struct cancel_ctx ctx;
    struct draw_request req = request_of(&c);
    req.on_latent = NULL;
    req.on_progress = stop_later;
    req.ctx = &ctx;
    /* twice: the second drawing finds the prompt's embedding in the cache, and so will
     * those that are stopped below */
    for (int round = 0; round < 2; round++) {
        ctx = (struct cancel_ctx){.stop_at = SIZE_MAX};
        assert_ok(pipeline_draw(e.pipeline, &req, &result, &em));
        assert_true(ctx.last_fraction > 0.999);
        draw_result_deinit(&result);
    }
    size_t n_calls = ctx.calls;
    assert_true(n_calls > 20);
    bool stopped_in[N_STAGES] = {false};
    for (size_t stop_at = 1; stop_at < n_calls; stop_at += 1 + n_calls / 25) {
        ctx = (struct cancel_ctx){.stop_at = stop_at};
        assert_fails(pipeline_draw(e.pipeline, &req, &result, &em), ERR_CANCELLED, "");
        assert_int_equal(ctx.calls, stop_at);
        stopped_in[ctx.stopped_in] = true;
    }
    assert_true(stopped_in[STAGE_REFERENCES] && stopped_in[STAGE_DENOISE]);
    close_engine(&e);
    close_case(&c);
}

static void test_requests_out_of_range(void **state)
{
    (void)state;
    struct errmsg em;
    struct draw_result result;
    struct engine e = open_engine("model", 1, cpu_detect());
    struct draw_request ok = {.prompt = "x", .width_px = 256, .height_px = 256, .guidance = -1};
    struct draw_request req = ok;
    req.prompt = " \n";
    assert_fails(pipeline_draw(e.pipeline, &req, &result, &em), ERR_USAGE, "prompt is empty");
    req = ok;
    req.width_px = 63;
    assert_fails(pipeline_draw(e.pipeline, &req, &result, &em), ERR_USAGE, "width is 63");
    req = ok;
    req.height_px = 1441;
    assert_fails(pipeline_draw(e.pipeline, &req, &result, &em), ERR_USAGE, "height is 1441");
    req = ok;
    req.steps = 1001;
    assert_fails(pipeline_draw(e.pipeline, &req, &result, &em), ERR_USAGE, "1001 steps");
    req = ok;
    req.prompt = "caf\xe9";
    assert_fails(pipeline_draw(e.pipeline, &req, &result, &em), ERR_FORMAT, "UTF-8");
    struct image small = {0};
    assert_ok(image_init(&small, 63, 100, &em));
    memset(small.rgb, 0, 63 * 100 * 3);
    req = ok;
    req.references = &small;
    req.n_references = 1;
    assert_int_equal(pipeline_draw(e.pipeline, &req, &result, &em) != ERR_OK, 1);
    assert_non_null(strstr(em.text, "reference picture 1"));
    image_deinit(&small);
    close_engine(&e);
}

static void test_sizes_come_out_exact(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{257, 256}, {256, 271}, {300, 311}};
    struct errmsg em;
    struct engine e = open_engine("model", 2, cpu_detect());
    for (size_t i = 0; i < 3; i++) {
        struct draw_result result;
        struct draw_request req = {.prompt = "x", .width_px = sizes[i][0],
                                   .height_px = sizes[i][1], .steps = 1, .guidance = -1};
        assert_ok(pipeline_draw(e.pipeline, &req, &result, &em));
        assert_int_equal(result.picture.width_px, sizes[i][0]);
        assert_int_equal(result.picture.height_px, sizes[i][1]);
        draw_result_deinit(&result);
    }
    close_engine(&e);
}

/* A model directory with one part missing, or of another kind, is told by name. */
static void test_damaged_directories(void **state)
{
    (void)state;
    struct errmsg em;
    struct model_dir dir;
    char root[] = "/tmp/easel-model-XXXXXX";
    assert_non_null(mkdtemp(root));
    char *index = path_join(root, "model_index.json");
    assert_fails(model_dir_read(root, &dir, &em), ERR_NOTFOUND, "model_index.json");
    static const char other[] = "{\"_class_name\": \"StableDiffusionPipeline\"}";
    assert_ok(file_write_atomic(index, other, strlen(other), &em));
    assert_fails(model_dir_read(root, &dir, &em), ERR_UNSUPPORTED, "StableDiffusionPipeline");
    static const char klein[] = "{\"_class_name\": \"Flux2KleinPipeline\"}";
    assert_ok(file_write_atomic(index, klein, strlen(klein), &em));
    assert_fails(model_dir_read(root, &dir, &em), ERR_NOTFOUND, "transformer is missing");
    assert_ok(file_write_atomic(index, "{", 1, &em));
    assert_fails(model_dir_read(root, &dir, &em), ERR_FORMAT, "model_index.json");
    unlink(index);
    rmdir(root);
    free(index);
}

/* A copy of the dev model that has this tokenizer_config.json (NULL: none): mkdtemp's root with
 * links. */
static void make_copy(const char *root, const char *tokenizer_config)
{
    static const char *const links[] = {"model_index.json", "transformer",
                                        "text_encoder",     "vae",
                                        "scheduler",        "tokenizer/tokenizer.json"};
    struct errmsg em;
    char to[256], from[512];
    snprintf(to, sizeof to, "%s/tokenizer", root);
    assert_int_equal(mkdir(to, 0700), 0);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(to, sizeof to, "%s/%s", root, links[i]);
        snprintf(from, sizeof from, "%s/%s", data_path("pipeline/dev"), links[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    snprintf(to, sizeof to, "%s/tokenizer/tokenizer_config.json", root);
    if (tokenizer_config)
        assert_ok(file_write_atomic(to, tokenizer_config, strlen(tokenizer_config), &em));
}

static void remove_copy(const char *root)
{
    static const char *const names[] = {
        "tokenizer/tokenizer_config.json", "tokenizer/tokenizer.json", "model_index.json",
        "transformer", "text_encoder", "vae", "scheduler"};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", root, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/tokenizer", root);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(root), 0);
}

static void test_tokenizer_configs(void **state)
{
    (void)state;
    static const struct {
        const char *config; /* NULL: no file */
        enum padding_side side;
        const char *pad, *end;
        const char *message; /* of the error; NULL: it is read */
    } cases[] = {
        {NULL, PAD_LEFT, "<pad>", "</s>", NULL},
        {"{\"pad_token\": null, \"model_max_length\": 1000000000000000019884624838656}", PAD_LEFT,
         "<pad>", "</s>", NULL},
        {"{\"padding_side\": \"right\", \"pad_token\": \"[IMG]\", \"eos_token\": "
         "{\"content\": \"[INST]\", \"lstrip\": false}}",
         PAD_RIGHT, "[IMG]", "[INST]", NULL},
        {"{\"padding_side\": \"middle\"}", PAD_LEFT, NULL, NULL,
         "tokenizer_config.json: padding_side is \"middle\""},
        {"{\"pad_token\": 3}", PAD_LEFT, NULL, NULL, "\"pad_token\" must be a string"},
        {"{\"pad_token\": \"<nothing>\"}", PAD_LEFT, "<nothing>", "</s>",
         "tokenizer.json has no token <nothing> to pad with"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct errmsg em;
        struct model_dir dir = {0};
        struct tokenizer *tok = NULL;
        struct prompt_ids ids = {0};
        char root[] = "/tmp/easel-model-XXXXXX";
        assert_non_null(mkdtemp(root));
        make_copy(root, cases[i].config);
        enum err rc = model_dir_read(root, &dir, &em);
        if (!rc) {
            assert_int_equal(dir.pad_side, cases[i].side);
            assert_string_equal(dir.pad_token, cases[i].pad);
            assert_string_equal(dir.end_token, cases[i].end);
            assert_ok(tokenizer_open(dir.tokenizer_path, &tok, &em));
            rc = prompt_tokenize(&dir, tok, "a cat", &ids, &em);
        }
        if (cases[i].message)
            assert_fails(rc, ERR_FORMAT, cases[i].message);
        else
            assert_ok(rc);
        prompt_ids_deinit(&ids);
        tokenizer_close(tok);
        model_dir_deinit(&dir);
        remove_copy(root);
    }
}

static void test_enhancement_is_repeatable(void **state)
{
    (void)state;
    static const char *const models[] = {"model", "dev"};
    struct errmsg em;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct engine e = open_engine(models[i], 2, cpu_detect());
        char *a = NULL, *b = NULL;
        assert_ok(pipeline_enhance(e.pipeline, "a cat", false, 7, &a, &em));
        assert_ok(pipeline_enhance(e.pipeline, "a cat", false, 7, &b, &em));
        assert_true(strlen(a) > 0);
        assert_string_equal(a, b);
        free(a);
        free(b);
        close_engine(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt_tokens),
        cmocka_unit_test(test_long_prompts_are_cut),
        cmocka_unit_test(test_text_256),
        cmocka_unit_test(test_text_320x272),
        cmocka_unit_test(test_one_reference),
        cmocka_unit_test(test_two_references),
        cmocka_unit_test(test_four_references),
        cmocka_unit_test(test_reference_over_a_megapixel),
        cmocka_unit_test(test_cfg),
        cmocka_unit_test(test_dev),
        cmocka_unit_test(test_dev_long_prompt),
        cmocka_unit_test(test_dev_one_reference),
        cmocka_unit_test(test_dev_two_references),
        cmocka_unit_test(test_cfg_with_reference),
        cmocka_unit_test(test_every_cpu_level),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_requests_out_of_range),
        cmocka_unit_test(test_sizes_come_out_exact),
        cmocka_unit_test(test_damaged_directories),
        cmocka_unit_test(test_tokenizer_configs),
        cmocka_unit_test(test_enhancement_is_repeatable),
    };
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}

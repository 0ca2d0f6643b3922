/* SPDX-License-Identifier: MIT */
/* The public interface, as a program outside would use it. */
#include "test.h"

#include <pthread.h>
#include <unistd.h>

#include "easel.h"

#define assert_easel(call)                                                                        \
    do {                                                                                          \
        enum easel_status rc_ = (call);                                                           \
        if (rc_)                                                                                  \
            fail_msg("%s = %d: %s", #call, (int)rc_, error.message);                              \
    } while (0)

static struct easel_model *open_tiny(unsigned n_threads)
{
    struct easel_error error;
    struct easel_model *model = NULL;
    struct easel_model_options options;
    easel_model_defaults(&options);
    options.n_threads = n_threads;
    assert_easel(easel_model_open(data_path("pipeline/model"), &options, &model, &error));
    return model;
}

static struct easel_draw_options tiny_picture(const char *prompt, int64_t seed)
{
    struct easel_draw_options o;
    easel_draw_defaults(&o);
    o.prompt = prompt;
    o.width = 256;
    o.height = 272;
    o.steps = 1;
    o.seed = seed;
    return o;
}

static void test_draw_and_encode(void **state)
{
    (void)state;
    struct easel_error error;
    struct easel_model *model = open_tiny(2);
    struct easel_draw_options o = tiny_picture("a cat", 3);
    struct easel_picture *p = NULL;
    assert_easel(easel_draw(model, &o, &p, &error));
    assert_int_equal(p->width, 256);
    assert_int_equal(p->height, 272);
    assert_int_equal(p->seed, 3);
    assert_string_equal(p->prompt, "a cat");
    assert_null(p->enhanced_prompt);
    assert_true(p->n_tokens > 10);
    static const char *const formats[] = {"png", "jpeg", "webp"};
    for (size_t i = 0; i < 3; i++) {
        void *bytes = NULL;
        size_t len = 0;
        assert_easel(easel_picture_encode(p, formats[i], &bytes, &len, &error));
        assert_true(len > 1000);
        easel_free(bytes);
    }
    void *bytes;
    size_t len;
    assert_int_equal(easel_picture_encode(p, "gif", &bytes, &len, &error), EASEL_USAGE);
    assert_non_null(strstr(error.message, "gif"));
    easel_picture_free(p);
    easel_model_close(model);
}

static void test_bench_model(void **state)
{
    (void)state;
    struct easel_error error;
    struct easel_model *model = open_tiny(2);
    struct easel_draw_options o = tiny_picture("a cat", 3);
    struct easel_picture *p = NULL;
    struct easel_bench_picture b;
    o.steps = 3;
    for (int again = 0; again < 2; again++) {
        assert_easel(easel_bench_model(model, &o, &p, &b, &error));
        double total_s = 0;
        for (int i = 0; i < EASEL_N_STAGES; i++) {
            struct easel_bench_stage s = b.stages[i];
            /* nothing is to be enhanced, no references, and the prompt is known by then */
            int counted = i == EASEL_STAGE_DENOISE || i == EASEL_STAGE_DECODE ||
                          (i == EASEL_STAGE_TEXT && !again);
            assert_int_equal(p->flops[i] > 0, counted);
            assert_int_equal(s.gflops > 0, counted);
            if (counted)
                assert_near(s.gflops, p->flops[i] / p->seconds[i] * 1e-9, 1e-9 * s.gflops);
            if (counted)
                assert_near(s.share_of_peak * s.peak_gflops, s.gflops, 1e-9 * s.gflops);
            assert_true(s.peak_gflops <= b.peak_gflops);
            total_s += p->seconds[i];
        }
        assert_true(total_s <= p->seconds_total);
        easel_picture_free(p);
    }
    o.steps = 1001;
    assert_int_equal(easel_bench_model(model, &o, &p, &b, &error), EASEL_USAGE);
    easel_model_close(model);
}

static size_t encoded_size(const struct easel_picture *p, const char *format, int quality)
{
    struct easel_error error;
    void *bytes = NULL;
    size_t len = 0;
    assert_easel(easel_picture_encode_quality(p, format, quality, &bytes, &len, &error));
    easel_free(bytes);
    return len;
}

static void count_metadata(void *user, const char *key, const char *value)
{
    (void)key;
    (void)value;
    ++*(int *)user;
}

static void test_quality(void **state)
{
    (void)state;
    struct easel_error error;
    uint8_t rgb[64 * 80 * 3];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(i * i >> 5);
    struct easel_picture p = {.width = 80, .height = 64, .rgb = rgb, .seed = 3};
    assert_true(encoded_size(&p, "jpeg", 20) < encoded_size(&p, "jpeg", 95));
    assert_true(encoded_size(&p, "webp", 20) < encoded_size(&p, "webp", 95));
    assert_int_equal(encoded_size(&p, "jpeg", 0), encoded_size(&p, "jpeg", 95));
    assert_int_equal(encoded_size(&p, "png", 20), encoded_size(&p, "png", 95));

    void *bytes = NULL;
    size_t len = 0;
    for (int quality = -1; quality <= 101; quality += 102) {
        assert_int_equal(easel_picture_encode_quality(&p, "jpeg", quality, &bytes, &len, &error),
                         EASEL_USAGE);
        assert_non_null(strstr(error.message, "from 1 to 100"));
    }
    assert_null(bytes);
}

static void test_pixels_alone(void **state)
{
    (void)state;
    struct easel_error error;
    uint8_t rgb[64 * 80 * 3] = {0};
    void *bytes = NULL;
    size_t len = 0;
    unsigned w, h;
    int n_texts = 0;
    assert_easel(easel_rgb_encode(rgb, 80, 64, "jpeg", 80, &bytes, &len, &error));
    assert_easel(easel_metadata_read(bytes, len, count_metadata, &n_texts, &w, &h, &error));
    assert_int_equal(w, 80);
    assert_int_equal(h, 64);
    assert_int_equal(n_texts, 0);
    easel_free(bytes);
    assert_int_equal(easel_rgb_encode(rgb, 80, 64, "bmp", 80, &bytes, &len, &error), EASEL_USAGE);
}

static void test_random_seeds_differ_and_are_told(void **state)
{
    (void)state;
    struct easel_error error;
    struct easel_model *model = open_tiny(2);
    struct easel_draw_options o = tiny_picture("a cat", EASEL_SEED_RANDOM);
    struct easel_picture *a = NULL, *b = NULL, *c = NULL;
    assert_easel(easel_draw(model, &o, &a, &error));
    assert_easel(easel_draw(model, &o, &b, &error));
    assert_true(a->seed != b->seed);
    assert_true(a->seed >= 0 && a->seed <= UINT32_MAX);
    o.seed = a->seed;
    assert_easel(easel_draw(model, &o, &c, &error));
    assert_memory_equal(a->rgb, c->rgb, 256 * 272 * 3);
    easel_picture_free(a);
    easel_picture_free(b);
    easel_picture_free(c);
    easel_model_close(model);
}

static int cancel(void *user, const struct easel_progress *p)
{
    (void)p;
    return ++*(int *)user >= 5;
}

static void test_cancel(void **state)
{
    (void)state;
    struct easel_error error;
    struct easel_model *model = open_tiny(1);
    struct easel_draw_options o = tiny_picture("a cat", 1);
    struct easel_picture *p = NULL;
    int calls = 0;
    o.on_progress = cancel;
    o.user = &calls;
    assert_int_equal(easel_draw(model, &o, &p, &error), EASEL_CANCELLED);
    assert_null(p);
    assert_int_equal(calls, 5);
    easel_model_close(model);
}

struct preview_count {
    unsigned n, last_step;
    double last_fraction;
};

static int count_previews(void *user, const struct easel_progress *p)
{
    struct preview_count *c = user;
    if (p->preview_rgb) {
        assert_int_equal(p->stage, EASEL_STAGE_DENOISE);
        assert_true(p->preview_width > 0 && p->preview_height > 0);
        c->n++;
        c->last_step = p->step;
    }
    assert_true(p->fraction >= c->last_fraction);
    c->last_fraction = p->fraction;
    return 0;
}

static void test_previews_after_each_step(void **state)
{
    (void)state;
    struct easel_error error;
    struct easel_model *model = open_tiny(2);
    struct easel_draw_options o = tiny_picture("a cat", 1);
    struct easel_picture *with = NULL, *without = NULL;
    struct preview_count count = {0};
    o.steps = 3;
    assert_easel(easel_draw(model, &o, &without, &error));
    o.previews = 1;
    o.on_progress = count_previews;
    o.user = &count;
    assert_easel(easel_draw(model, &o, &with, &error));
    assert_int_equal(count.n, 3);
    assert_int_equal(count.last_step, 3);
    /* looking does not change the picture */
    assert_memory_equal(with->rgb, without->rgb, 256 * 272 * 3);
    easel_picture_free(with);
    easel_picture_free(without);
    easel_model_close(model);
}

struct drawer {
    struct easel_model *model;
    struct easel_picture *picture;
    enum easel_status status;
};

static void *draw_in_thread(void *arg)
{
    struct drawer *d = arg;
    struct easel_draw_options o = tiny_picture("a cat", 7);
    d->status = easel_draw(d->model, &o, &d->picture, NULL);
    return NULL;
}

/* Two models, two threads on each: all draw the same bytes. */
static void test_threads_and_models(void **state)
{
    (void)state;
    struct easel_model *models[2] = {open_tiny(1), open_tiny(3)};
    struct drawer drawers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        drawers[i] = (struct drawer){.model = models[i % 2]};
        assert_int_equal(pthread_create(&threads[i], NULL, draw_in_thread, &drawers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(drawers[i].status, EASEL_OK);
        assert_memory_equal(drawers[i].picture->rgb, drawers[0].picture->rgb, 256 * 272 * 3);
    }
    for (int i = 0; i < 4; i++)
        easel_picture_free(drawers[i].picture);
    easel_model_close(models[0]);
    easel_model_close(models[1]);
}

static void test_errors_are_values(void **state)
{
    (void)state;
    struct easel_error error;
    struct easel_model *model = NULL;
    struct easel_model_options options;
    struct easel_picture *p = NULL;
    assert_int_equal(easel_model_open("/nowhere", NULL, &model, &error), EASEL_NOTFOUND);
    assert_non_null(strstr(error.message, "/nowhere"));
    assert_int_equal(easel_model_open("/nowhere", NULL, &model, NULL), EASEL_NOTFOUND);
    easel_model_defaults(&options);
    options.cpu = "abacus";
    assert_int_equal(easel_model_open(data_path("pipeline/model"), &options, &model, &error),
                     EASEL_USAGE);
    assert_null(model);
    model = open_tiny(1);
    struct easel_draw_options o = tiny_picture("", 1);
    assert_int_equal(easel_draw(model, &o, &p, &error), EASEL_USAGE);
    o = tiny_picture("x", (int64_t)UINT32_MAX + 1);
    assert_int_equal(easel_draw(model, &o, &p, &error), EASEL_USAGE);
    struct easel_reference bad = {.bytes = "junk", .len = 4, .name = "junk.png"};
    o = tiny_picture("x", 1);
    o.references = &bad;
    o.n_references = 1;
    assert_int_equal(easel_draw(model, &o, &p, &error), EASEL_FORMAT);
    assert_non_null(strstr(error.message, "junk.png"));
    o.n_references = EASEL_REFERENCES_MAX + 1;
    assert_int_equal(easel_draw(model, &o, &p, &error), EASEL_USAGE);
    o = tiny_picture("x", 1);
    o.guidance = 100.5;
    assert_int_equal(easel_draw(model, &o, &p, &error), EASEL_USAGE);
    assert_null(p);
    char *text = NULL;
    assert_int_equal(easel_enhance(model, NULL, 0, 1, &text, &error), EASEL_USAGE);
    assert_int_equal(easel_enhance(model, " \n", 0, 1, &text, &error), EASEL_USAGE);
    assert_int_equal(easel_enhance(model, "caf\xe9", 0, 1, &text, &error), EASEL_FORMAT);
    assert_non_null(strstr(error.message, "at byte 3"));
    assert_null(text);
    easel_model_close(model);
    easel_model_close(NULL);
    easel_picture_free(NULL);
    easel_free(NULL);
}

static void collect(void *user, const char *key, const char *value)
{
    if (!strcmp(key, "prompt"))
        snprintf(user, 64, "%s", value);
}

static void test_save_and_read_back(void **state)
{
    (void)state;
    struct easel_error error;
    struct easel_model *model = open_tiny(2);
    struct easel_draw_options o = tiny_picture("zwei Bären 🐻", 5);
    struct easel_picture *p = NULL;
    char dir[] = "/tmp/easel-lib-XXXXXX", path[128], prompt[64] = "";
    void *bytes;
    size_t len;
    unsigned w, h;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/p.webp", dir);
    assert_easel(easel_draw(model, &o, &p, &error));
    assert_easel(easel_picture_save(p, path, NULL, &error));
    assert_easel(easel_file_read(path, 10 << 20, &bytes, &len, &error));
    assert_easel(easel_metadata_read(bytes, len, collect, prompt, &w, &h, &error));
    assert_string_equal(prompt, o.prompt);
    assert_int_equal(w, 256);
    assert_int_equal(h, 272);
    easel_free(bytes);
    unlink(path);
    assert_int_equal(easel_picture_save(p, "/nowhere/p.png", NULL, &error), EASEL_IO);
    assert_int_equal(easel_picture_save(p, "noending", NULL, &error), EASEL_USAGE);
    assert_string_equal(easel_format_of_path("a.JPG"), "jpeg");
    assert_null(easel_format_of_path("a.b/c"));
    assert_int_equal(rmdir(dir), 0);
    easel_picture_free(p);
    easel_model_close(model);
}

static void test_model_info(void **state)
{
    (void)state;
    struct easel_model *model = open_tiny(2);
    const struct easel_model_info *info = easel_model_info(model);
    assert_int_equal(info->n_parts, 3);
    assert_int_equal(info->steps, 4);
    assert_int_equal(info->n_threads, 2);
    assert_true(info->can_enhance);
    for (unsigned i = 0; i < info->n_parts; i++)
        assert_true(info->parts[i].n_params > 0 && info->parts[i].weight_bytes > 0);
    assert_string_equal(easel_stage_name(EASEL_STAGE_DENOISE), "denoise");
    easel_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draw_and_encode),
        cmocka_unit_test(test_bench_model),
        cmocka_unit_test(test_quality),
        cmocka_unit_test(test_pixels_alone),
        cmocka_unit_test(test_random_seeds_differ_and_are_told),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_previews_after_each_step),
        cmocka_unit_test(test_threads_and_models),
        cmocka_unit_test(test_errors_are_values),
        cmocka_unit_test(test_save_and_read_back),
        cmocka_unit_test(test_model_info),
    };
    return cmocka_run_group_tests_name("lib", tests, NULL, NULL);
}

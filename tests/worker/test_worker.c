/* SPDX-License-Identifier: MIT */
/* The worker with the real engine: from a task to its picture. */
#include "worker_test.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "easel.h"

/* A small model with random weights: it draws nothing, but fast, and takes references. */
static const char *tiny_model(void)
{
    return data_path("pipeline/model");
}

struct metadata {
    unsigned width, height;
    char prompt[64], seed[16], references[8], enhanced[2048];
};

static void on_metadata(void *user, const char *key, const char *value)
{
    struct metadata *m = user;
    if (!strcmp(key, "prompt"))
        snprintf(m->prompt, sizeof m->prompt, "%s", value);
    if (!strcmp(key, "seed"))
        snprintf(m->seed, sizeof m->seed, "%s", value);
    if (!strcmp(key, "references"))
        snprintf(m->references, sizeof m->references, "%s", value);
    if (!strcmp(key, "enhanced_prompt"))
        snprintf(m->enhanced, sizeof m->enhanced, "%s", value);
}

/* What the completed task's file says of itself; *size: its bytes. */
static struct metadata read_result(struct place *p, const struct task *t, size_t *size)
{
    struct metadata m = {0};
    struct easel_error error = {""};
    assert_non_null(t->result);
    struct buf file = place_read(p, t->result);
    if (easel_metadata_read(file.ptr, file.len, on_metadata, &m, &m.width, &m.height, &error))
        fail_msg("the result is no picture: %s", error.message);
    *size = file.len;
    buf_deinit(&file);
    return m;
}

/* Looks for previews while the task runs; how many different ones there were. */
static unsigned watch_previews(struct place *p, const char *id, double *last_fraction)
{
    struct errmsg em;
    unsigned n = 0;
    size_t last_len = 0;
    for (;;) {
        struct buf preview = {0};
        struct task t = place_task(p, id);
        bool running = t.state == TASK_CREATED || t.state == TASK_IN_PROGRESS;
        if (t.state == TASK_IN_PROGRESS) {
            assert_true(t.progress >= *last_fraction && t.progress <= 1);
            *last_fraction = t.progress;
        }
        task_deinit(&t);
        if (!running || p->ended)
            return n;
        if (!store_task_preview(p->store, id, p->key_id, &preview, &em)) {
            assert_true(preview.len > 100);
            assert_memory_equal(preview.ptr, "\xff\xd8\xff", 3);
            n += preview.len != last_len;
            last_len = preview.len;
        }
        buf_deinit(&preview);
        sleep_ms(10);
    }
}

static void test_the_embedded_model_end_to_end(void **state)
{
    struct place *p = *state;
    struct gen_request r = simple_request("a red apple on a blue background");
    char id[TASK_ID_CHARS + 1];
    double last_fraction = 0;
    size_t size;
    p->options.previews = true;
    p->options.n_threads = 0;
    place_start(p);
    place_submit(p, &r, id);
    unsigned n_previews = watch_previews(p, id, &last_fraction);
    struct task t = place_wait(p, id, TASK_COMPLETED);
    struct metadata m = read_result(p, &t, &size);
    place_finish(p);
    assert_true(p->ready);
    assert_true(n_previews >= 2);
    assert_true(last_fraction > 0.2);
    assert_int_equal(m.width, 256);
    assert_int_equal(m.height, 256);
    assert_string_equal(m.prompt, r.prompt);
    assert_string_equal(m.seed, "7");
    assert_non_null(strstr(t.result, ".png"));
    assert_int_equal(t.attempts, 1);
    assert_true(t.finished_ms >= t.started_ms && t.started_ms >= t.created_ms);
    assert_int_equal(place_count_blobs(p), 1);
    /* neither prompts nor names of results belong into a log */
    assert_null(strstr(p->log, "apple"));
    assert_null(strstr(p->log, t.result));
    task_deinit(&t);
}

static void test_formats_and_quality(void **state)
{
    struct place *p = *state;
    static const struct {
        const char *format, *extension;
        int quality;
    } cases[] = {{"png", ".png", 0},
                 {"jpeg", ".jpg", 20},
                 {"jpeg", ".jpg", 95},
                 {"webp", ".webp", 20},
                 {"webp", ".webp", 0}};
    size_t sizes[5];
    p->options.model = tiny_model();
    place_start(p);
    for (size_t i = 0; i < 5; i++) {
        char id[TASK_ID_CHARS + 1];
        struct gen_request r = simple_request("a cat");
        r.format = (char *)(uintptr_t)cases[i].format;
        r.quality = cases[i].quality;
        r.height_px = 300; /* no multiple of 16 */
        place_submit(p, &r, id);
        struct task t = place_wait(p, id, TASK_COMPLETED);
        struct metadata m = read_result(p, &t, &sizes[i]);
        assert_string_equal(strchr(t.result, '.'), cases[i].extension);
        assert_int_equal(m.height, 300);
        assert_string_equal(m.prompt, "a cat");
        task_deinit(&t);
    }
    place_finish(p);
    assert_true(sizes[1] < sizes[2]);
    assert_true(sizes[3] < sizes[4]);
}

/* A file of tests/data as a blob. */
static void put_file(struct place *p, const char *path, char name[BLOB_NAME_CHARS + 1])
{
    struct errmsg em;
    struct buf file = {0};
    assert_ok(file_read(data_path(path), 1 << 24, &file, &em));
    assert_ok(blobs_put(p->blobs, "png", file.ptr, file.len, name, &em));
    buf_deinit(&file);
}

static void test_references(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1], names[2][BLOB_NAME_CHARS + 1];
    struct gen_request r = simple_request("these two together");
    size_t size;
    put_file(p, "pipeline/ref-100x80.png", names[0]);
    put_file(p, "pipeline/ref-64x128.png", names[1]);
    r.references[0] = names[0];
    r.references[1] = names[1];
    r.n_references = 2;
    p->options.model = tiny_model();
    place_start(p);
    place_submit(p, &r, id);
    struct task t = place_wait(p, id, TASK_COMPLETED);
    struct metadata m = read_result(p, &t, &size);
    place_finish(p);
    assert_string_equal(m.references, "2");
    assert_int_equal(place_count_blobs(p), 3);
    task_deinit(&t);
}

static void assert_task_fails(struct place *p, const struct gen_request *r, const char *why)
{
    char id[TASK_ID_CHARS + 1];
    place_submit(p, r, id);
    struct task t = place_wait(p, id, TASK_FAILED);
    assert_non_null(t.error);
    if (!strstr(t.error, why))
        fail_msg("the task failed with \"%s\", without \"%s\"", t.error, why);
    assert_null(t.result);
    task_deinit(&t);
}

/* Each fails alone, with a reason; the worker goes on. */
static void test_bad_tasks(void **state)
{
    struct place *p = *state;
    struct errmsg em;
    char good[BLOB_NAME_CHARS + 1], junk[BLOB_NAME_CHARS + 1], id[TASK_ID_CHARS + 1];
    char none[] = "0123456789abcdef0123456789abcdef.png", wrong[] = "../../../etc/passwd";
    p->options.model = tiny_model();
    place_start(p);
    put_file(p, "pipeline/ref-100x80.png", good);
    assert_ok(blobs_put(p->blobs, "png", "junk", 4, junk, &em));
    struct gen_request r = simple_request("a cat");
    r.references[0] = good;
    r.n_references = 2;
    r.references[1] = junk;
    assert_task_fails(p, &r, "reference picture 2: ");
    r.references[1] = none;
    assert_task_fails(p, &r, "reference picture 2: it is no longer stored; send it again");
    r.references[1] = wrong;
    assert_task_fails(p, &r, "no longer stored");
    assert_ok(blobs_put(p->blobs, "png", "", 0, junk, &em));
    r.references[1] = junk;
    assert_task_fails(p, &r, "reference picture 2: ");
    r = simple_request(" ");
    assert_task_fails(p, &r, "the prompt is empty");
    r = simple_request("a cat");
    r.width_px = 3000;
    assert_task_fails(p, &r, "from 64 to 1440");
    r = simple_request("a cat");
    r.format = (char *)(uintptr_t) "gif";
    assert_task_fails(p, &r, "gif");
    r = simple_request("a cat");
    place_submit(p, &r, id);
    struct task t = place_wait(p, id, TASK_COMPLETED);
    task_deinit(&t);
    place_finish(p);
    assert_int_equal(place_count_blobs(p), 4);
}

static void test_enhanced(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    size_t size;
    struct gen_request r = simple_request("a cat");
    r.enhance = true;
    place_start(p);
    place_submit(p, &r, id);
    struct task t = place_wait(p, id, TASK_COMPLETED);
    struct metadata m = read_result(p, &t, &size);
    place_finish(p);
    assert_non_null(t.enhanced_prompt);
    assert_true(strlen(t.enhanced_prompt) > 0);
    assert_string_equal(m.prompt, "a cat");
    assert_string_equal(m.enhanced, t.enhanced_prompt);
    task_deinit(&t);
}

/* The real engine stops within a step, for a cancel and for a stop. */
static void test_a_running_drawing_stops(void **state)
{
    struct place *p = *state;
    struct errmsg em;
    char cancelled[TASK_ID_CHARS + 1], handed_back[TASK_ID_CHARS + 1];
    struct gen_request r = simple_request("a cat");
    r.width_px = r.height_px = 1440; /* some seconds, were it drawn to its end */
    p->options.model = tiny_model();
    place_start(p);
    place_submit(p, &r, cancelled);
    struct task t = place_wait(p, cancelled, TASK_IN_PROGRESS);
    task_deinit(&t);
    assert_ok(store_task_cancel(p->store, cancelled, p->key_id, NULL, &em));
    t = place_wait(p, cancelled, TASK_FAILED);
    assert_string_equal(t.error, "cancelled");
    task_deinit(&t);

    place_submit(p, &r, handed_back);
    t = place_wait(p, handed_back, TASK_IN_PROGRESS);
    task_deinit(&t);
    raise_flag(&p->stop);
    place_join(p, ERR_OK);
    t = place_task(p, handed_back);
    assert_int_equal(t.state, TASK_CREATED);
    assert_int_equal(t.attempts, 0);
    task_deinit(&t);
    assert_int_equal(place_count_blobs(p), 0);
}

static void test_no_model(void **state)
{
    struct place *p = *state;
    p->options.model = "/nowhere/model";
    place_start(p);
    place_join(p, ERR_NOTFOUND);
    assert_false(p->ready);
    assert_non_null(strstr(p->message.text, "/nowhere/model"));
}

static void test_the_stub(void **state)
{
    struct place *p = *state;
    char ids[40][TASK_ID_CHARS + 1];
    struct gen_request r = simple_request("a cat");
    size_t size;
    r.height_px = 300;
    p->options.stub = true;
    p->options.model = "/nowhere/model";
    for (int i = 0; i < 40; i++) {
        r.seed = i / 2;
        r.enhance = i == 0;
        place_submit(p, &r, ids[i]);
    }
    place_start(p);
    struct buf files[40];
    for (int i = 0; i < 40; i++) {
        struct task t = place_wait(p, ids[i], TASK_COMPLETED);
        struct metadata m = read_result(p, &t, &size);
        assert_int_equal(m.width, 256);
        assert_int_equal(m.height, 300);
        assert_int_equal(t.enhanced_prompt != NULL, i == 0);
        files[i] = place_read(p, t.result);
        task_deinit(&t);
    }
    place_finish(p);
    /* the same seed, the same bytes; another, others */
    assert_int_equal(files[2].len, files[3].len);
    assert_memory_equal(files[2].ptr, files[3].ptr, files[2].len);
    assert_true(files[2].len != files[4].len ||
                memcmp(files[2].ptr, files[4].ptr, files[2].len) != 0);
    for (int i = 0; i < 40; i++)
        buf_deinit(&files[i]);
    r.width_px = 5000;
    place_start(p);
    assert_task_fails(p, &r, "from 1 to 1440");
    place_finish(p);
}

/* A disk that is full when the result is written: nothing is lost, and it goes on by itself. */
static void test_a_full_disk(void **state)
{
    struct place *p = *state;
    struct errmsg em;
    struct gen_request r = simple_request("a cat");
    char disk[96], filler[BLOB_NAME_CHARS + 1], id[TASK_ID_CHARS + 1];
    static char block[450000];
    snprintf(disk, sizeof disk, "%s/disk", p->dir);
    assert_int_equal(mkdir(disk, 0700), 0);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=512k"))
        skip_because("no tmpfs can be mounted here: %s", strerror(errno));
    blobs_close(p->blobs);
    p->blobs = NULL;
    if (blobs_open(disk, &p->blobs, &em) ||
        blobs_put(p->blobs, "bin", block, sizeof block, filler, &em))
        fail_msg("%s", em.text);
    /* a noisy picture, so that it has more bytes than are left */
    p->options.blobs = p->blobs;
    p->options.model = tiny_model();
    p->options.patience_ms = 50;
    place_start(p);
    place_submit(p, &r, id);
    for (int i = 0; !place_logged(p, "the disk is full; free some space"); i++) {
        assert_true(i < 10000);
        sleep_ms(2);
    }
    sleep_ms(200); /* beyond all patience */
    struct task t = place_wait(p, id, TASK_IN_PROGRESS);
    enum err freed = blobs_delete(p->blobs, filler, &em);
    task_deinit(&t);
    t = place_wait(p, id, TASK_COMPLETED);
    place_finish(p);
    assert_int_equal(freed, ERR_OK);
    assert_int_equal(t.attempts, 1);
    assert_non_null(strstr(p->log, "trying again"));
    task_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_embedded_model_end_to_end, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(test_formats_and_quality, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_references, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_bad_tasks, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_enhanced, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_a_running_drawing_stops, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_no_model, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_the_stub, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk, place_setup, place_teardown),
    };
    return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}

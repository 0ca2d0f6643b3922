/* SPDX-License-Identifier: MIT */
/* The worker when something goes wrong: cancelled, stopped, robbed of its lease, hanging, with a
 * disk or a store that refuses. The engine is a fake one, so that nothing is drawn. */
#include "worker_test.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake_engine.h"

/* ---- faults: the linker puts these before the real ones ---- */

enum err __real_blobs_put(struct blobs *b, const char *extension, const void *bytes, size_t len,
                          char name[BLOB_NAME_CHARS + 1], struct errmsg *em);
enum err __wrap_blobs_put(struct blobs *b, const char *extension, const void *bytes, size_t len,
                          char name[BLOB_NAME_CHARS + 1], struct errmsg *em);
enum err __real_blobs_probe(struct blobs *b, size_t size_bytes, struct errmsg *em);
enum err __wrap_blobs_probe(struct blobs *b, size_t size_bytes, struct errmsg *em);
enum err __real_blobs_get(struct blobs *b, const char *name, int *fd, uint64_t *size_bytes,
                          time_t *modified, struct errmsg *em);
enum err __wrap_blobs_get(struct blobs *b, const char *name, int *fd, uint64_t *size_bytes,
                          time_t *modified, struct errmsg *em);
enum err __real_store_task_claim(struct store *st, const char *worker, int64_t lease_ms,
                                 struct task *out, struct errmsg *em);
enum err __wrap_store_task_claim(struct store *st, const char *worker, int64_t lease_ms,
                                 struct task *out, struct errmsg *em);
enum err __real_store_task_progress(struct store *st, const char *id, const char *worker,
                                    int64_t lease_ms, const struct task_progress *p, bool *cancel,
                                    struct errmsg *em);
enum err __wrap_store_task_progress(struct store *st, const char *id, const char *worker,
                                    int64_t lease_ms, const struct task_progress *p, bool *cancel,
                                    struct errmsg *em);
enum err __real_store_task_complete(struct store *st, const char *id, const char *worker,
                                    const struct task_result *r, struct errmsg *em);
enum err __wrap_store_task_complete(struct store *st, const char *id, const char *worker,
                                    const struct task_result *r, struct errmsg *em);
enum err __real_store_task_fail(struct store *st, const char *id, const char *worker,
                                const char *reason, struct errmsg *em);
enum err __wrap_store_task_fail(struct store *st, const char *id, const char *worker,
                                const char *reason, struct errmsg *em);

/* How many of the next calls fail, with ERR_IO or ERR_FULL. */
static struct {
    atomic_bool full;
    atomic_int put, probe, get, claim, progress, complete, fail;
    atomic_bool complete_in_truth; /* complete fails, but has done it */
    atomic_int n_progress;         /* calls that were seen */
} faults;

static bool strikes(atomic_int *left)
{
    if (*left <= 0)
        return false;
    --*left;
    return true;
}

#define FAIL_IF(fault)                                                                             \
    do {                                                                                           \
        if (strikes(&faults.fault))                                                                \
            return err_set(em, faults.full ? ERR_FULL : ERR_IO, "a made-up fault of " #fault);     \
    } while (0)

enum err __wrap_blobs_put(struct blobs *b, const char *extension, const void *bytes, size_t len,
                          char name[BLOB_NAME_CHARS + 1], struct errmsg *em)
{
    FAIL_IF(put);
    return __real_blobs_put(b, extension, bytes, len, name, em);
}

enum err __wrap_blobs_probe(struct blobs *b, size_t size_bytes, struct errmsg *em)
{
    FAIL_IF(probe);
    return __real_blobs_probe(b, size_bytes, em);
}

enum err __wrap_blobs_get(struct blobs *b, const char *name, int *fd, uint64_t *size_bytes,
                          time_t *modified, struct errmsg *em)
{
    FAIL_IF(get);
    return __real_blobs_get(b, name, fd, size_bytes, modified, em);
}

enum err __wrap_store_task_claim(struct store *st, const char *worker, int64_t lease_ms,
                                 struct task *out, struct errmsg *em)
{
    FAIL_IF(claim);
    return __real_store_task_claim(st, worker, lease_ms, out, em);
}

enum err __wrap_store_task_progress(struct store *st, const char *id, const char *worker,
                                    int64_t lease_ms, const struct task_progress *p, bool *cancel,
                                    struct errmsg *em)
{
    faults.n_progress++;
    FAIL_IF(progress);
    return __real_store_task_progress(st, id, worker, lease_ms, p, cancel, em);
}

enum err __wrap_store_task_complete(struct store *st, const char *id, const char *worker,
                                    const struct task_result *r, struct errmsg *em)
{
    if (faults.complete_in_truth && __real_store_task_complete(st, id, worker, r, em))
        fail_msg("complete: %s", em->text);
    faults.complete_in_truth = false;
    FAIL_IF(complete);
    return __real_store_task_complete(st, id, worker, r, em);
}

enum err __wrap_store_task_fail(struct store *st, const char *id, const char *worker,
                                const char *reason, struct errmsg *em)
{
    FAIL_IF(fail);
    return __real_store_task_fail(st, id, worker, reason, em);
}

/* ---- the tests ---- */

static int setup(void **state)
{
    fake_engine_reset();
    memset(&faults, 0, sizeof faults);
    return place_setup(state);
}

static int teardown(void **state)
{
    fake_engine.hangs = false;
    return place_teardown(state);
}

static void submit(struct place *p, char id[TASK_ID_CHARS + 1])
{
    struct gen_request r = simple_request("a cat");
    place_submit(p, &r, id);
}

static void assert_task(struct place *p, const char *id, enum task_state state, unsigned attempts,
                        const char *error)
{
    struct task t = place_wait(p, id, state);
    assert_int_equal(t.attempts, attempts);
    if (error) {
        assert_non_null(t.error);
        assert_string_equal(t.error, error);
    }
    assert_int_equal(t.result != NULL, state == TASK_COMPLETED);
    task_deinit(&t);
}

/* Until a drawing is under way. */
static void wait_for_drawing(unsigned n)
{
    for (int i = 0; fake_engine.n_drawings < n; i++) {
        assert_true(i < 5000);
        sleep_ms(2);
    }
}

static size_t sweep(struct place *p, const char *dead_worker)
{
    struct errmsg em;
    size_t n = 0;
    assert_ok(store_sweep_leases(p->store, dead_worker, &n, &em));
    return n;
}

static void test_cancel(void **state)
{
    struct place *p = *state;
    struct errmsg em;
    char id[TASK_ID_CHARS + 1], next[TASK_ID_CHARS + 1];
    fake_engine.endless = true;
    place_start(p);
    submit(p, id);
    wait_for_drawing(1);
    assert_ok(store_task_cancel(p->store, id, p->key_id, NULL, &em));
    assert_task(p, id, TASK_FAILED, 1, "cancelled");
    fake_engine.endless = false;
    submit(p, next);
    assert_task(p, next, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    assert_int_equal(place_count_blobs(p), 1);
    assert_int_equal(fake_engine.n_closed, 1);
}

static void test_stop_hands_back(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    fake_engine.endless = true;
    place_start(p);
    submit(p, id);
    wait_for_drawing(1);
    raise_flag(&p->stop);
    double start = clock_now_s();
    place_join(p, ERR_OK);
    assert_true(clock_now_s() - start < 2.0);
    assert_task(p, id, TASK_CREATED, 0, NULL);
    /* another worker takes it up */
    fake_engine.endless = false;
    p->options.name = NULL;
    place_start(p);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
}

static void test_finish_completes(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1], left[TASK_ID_CHARS + 1];
    fake_engine.n_steps = 40;
    place_start(p);
    submit(p, id);
    wait_for_drawing(1);
    submit(p, left);
    place_finish(p);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    assert_task(p, left, TASK_CREATED, 0, NULL);
    assert_int_equal(fake_engine.n_drawings, 1);
}

/* The lease is taken away while steps are reported: the worker drops the drawing. */
static void test_a_lost_lease(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    fake_engine.endless = true;
    place_start(p);
    submit(p, id);
    wait_for_drawing(1);
    assert_int_equal(sweep(p, "worker"), 1);
    fake_engine.endless = false;
    assert_task(p, id, TASK_COMPLETED, 2, NULL);
    place_finish(p);
    assert_int_equal(fake_engine.n_drawings, 2);
    assert_int_equal(place_count_blobs(p), 1);
    assert_non_null(strstr(p->log, "the lease was lost"));
}

/* … and when that shows only as the finished picture is handed in: no orphan is left. */
static void test_a_lease_lost_at_the_end(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    fake_engine.silent_ms = 200;
    fake_engine.n_steps = 0;
    place_start(p);
    submit(p, id);
    wait_for_drawing(1);
    assert_int_equal(sweep(p, "worker"), 1);
    assert_task(p, id, TASK_COMPLETED, 2, NULL);
    place_finish(p);
    assert_int_equal(fake_engine.n_drawings, 2);
    assert_int_equal(faults.n_progress, 0);
    assert_int_equal(place_count_blobs(p), 1);
}

/* A stage that says nothing for several leases keeps them all the same. */
static void test_the_lease_is_kept_in_silence(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    size_t lost = 0;
    fake_engine.silent_ms = 1500;
    p->options.lease_ms = 400;
    place_start(p);
    submit(p, id);
    wait_for_drawing(1);
    for (int i = 0; i < 28; i++) {
        sleep_ms(50);
        lost += sweep(p, NULL);
    }
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    assert_int_equal(lost, 0);
    assert_in_range(faults.n_progress, 8, 40);
}

/* A drawing that hangs must not keep its task for ever. */
static void test_a_stall(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    fake_engine.hangs = true;
    p->options.lease_ms = 300;
    p->options.stall_ms = 400;
    place_start(p);
    submit(p, id);
    place_join(p, ERR_DEVICE);
    assert_non_null(strstr(p->message.text, "it hangs"));
    assert_int_equal(fake_engine.n_closed, 0); /* the thread still uses the model */
    size_t n = 0;
    for (int i = 0; i < 100 && !n; i++) {
        sleep_ms(20);
        n = sweep(p, NULL);
    }
    assert_int_equal(n, 1);
    assert_task(p, id, TASK_CREATED, 1, NULL);
    /* should it wake up, it leaves the task alone */
    fake_engine.hangs = false;
    sleep_ms(100);
    assert_task(p, id, TASK_CREATED, 1, NULL);
}

static void test_errors_of_one_task(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    static const struct {
        enum easel_status status;
        const char *error;
    } cases[] = {{EASEL_USAGE, "the engine says 1"},
                 {EASEL_NOMEM, "the engine says 2"},
                 {EASEL_FORMAT, "the engine says 5"},
                 {EASEL_UNSUPPORTED, "the engine says 6"}};
    place_start(p);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_engine.status = (int)cases[i].status;
        submit(p, id);
        assert_task(p, id, TASK_FAILED, 1, cases[i].error);
    }
    fake_engine.status = EASEL_OK;
    submit(p, id);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
}

static void test_an_accelerator_that_fails(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    fake_engine.status = EASEL_DEVICE;
    place_start(p);
    submit(p, id);
    place_join(p, ERR_DEVICE);
    assert_non_null(strstr(p->message.text, "the engine says"));
    assert_task(p, id, TASK_IN_PROGRESS, 1, NULL);
    assert_int_equal(sweep(p, "worker"), 1);
    assert_task(p, id, TASK_CREATED, 1, NULL);
}

static void test_previews_and_progress(void **state)
{
    struct place *p = *state;
    struct errmsg em;
    char id[TASK_ID_CHARS + 1];
    fake_engine.n_steps = 100;
    p->options.previews = true;
    place_start(p);
    submit(p, id);
    struct buf preview = {0};
    for (int i = 0; store_task_preview(p->store, id, p->key_id, &preview, &em); i++) {
        assert_true(i < 1000);
        sleep_ms(2);
    }
    struct task t = place_task(p, id);
    assert_int_equal(t.state, TASK_IN_PROGRESS);
    assert_string_equal(t.progress_stage, "denoise");
    assert_int_equal(t.n_steps, 100);
    assert_in_range(t.step, 1, 100);
    assert_true(t.progress > 0 && t.progress < 1);
    task_deinit(&t);
    assert_int_equal(preview.len, strlen("jpeg of 8x8, quality 80"));
    assert_memory_equal(preview.ptr, "jpeg of 8x8, quality 80", preview.len);
    buf_deinit(&preview);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    assert_true(faults.n_progress > 5);
}

/* Progress that cannot be stored is no reason to stop. */
static void test_progress_is_not_needed(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    faults.progress = 1000;
    fake_engine.n_steps = 10;
    place_start(p);
    submit(p, id);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    char *first = strstr(p->log, "progress cannot be stored");
    assert_non_null(first);
    assert_null(strstr(first + 1, "progress cannot be stored")); /* said once */
}

static void test_a_result_that_is_stored_at_the_third_try(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    faults.put = 2;
    faults.complete = 2;
    place_start(p);
    submit(p, id);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    assert_int_equal(fake_engine.n_drawings, 1);
    assert_int_equal(place_count_blobs(p), 1);
}

/* Handed back when patience is at an end; nothing is claimed until there is room. */
static void test_results_that_cannot_be_stored(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    faults.put = 1000000;
    faults.probe = 1000000;
    p->options.patience_ms = 250;
    place_start(p);
    submit(p, id);
    wait_for_drawing(1);
    assert_task(p, id, TASK_CREATED, 0, NULL);
    sleep_ms(300);
    assert_int_equal(fake_engine.n_drawings, 1);
    faults.put = 0;
    faults.probe = 0;
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    assert_non_null(strstr(p->log, "no task is taken until results can be stored again"));
    assert_non_null(strstr(p->log, "info: results can be stored again"));
    assert_int_equal(fake_engine.n_drawings, 2);
    assert_int_equal(place_count_blobs(p), 1);
}

static void test_stop_does_not_wait_for_a_full_disk(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    faults.put = 1000000;
    faults.probe = 1000000;
    place_start(p);
    submit(p, id);
    wait_for_drawing(1);
    sleep_ms(100);
    double start = clock_now_s();
    raise_flag(&p->stop);
    place_join(p, ERR_OK);
    assert_true(clock_now_s() - start < 2.0);
    assert_task(p, id, TASK_CREATED, 0, NULL);
}

/* Waited for without end, with the picture in hand: nothing else could be done. */
static void test_a_full_disk_is_waited_for(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    faults.full = true;
    faults.claim = faults.put = faults.complete = 1000000;
    p->options.patience_ms = 50;
    place_start(p);
    submit(p, id);
    sleep_ms(300);
    faults.claim = 0;
    wait_for_drawing(1);
    sleep_ms(300);
    faults.put = 0;
    sleep_ms(300);
    faults.complete = 0;
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    assert_int_equal(fake_engine.n_drawings, 1);
    assert_int_equal(place_count_blobs(p), 1);
}

/* The store said no, but had done it: the result must not be thrown away. */
static void test_a_completion_that_only_seemed_to_fail(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    faults.complete_in_truth = true;
    faults.complete = 1;
    place_start(p);
    submit(p, id);
    struct task t = place_wait(p, id, TASK_COMPLETED);
    place_finish(p);
    struct buf picture = place_read(p, t.result);
    assert_int_equal(picture.len, strlen("a picture"));
    buf_deinit(&picture);
    task_deinit(&t);
}

static void test_a_completion_that_never_works(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    faults.complete = 1000000;
    p->options.patience_ms = 150;
    place_start(p);
    submit(p, id);
    wait_for_drawing(2); /* it was handed back and claimed again */
    faults.complete = 0;
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    assert_int_equal(place_count_blobs(p), 1);
}

static void test_a_failure_is_stored_in_the_end(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    faults.fail = 2;
    fake_engine.status = EASEL_FORMAT;
    place_start(p);
    submit(p, id);
    assert_task(p, id, TASK_FAILED, 1, "the engine says 5");
    place_finish(p);
}

static void test_references_that_cannot_be_read(void **state)
{
    struct place *p = *state;
    struct errmsg em;
    char id[TASK_ID_CHARS + 1], name[BLOB_NAME_CHARS + 1];
    struct gen_request r = simple_request("a cat");
    assert_ok(blobs_put(p->blobs, "png", "a reference", 11, name, &em));
    r.references[0] = name;
    r.n_references = 1;
    p->options.patience_ms = 400;
    faults.get = 1;
    place_start(p);
    place_submit(p, &r, id);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    faults.get = 1000000;
    place_submit(p, &r, id);
    assert_task(p, id, TASK_FAILED, 1,
                "a reference picture cannot be read here any more; send the task again");
    place_finish(p);
    assert_non_null(strstr(p->log, "reference picture 1: a made-up fault"));
}

static void test_a_store_that_refuses(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    submit(p, id);
    faults.claim = 3;
    place_start(p);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    faults.claim = 1000000;
    p->options.patience_ms = 200;
    place_start(p);
    place_join(p, ERR_IO);
    assert_non_null(strstr(p->message.text, "a made-up fault of claim"));
    assert_int_equal(fake_engine.n_closed, 2);
}

/* An idle worker sees a new task at once, and costs next to nothing. */
static void test_idle(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    fake_engine.n_steps = 0;
    place_start(p);
    sleep_ms(400);
    double start = clock_now_s();
    submit(p, id);
    wait_for_drawing(1);
    assert_true(clock_now_s() - start < 0.5);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
}

/* It takes the event away, and works as before. */
static void test_woken_by_an_event(void **state)
{
    struct place *p = *state;
    char id[TASK_ID_CHARS + 1];
    uint64_t count = 1;
    int event = eventfd(0, EFD_NONBLOCK);
    assert_true(event >= 0);
    fake_engine.n_steps = 0;
    p->options.wake_fd = &event;
    place_start(p);
    assert_int_equal(write(event, &count, sizeof count), sizeof count);
    double end = clock_now_s() + 20;
    struct pollfd look = {.fd = event, .events = POLLIN};
    while (poll(&look, 1, 0) == 1 && clock_now_s() < end)
        sleep_ms(1);
    assert_int_equal(poll(&look, 1, 0), 0);
    submit(p, id);
    assert_task(p, id, TASK_COMPLETED, 1, NULL);
    place_finish(p);
    close(event);
}

/* What is always readable and never says anything must not keep a processor busy. */
static void test_an_event_that_is_none(void **state)
{
    struct place *p = *state;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(null >= 0);
    p->options.wake_fd = &null;
    place_start(p);
    sleep_ms(200);
    clock_t before = clock();
    sleep_ms(1000);
    assert_true(clock() - before < CLOCKS_PER_SEC / 2);
    place_finish(p);
    close(null);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cancel),
        TEST(test_stop_hands_back),
        TEST(test_finish_completes),
        TEST(test_a_lost_lease),
        TEST(test_a_lease_lost_at_the_end),
        TEST(test_the_lease_is_kept_in_silence),
        TEST(test_a_stall),
        TEST(test_errors_of_one_task),
        TEST(test_an_accelerator_that_fails),
        TEST(test_previews_and_progress),
        TEST(test_progress_is_not_needed),
        TEST(test_a_result_that_is_stored_at_the_third_try),
        TEST(test_results_that_cannot_be_stored),
        TEST(test_stop_does_not_wait_for_a_full_disk),
        TEST(test_a_full_disk_is_waited_for),
        TEST(test_a_completion_that_only_seemed_to_fail),
        TEST(test_a_completion_that_never_works),
        TEST(test_a_failure_is_stored_in_the_end),
        TEST(test_references_that_cannot_be_read),
        TEST(test_a_store_that_refuses),
        TEST(test_idle),
        TEST(test_woken_by_an_event),
        TEST(test_an_event_that_is_none),
    };
    return cmocka_run_group_tests_name("worker_faults", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* store/: a process that writes is killed at random moments. What it was told is committed is
 * there, the file is sound, and what it held goes back to the queue. */
#include "store/store_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define ROUNDS 20
#define N_WRITERS 4

struct writer_ctx {
    struct store *st;
    int64_t key_id;
    int pipe;
};

/* Says each id only after it was acknowledged. A write of so few bytes is whole or not at all. */
static void *write_tasks(void *arg)
{
    struct writer_ctx *w = arg;
    struct errmsg em;
    struct gen_request r = some_request();
    char url[] = "https://example.org/";
    struct task_new n = {.key_id = w->key_id, .request = &r, .cost_microcredits = 1};
    r.webhook_url = url;
    for (;;) {
        struct task t;
        bool existing;
        if (store_task_create(w->st, &n, &t, &existing, &em))
            _exit(1);
        if (write(w->pipe, t.id, TASK_ID_CHARS) != (ssize_t)TASK_ID_CHARS)
            _exit(1);
        task_deinit(&t);
        if (!store_task_claim(w->st, "doomed", 60000, &t, &em))
            task_deinit(&t);
    }
    return NULL;
}

static void be_killed(const char *path, int64_t key_id, int pipe)
{
    struct errmsg em;
    struct writer_ctx w = {.key_id = key_id, .pipe = pipe};
    struct store_options o = {.path = path, .queue_max = 1000000};
    pthread_t threads[N_WRITERS];
    if (store_open(&o, &w.st, &em))
        _exit(1);
    for (int i = 0; i < N_WRITERS; i++)
        if (pthread_create(&threads[i], NULL, write_tasks, &w))
            _exit(1);
    pthread_join(threads[0], NULL);
    _exit(1);
}

/* A task that was acknowledged is there, with the webhook that its creation owes. */
static void check_one(struct fixture *f, const char *id)
{
    char sql[200], count[256];
    enum task_state s = state_of(f->st, id);
    assert_true(s == TASK_CREATED || s == TASK_IN_PROGRESS);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM outbox JOIN tasks USING (seq) WHERE tasks.id = '%s' AND"
             " outbox.state = 0",
             id);
    fixture_ask(f->path, sql, count);
    assert_string_equal(count, "1");
}

/* false: there are no more. */
static bool read_id(int pipe, char id[TASK_ID_CHARS + 1])
{
    id[TASK_ID_CHARS] = 0;
    return read(pipe, id, TASK_ID_CHARS) == (ssize_t)TASK_ID_CHARS;
}

/* Start a process that writes, and kill it; *ids is the pipe with what was acknowledged, less the
 * first one: every other round waits for that, so that some surely are. */
static void start_and_kill(struct fixture *f, unsigned delay_us, bool wait_for_first,
                           char first[TASK_ID_CHARS + 1], int *ids)
{
    int fds[2], status;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        be_killed(f->path, f->key_id, fds[1]);
    close(fds[1]);
    if (wait_for_first)
        assert_true(read_id(fds[0], first));
    usleep(delay_us);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status)); /* it had not failed before */
    *ids = fds[0];
}

static void test_killed_writers(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(1000000);
    uint32_t r = (uint32_t)getpid();
    char id[TASK_ID_CHARS + 1], count[256];
    print_message("# seed %u\n", r);
    for (int round = 0; round < ROUNDS; round++) {
        int ids;
        size_t n;
        bool waits = round % 2;
        store_close(f->st); /* connections do not go through a fork */
        r = r * 1664525u + 1013904223u;
        start_and_kill(f, (r >> 8) % 60000, waits, id, &ids);
        fixture_open(f, 1000000);
        if (waits)
            check_one(f, id);
        while (read_id(ids, id))
            check_one(f, id);
        close(ids);
        assert_ok(store_sweep_leases(f->st, "doomed", &n, &em));
        assert_sound(f->path);
        fixture_ask(f->path, "SELECT count(*) FROM tasks WHERE state = 1", count);
        assert_string_equal(count, "0");
    }
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_writers),
    };
    return cmocka_run_group_tests_name("store_crash", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* store/: many threads and two processes on one file. */
#include "store/store_test.h"

#include <pthread.h>
#include <sys/wait.h>

#define N_THREADS 8
#define N_EACH 40

struct crew {
    struct fixture *f;
    int64_t key_id;
    char created[N_EACH][TASK_ID_CHARS + 1];
    char claimed[N_THREADS * N_EACH][TASK_ID_CHARS + 1];
    size_t n_claimed;
    char name[16];
    enum err rc;
    struct errmsg em;
};

static void *create_many(void *arg)
{
    struct crew *c = arg;
    struct gen_request r = some_request();
    struct task_new n = {.key_id = c->key_id, .request = &r, .cost_microcredits = 1};
    for (int i = 0; i < N_EACH && !c->rc; i++) {
        struct task t;
        bool existing;
        c->rc = store_task_create(c->f->st, &n, &t, &existing, &c->em);
        if (c->rc)
            break;
        memcpy(c->created[i], t.id, TASK_ID_CHARS + 1);
        task_deinit(&t);
        c->rc = store_task_get(c->f->st, c->created[i], c->key_id, &t, &c->em);
        if (!c->rc)
            task_deinit(&t);
    }
    return NULL;
}

static void *claim_many(void *arg)
{
    struct crew *c = arg;
    for (;;) {
        struct task t;
        c->rc = store_task_claim(c->f->st, c->name, 60000, &t, &c->em);
        if (c->rc)
            break;
        struct task_result r = {.blob = "b"};
        struct task_progress p = {.stage = "x", .preview = "J", .preview_len = 1};
        bool cancel;
        memcpy(c->claimed[c->n_claimed++], t.id, TASK_ID_CHARS + 1);
        task_deinit(&t);
        c->rc = store_task_progress(c->f->st, c->claimed[c->n_claimed - 1], c->name, 1000, &p,
                                    &cancel, &c->em);
        if (!c->rc)
            c->rc =
                store_task_complete(c->f->st, c->claimed[c->n_claimed - 1], c->name, &r, &c->em);
        if (c->rc)
            break;
    }
    return NULL;
}

static void run_crew(struct crew *crew, void *(*fn)(void *))
{
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fn, &crew[i]), 0);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void assert_all_claimed_once(const struct crew *crew)
{
    static char ids[2][N_THREADS * N_EACH][TASK_ID_CHARS + 1];
    size_t n = 0;
    for (int i = 0; i < N_THREADS; i++) {
        memcpy(ids[0][i * N_EACH], crew[i].created, sizeof crew[i].created);
        for (size_t k = 0; k < crew[i].n_claimed; k++) {
            assert_true(n < N_THREADS * N_EACH);
            memcpy(ids[1][n++], crew[i].claimed[k], TASK_ID_CHARS + 1);
        }
    }
    assert_int_equal(n, N_THREADS * N_EACH);
    for (int i = 0; i < 2; i++)
        qsort(ids[i], n, sizeof ids[i][0], compare_ids);
    assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
}

static void test_threads_create_and_claim(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(1000);
    struct crew *crew = calloc(N_THREADS, sizeof *crew);
    struct store_stats s;
    assert_non_null(crew);
    int64_t credits = N_THREADS * N_EACH / 2, anna = fixture_key(f, "anna", credits);
    for (int i = 0; i < N_THREADS; i++) {
        crew[i].f = f;
        crew[i].key_id = i % 2 ? f->key_id : anna;
        snprintf(crew[i].name, sizeof crew[i].name, "w%d", i);
    }
    run_crew(crew, create_many);
    for (int i = 0; i < N_THREADS; i++)
        if (crew[i].rc)
            fail_msg("thread %d: %s", i, crew[i].em.text);
    assert_int_equal(credits_of(f->st, anna), 0);
    run_crew(crew, claim_many);
    for (int i = 0; i < N_THREADS; i++)
        if (crew[i].rc != ERR_EMPTY)
            fail_msg("thread %d: %s", i, crew[i].em.text);
    assert_all_claimed_once(crew);
    assert_ok(store_stats(f->st, &s, &em));
    assert_int_equal(s.n_completed, N_THREADS * N_EACH);
    assert_int_equal(s.n_created + s.n_in_progress, 0);
    free(crew);
    assert_sound(f->path);
    fixture_free(f);
}

/* One call that fails takes nobody else's work of the same transaction with it. */
static void *create_too_dear(void *arg)
{
    struct crew *c = arg;
    struct gen_request r = some_request();
    struct task_new n = {.key_id = c->key_id, .request = &r, .cost_microcredits = 10};
    for (int i = 0; i < N_EACH; i++) {
        struct task t;
        bool existing;
        enum err rc = store_task_create(c->f->st, &n, &t, &existing, &c->em);
        if (!rc) {
            task_deinit(&t);
            c->n_claimed++;
        } else if (rc != ERR_NOCREDITS) {
            c->rc = rc;
        }
    }
    return NULL;
}

static void test_failures_in_a_group_are_alone(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(10000);
    struct crew *crew = calloc(N_THREADS, sizeof *crew);
    assert_non_null(crew);
    int64_t anna = fixture_key(f, "anna", 75);
    for (int i = 0; i < N_THREADS; i++) {
        crew[i].f = f;
        crew[i].key_id = i % 2 ? f->key_id : anna;
    }
    run_crew(crew, create_too_dear);
    size_t n_poor = 0, n_rich = 0;
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(crew[i].rc, ERR_OK);
        *(i % 2 ? &n_rich : &n_poor) += crew[i].n_claimed;
    }
    assert_int_equal(n_poor, 7);
    assert_int_equal(n_rich, N_THREADS / 2 * N_EACH);
    assert_int_equal(credits_of(f->st, anna), 5);
    free(crew);
    assert_sound(f->path);
    fixture_free(f);
}

/* ---- two processes ---- */

/* Claims and completes until n are done; returns how many, or -1. */
static int work(const char *path, const char *name, int n)
{
    struct errmsg em;
    struct store *st;
    struct store_options o = {.path = path, .must_exist = true};
    if (store_open(&o, &st, &em))
        return -1;
    int n_done = 0;
    for (int idle = 0; n_done < n && idle < 2000;) {
        struct task t;
        struct task_result r = {.blob = "b"};
        enum err rc = store_task_claim(st, name, 60000, &t, &em);
        if (rc == ERR_EMPTY) {
            idle++;
            usleep(1000);
            continue;
        }
        if (rc || store_task_complete(st, t.id, name, &r, &em))
            return -1;
        task_deinit(&t);
        n_done++;
    }
    store_close(st);
    return n_done;
}

static void test_two_processes(void **state)
{
    (void)state;
    struct errmsg em;
    struct fixture *f = fixture_new(0);
    struct store_stats s;
    char id[TASK_ID_CHARS + 1];
    store_close(f->st); /* connections do not go through a fork */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(work(f->path, "child", 60) == 60 ? 0 : 1);
    fixture_open(f, 0);
    for (int i = 0; i < 60; i++)
        create_task(f->st, f->key_id, id);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_ok(store_stats(f->st, &s, &em));
    assert_int_equal(s.n_completed, 60);
    assert_sound(f->path);
    fixture_free(f);
}

/* Both find no file: one makes it, both use it, nothing else is left in the folder. */
static void test_two_processes_make_the_file(void **state)
{
    (void)state;
    struct errmsg em;
    char dir[] = "/tmp/easel-store-XXXXXX", path[64], count[256];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/easel.db", dir);
    struct store_options o = {.path = path};
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            struct store *st;
            struct api_key k;
            char name[2] = {(char)('a' + i), 0}, *text;
            if (store_open(&o, &st, &em) || store_key_create(st, name, 1, -1, &text, &k, &em))
                _exit(1);
            store_close(st);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    fixture_ask(path, "SELECT count(*) FROM api_keys", count);
    assert_string_equal(count, "4");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_create_and_claim),
        cmocka_unit_test(test_failures_in_a_group_are_alone),
        cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_two_processes_make_the_file),
    };
    return cmocka_run_group_tests_name("store_threads", tests, NULL, NULL);
}

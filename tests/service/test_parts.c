/* SPDX-License-Identifier: MIT */
/* service/: the log, the data folder, who is present, and the supervisor with workers that
 * are shell scripts. */
#include "test.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "service/data_dir.h"
#include "service/log.h"
#include "service/presence.h"
#include "service/supervisor.h"

#define PATIENCE_S 20.0

static char folder[64];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/easel-service-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *in_folder(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* The file's text; the caller frees it. */
static char *contents(const char *name)
{
    struct buf b = {0};
    struct errmsg em;
    assert_ok(file_read(in_folder(name), 1 << 20, &b, &em));
    return b.ptr ? (char *)b.ptr : strdup("");
}

/* ---- log ---- */

static void test_log_lines(void **state)
{
    (void)state;
    struct log *l = NULL;
    struct errmsg em;
    assert_ok(log_open(in_folder("log"), &l, &em));
    log_write(l, "info", "one\nerror forged\x1b[2J");
    log_printf(l, "error", "%d", 7);
    log_raw(l, "{\"raw\":1}");
    log_raw(NULL, "nowhere");
    log_close(l);
    char *text = contents("log");
    char *second = strchr(text, '\n') + 1, *third = strchr(second, '\n') + 1;
    assert_non_null(strstr(text, "Z info    one error forged [2J\n"));
    assert_int_equal(strspn(text, "0123456789-"), strlen("2026-01-31"));
    assert_string_equal(strchr(second, 'Z'), "Z error   7\n{\"raw\":1}\n");
    assert_string_equal(third, "{\"raw\":1}\n");
    free(text);
}

static void test_log_cuts_long_lines(void **state)
{
    (void)state;
    static char longer[3 * LOG_LINE_BYTES_MAX];
    struct log *l = NULL;
    struct errmsg em;
    memset(longer, 'x', sizeof longer - 1);
    assert_ok(log_open(in_folder("log"), &l, &em));
    log_write(l, "info", longer);
    log_printf(l, "info", "%s", longer);
    log_raw(l, longer);
    log_close(l);
    char *text = contents("log"), *line = text;
    for (int i = 0; i < 3; i++) {
        size_t len = strcspn(line, "\n");
        assert_in_range(len, LOG_LINE_BYTES_MAX - 8, LOG_LINE_BYTES_MAX);
        line += len + 1;
    }
    assert_string_equal(line, "");
    free(text);
}

static void test_log_reopen(void **state)
{
    (void)state;
    struct log *l = NULL;
    struct errmsg em;
    char rotated[160];
    assert_ok(log_open(in_folder("log"), &l, &em));
    snprintf(rotated, sizeof rotated, "%s", in_folder("log.1"));
    assert_int_equal(rename(in_folder("log"), rotated), 0);
    log_raw(l, "old");
    assert_ok(log_reopen(l, &em));
    log_raw(l, "new");
    char *old = contents("log.1"), *new = contents("log");
    assert_string_equal(old, "old\n");
    assert_string_equal(new, "new\n");
    free(old);
    free(new);
    /* where it cannot be opened any more, the file that is open stays */
    assert_int_equal(unlink(in_folder("log")), 0);
    assert_int_equal(mkdir(in_folder("log"), 0700), 0);
    assert_fails(log_reopen(l, &em), ERR_IO, "log");
    log_raw(l, "still there");
    log_close(l);
    assert_fails(log_open(in_folder("no/such"), &l, &em), ERR_IO, "no/such");
}

/* ---- the data folder ---- */

static void test_data_dir_is_made_and_locked(void **state)
{
    (void)state;
    struct data_dir first, second;
    struct errmsg em;
    struct stat st;
    char pid[24];
    assert_ok(data_dir_open_locked(in_folder("a/b/data"), &first, &em));
    assert_int_equal(stat(in_folder("a/b/data"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_true(file_is_dir(first.blobs) && file_is_dir(first.temporary));
    assert_fails(data_dir_open_locked(in_folder("a/b/data"), &second, &em), ERR_CONFLICT, "--data");
    snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(em.text, pid));
    data_dir_close(&first);
    assert_ok(data_dir_open_locked(in_folder("a/b/data"), &first, &em));
    data_dir_close(&first);
    data_dir_close(&first); /* again is fine */
}

static void test_data_dir_of_a_worker_must_be_a_servers(void **state)
{
    (void)state;
    struct data_dir d;
    struct errmsg em;
    assert_fails(data_dir_open(in_folder("data"), &d, &em), ERR_NOTFOUND, "--data");
    assert_false(file_exists(in_folder("data")));
    assert_ok(data_dir_open_locked(in_folder("data"), &d, &em));
    data_dir_close(&d);
    assert_fails(data_dir_open(in_folder("data"), &d, &em), ERR_NOTFOUND,
                 "--data"); /* no database yet */
    assert_ok(file_write_atomic(in_folder("data/easel.db"), "x", 1, &em));
    assert_ok(data_dir_open(in_folder("data"), &d, &em));
    assert_int_equal(d.lock_fd, -1);
    data_dir_close(&d);
}

/* ---- presence ---- */

struct roll {
    char gone[256]; /* names, each followed by a space */
    bool forget;
};

static bool note_gone(void *ctx, const char *name)
{
    struct roll *r = ctx;
    size_t n = strlen(r->gone);
    snprintf(r->gone + n, sizeof r->gone - n, "%s ", name);
    return r->forget;
}

static size_t call_roll(struct roll *r)
{
    struct errmsg em;
    size_t n_alive = 99;
    r->gone[0] = '\0';
    assert_ok(presence_call_roll(folder, note_gone, r, &n_alive, &em));
    return n_alive;
}

static void test_presence(void **state)
{
    (void)state;
    struct roll r = {.forget = true};
    struct errmsg em;
    int fd;
    assert_int_equal(call_roll(&r), 0);
    assert_ok(presence_enter(folder, "anna", &fd, &em));
    assert_int_equal(call_roll(&r), 1);
    assert_string_equal(r.gone, "");
    assert_fails(presence_enter(folder, "anna", &fd, &em), ERR_CONFLICT, "anna");
    presence_leave(folder, "anna", fd);
    assert_int_equal(call_roll(&r), 0);
    assert_string_equal(r.gone, "");
}

static void test_presence_ends_with_the_process(void **state)
{
    (void)state;
    struct roll r = {.forget = false};
    int fd, ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (presence_enter(folder, "bert", &fd, NULL) || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(call_roll(&r), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(call_roll(&r), 0);
    assert_string_equal(r.gone, "bert ");
    r.forget = true; /* until somebody could deal with it, it is told again */
    assert_int_equal(call_roll(&r), 0);
    assert_string_equal(r.gone, "bert ");
    assert_int_equal(call_roll(&r), 0);
    assert_string_equal(r.gone, "");
}

static void test_presence_names(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", ".", "..", ".hidden", "a/b", "../a", "a b", "é"};
    char name[WORKER_NAME_CHARS_MAX + 1], other[WORKER_NAME_CHARS_MAX + 1];
    struct errmsg em;
    int fd;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(presence_enter(folder, wrong[i], &fd, &em), ERR_USAGE, "name");
    assert_ok(presence_new_name(name, &em));
    assert_ok(presence_new_name(other, &em));
    assert_string_not_equal(name, other);
    assert_ok(presence_enter(folder, name, &fd, &em));
    presence_leave(folder, name, fd);
}

/* ---- the supervisor ---- */

struct watch {
    struct service_options service;
    struct supervisor *s;
    struct log *log;
    unsigned n_deaths;
};

static void count_death(void *ctx)
{
    ((struct watch *)ctx)->n_deaths++;
}

/* A supervisor of n workers that run this script in the folder. */
static void watch_init(struct watch *w, unsigned n_workers, double silent_max_s, const char *script)
{
    struct errmsg em;
    static char program[160];
    char text[1024];
    int len = snprintf(text, sizeof text, "#!/bin/sh\ncd %s\n%s\n", folder, script);
    snprintf(program, sizeof program, "%s", in_folder("program"));
    assert_ok(file_write_atomic(program, text, (size_t)len, &em));
    assert_int_equal(chmod(program, 0700), 0);
    *w = (struct watch){.n_deaths = 0};
    service_defaults(&w->service);
    w->service.data_dir = folder;
    w->service.program = program;
    w->service.n_workers = n_workers;
    assert_ok(log_open(in_folder("log"), &w->log, &em));
    struct supervisor_options o = {.service = &w->service,
                                   .log = w->log,
                                   .silent_max_s = silent_max_s,
                                   .on_death = count_death,
                                   .ctx = w};
    assert_ok(supervisor_new(&o, &w->s, &em));
}

static void watch_deinit(struct watch *w)
{
    supervisor_free(w->s);
    log_close(w->log);
}

/* Tend until so many are ready and have died; its error if it gives up. */
static enum err tend_until(struct watch *w, unsigned n_ready, unsigned n_deaths, struct errmsg *em)
{
    struct pollfd fds[WORKERS_MAX];
    double until = clock_now_s() + PATIENCE_S;
    enum err rc = ERR_OK;
    while (!rc && (supervisor_n_ready(w->s) != n_ready || w->n_deaths < n_deaths)) {
        assert_true(clock_now_s() < until);
        rc = supervisor_tend(w->s, em);
        int ms = supervisor_timeout_ms(w->s);
        (void)poll(fds, supervisor_poll_fds(w->s, fds), ms < 20 ? ms : 20);
    }
    return rc;
}

static void test_supervisor_starts_and_stops(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    watch_init(&w, 2, 0,
               "trap 'echo \"$4 finished\" >>trace; exit 0' INT\n"
               "echo ready >&3; while :; do sleep 0.05; done");
    assert_ok(tend_until(&w, 2, 0, &em));
    double started = clock_now_s();
    supervisor_stop(w.s, 10);
    assert_true(clock_now_s() - started < 8);
    assert_int_equal(supervisor_n_ready(w.s), 0);
    assert_int_equal(w.n_deaths, 2);
    watch_deinit(&w);
    char *trace = contents("trace");
    assert_non_null(strstr(trace, " finished\n"));
    free(trace);
}

static void test_supervisor_hands_back_after_grace(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    watch_init(&w, 1, 0,
               "trap '' INT\ntrap 'echo handed back >>trace; exit 0' USR1\n"
               "echo ready >&3; while :; do sleep 0.05; done");
    assert_ok(tend_until(&w, 1, 0, &em));
    supervisor_stop(w.s, 0);
    assert_int_equal(w.n_deaths, 1);
    watch_deinit(&w);
    char *trace = contents("trace");
    assert_string_equal(trace, "handed back\n");
    free(trace);
}

static void test_supervisor_restarts_with_backoff(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    /* ready, then it dies: three times */
    watch_init(&w, 1, 0,
               "echo x >>starts\necho ready >&3\n"
               "[ $(wc -l <starts) -ge 4 ] && exec sleep 60\nkill -9 $$");
    double started = clock_now_s();
    assert_ok(tend_until(&w, 1, 3, &em));
    double took = clock_now_s() - started;
    assert_int_equal(w.n_deaths, 3);
    assert_true(took >= 0.2 + 0.4 + 0.8); /* the pauses between */
    watch_deinit(&w);
    char *log = contents("log");
    assert_non_null(strstr(log, "ended: killed by signal 9 (Killed); starting it again in 0.2 s"));
    assert_non_null(strstr(log, "starting it again in 0.8 s"));
    free(log);
}

static void test_supervisor_gives_up_at_the_first_start(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    watch_init(&w, 1, 0, "echo 'error the model is no model' >&3; exit 3");
    assert_fails(tend_until(&w, 1, 0, &em), ERR_UNSUPPORTED, "the model is no model");
    watch_deinit(&w);
    watch_init(&w, 1, 0, "exit 1");
    assert_fails(tend_until(&w, 1, 0, &em), ERR_UNSUPPORTED,
                 "ended 3 times before its model was open: exit status 1");
    watch_deinit(&w);
}

static void test_supervisor_does_not_give_up_later(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    watch_init(&w, 1, 0,
               "echo x >>starts\n"
               "case $(wc -l <starts) in\n"
               "1) echo ready >&3; exit 0;;\n"
               "2) echo 'error the store is away' >&3; exit 3;;\n"
               "*) echo ready >&3; exec sleep 60;;\nesac");
    assert_ok(tend_until(&w, 1, 2, &em));
    watch_deinit(&w);
    char *log = contents("log");
    assert_non_null(strstr(log, "ended: the store is away; starting it again"));
    free(log);
}

static void test_supervisor_kills_the_silent(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    watch_init(&w, 1, 0.3,
               "echo x >>starts; echo ready >&3\n"
               "[ $(wc -l <starts) -eq 1 ] && exec sleep 60\n"
               "while :; do echo alive >&3; sleep 0.05; done");
    assert_ok(tend_until(&w, 1, 1, &em));
    double until = clock_now_s() + 0.6; /* one that talks lives on */
    while (clock_now_s() < until) {
        assert_ok(supervisor_tend(w.s, &em));
        (void)poll(NULL, 0, 20);
    }
    assert_int_equal(w.n_deaths, 1);
    watch_deinit(&w);
}

/* The kernel takes a moment to end a process: it is not killed, and told of, at each look. */
static void test_supervisor_kills_once(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    watch_init(&w, 1, 0.3, "echo ready >&3; exec sleep 60");
    assert_ok(tend_until(&w, 1, 0, &em));
    (void)poll(NULL, 0, 400);
    for (int i = 0; i < 50 && w.n_deaths == 0; i++)
        assert_ok(supervisor_tend(w.s, &em));
    (void)tend_until(&w, 1, 1, &em);
    watch_deinit(&w);
    char *log = contents("log"), *told = strstr(log, "has been silent");
    assert_non_null(told);
    assert_null(strstr(told + 1, "has been silent"));
    free(log);
}

static void test_supervisor_reads_lines_whatever_their_length(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    watch_init(&w, 1, 0,
               "head -c 20000 /dev/zero | tr '\\0' x >&3; printf '\\nnonsense\\nrea' >&3\n"
               "sleep 0.1; printf 'dy\\n' >&3; exec sleep 60");
    assert_ok(tend_until(&w, 1, 0, &em));
    watch_deinit(&w);
}

static void test_workers_get_what_is_theirs(void **state)
{
    (void)state;
    struct watch w;
    struct errmsg em;
    int leak = fcntl(STDERR_FILENO, F_DUPFD, 50); /* without O_CLOEXEC, as a library might */
    assert_true(leak >= 50);
    setenv("EASEL_WEBHOOK_SECRET", "sesame-sesame-sesame", 1);
    setenv("EASEL_CPU", "scalar", 1);
    watch_init(&w, 1, 0,
               "env >environment; echo \"$*\" >arguments; ls /proc/$$/fd >files\n"
               "echo ready >&3; exec sleep 60");
    w.service.model = "some/model";
    w.service.n_threads = 3;
    w.service.previews = false;
    w.service.webhook_secret = "sesame-sesame-sesame";
    assert_ok(tend_until(&w, 1, 0, &em));
    watch_deinit(&w);
    close(leak);
    char *environment = contents("environment"), *arguments = contents("arguments");
    char *files = contents("files");
    assert_null(strstr(environment, "sesame"));
    assert_null(strstr(arguments, "sesame"));
    assert_non_null(strstr(environment, "EASEL_CPU=scalar"));
    assert_non_null(strstr(arguments, "--model some/model"));
    assert_non_null(strstr(arguments, "--threads 3"));
    assert_non_null(strstr(arguments, "--no-previews"));
    assert_non_null(strstr(arguments, "--result-hours 24"));
    /* besides 0 … 3, a shell may hold its script: where that is, the leak would not be */
    char name[16];
    snprintf(name, sizeof name, "\n%d\n", leak);
    assert_non_null(strstr(files, "\n3\n"));
    assert_null(strstr(files, name));
    free(environment);
    free(arguments);
    free(files);
    unsetenv("EASEL_WEBHOOK_SECRET");
    unsetenv("EASEL_CPU");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_log_lines),
        TEST(test_log_cuts_long_lines),
        TEST(test_log_reopen),
        TEST(test_data_dir_is_made_and_locked),
        TEST(test_data_dir_of_a_worker_must_be_a_servers),
        TEST(test_presence),
        TEST(test_presence_ends_with_the_process),
        TEST(test_presence_names),
        TEST(test_supervisor_starts_and_stops),
        TEST(test_supervisor_hands_back_after_grace),
        TEST(test_supervisor_restarts_with_backoff),
        TEST(test_supervisor_gives_up_at_the_first_start),
        TEST(test_supervisor_does_not_give_up_later),
        TEST(test_supervisor_kills_the_silent),
        TEST(test_supervisor_kills_once),
        TEST(test_supervisor_reads_lines_whatever_their_length),
        TEST(test_workers_get_what_is_theirs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

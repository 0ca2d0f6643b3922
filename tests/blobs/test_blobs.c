/* SPDX-License-Identifier: MIT */
/* blobs/: names, whole or not at all, what a crash leaves, a full disk. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "blobs/blobs.h"

struct fixture {
    char dir[64];
    char folder[80]; /* of the blobs, inside of dir */
    struct blobs *blobs;
};

static int setup(void **state)
{
    struct errmsg em;
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/easel-blobs-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->folder, sizeof f->folder, "%s/blobs", f->dir);
    assert_ok(blobs_open(f->folder, &f->blobs, &em));
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    blobs_close(f->blobs);
    assert_int_equal(nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(f);
    return 0;
}

static size_t count_files(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static size_t count_temporary(const struct fixture *f)
{
    char tmp[96];
    snprintf(tmp, sizeof tmp, "%s/tmp", f->folder);
    return count_files(tmp);
}

static void path_of(const struct fixture *f, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%.2s/%s", f->folder, name, name);
}

static void assert_content(struct blobs *b, const char *name, const void *bytes, size_t len)
{
    struct errmsg em;
    int fd = -1;
    uint64_t size = 0;
    time_t modified = 0;
    assert_ok(blobs_get(b, name, &fd, &size, &modified, &em));
    assert_int_equal(size, len);
    assert_true(llabs((long long)(time(NULL) - modified)) < 60);
    char *got = malloc(len + 1);
    assert_non_null(got);
    assert_int_equal(read(fd, got, len + 1), len);
    assert_memory_equal(got, bytes, len);
    free(got);
    close(fd);
}

static void assert_gone(struct blobs *b, const char *name)
{
    struct errmsg em;
    int fd = -1;
    uint64_t size;
    time_t modified;
    assert_int_equal(blobs_get(b, name, &fd, &size, &modified, &em), ERR_NOTFOUND);
    assert_int_equal(fd, -1);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(blob_name_valid("0123456789abcdef0123456789abcdef.png"));
    assert_true(blob_name_valid("0123456789abcdef0123456789abcdef.webp"));
    static const char *const bad[] = {
        "",
        ".png",
        "0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef.",
        "0123456789abcdef0123456789abcdef.gif",
        "0123456789abcdef0123456789abcdef.pngx",
        "0123456789abcdef0123456789abcdef.png/",
        "0123456789abcdef0123456789abcdef.png.png",
        "0123456789ABCDEF0123456789abcdef.png",
        "0123456789abcdef0123456789abcde.png",
        "0123456789abcdef0123456789abcdef0.png",
        "../../../../../../../etc/passwd.png",
        "..23456789abcdef0123456789abcdef.png",
        "ab/3456789abcdef0123456789abcdef.png",
        "0123456789abcdef0123456789abcdef\n.png",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (blob_name_valid(bad[i]))
            fail_msg("\"%s\" was taken for a name", bad[i]);
    assert_false(blob_name_valid(NULL));
    assert_string_equal(blob_media_type("0123456789abcdef0123456789abcdef.jpg"), "image/jpeg");
    assert_string_equal(blob_media_type("0123456789abcdef0123456789abcdef.webp"), "image/webp");
    assert_string_equal(blob_media_type("nothing"), "application/octet-stream");
}

static void test_put_get_delete(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    char name[BLOB_NAME_CHARS + 1], other[BLOB_NAME_CHARS + 1];
    static const char *const extensions[] = {"png", "jpg", "webp", "bin"};
    for (size_t i = 0; i < 4; i++) {
        assert_ok(blobs_put(f->blobs, extensions[i], "picture", 7, name, &em));
        assert_true(blob_name_valid(name));
        assert_string_equal(strchr(name, '.') + 1, extensions[i]);
        assert_content(f->blobs, name, "picture", 7);
        assert_ok(blobs_delete(f->blobs, name, &em));
        assert_gone(f->blobs, name);
        assert_ok(blobs_delete(f->blobs, name, &em));
    }
    assert_ok(blobs_put(f->blobs, "bin", "", 0, name, &em));
    assert_content(f->blobs, name, "", 0);
    assert_ok(blobs_put(f->blobs, "bin", "", 0, other, &em));
    assert_string_not_equal(name, other);
    assert_fails(blobs_put(f->blobs, "gif", "x", 1, name, &em), ERR_USAGE, "\".gif\"");
    assert_fails(blobs_put(f->blobs, "../x", "x", 1, name, &em), ERR_USAGE, "use png");
    assert_int_equal(count_temporary(f), 0);
}

static void test_private_and_on_two_levels(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    char name[BLOB_NAME_CHARS + 1], path[160];
    struct stat st;
    mode_t mask = umask(0);
    assert_ok(blobs_put(f->blobs, "png", "x", 1, name, &em));
    umask(mask);
    path_of(f, name, path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    *strrchr(path, '/') = '\0';
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(f->folder, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void test_a_writer_shows_nothing_before_its_commit(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    struct blob_writer *w = NULL, *aborted = NULL;
    char name[BLOB_NAME_CHARS + 1];
    char *block = calloc(1, 100000);
    assert_non_null(block);
    assert_ok(blob_writer_new(f->blobs, "jpg", &w, &em));
    assert_ok(blob_writer_new(f->blobs, "jpg", &aborted, &em));
    assert_ok(blob_writer_append(w, block, 99999, &em));
    assert_ok(blob_writer_append(w, "", 0, &em));
    assert_ok(blob_writer_append(w, "!", 1, &em));
    assert_ok(blob_writer_append(aborted, "x", 1, &em));
    assert_int_equal(count_temporary(f), 2);
    assert_int_equal(count_files(f->folder), 1);
    blob_writer_abort(aborted);
    assert_ok(blob_writer_commit(w, name, &em));
    block[99999] = '!';
    assert_content(f->blobs, name, block, 100000);
    assert_int_equal(count_temporary(f), 0);
    blob_writer_abort(NULL);
    free(block);
}

static void test_links_and_odd_files_are_no_blobs(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    char name[BLOB_NAME_CHARS + 1], path[160], secret[96], shelf[96], moved[96];
    assert_ok(blobs_put(f->blobs, "png", "x", 1, name, &em));
    path_of(f, name, path, sizeof path);
    snprintf(secret, sizeof secret, "%s/secret", f->dir);
    assert_ok(file_write_atomic(secret, "secret", 6, &em));

    int fd = -1;
    uint64_t size;
    time_t modified;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(secret, path), 0);
    assert_int_equal(blobs_get(f->blobs, name, &fd, &size, &modified, &em), ERR_IO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_gone(f->blobs, name);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_gone(f->blobs, name);
    assert_int_equal(rmdir(path), 0);

    /* a whole shelf that leads elsewhere */
    snprintf(shelf, sizeof shelf, "%s/%.2s", f->folder, name);
    snprintf(moved, sizeof moved, "%s/moved", f->dir);
    assert_int_equal(rename(shelf, moved), 0);
    assert_int_equal(symlink(moved, shelf), 0);
    assert_int_equal(blobs_get(f->blobs, name, &fd, &size, &modified, &em), ERR_IO);
    assert_int_equal(fd, -1);
}

struct listed {
    size_t n;
    struct blobs *blobs; /* to delete from, or NULL */
    const char *expected;
    unsigned age_s;
};

static void on_listed(void *ctx, const char *name, unsigned age_s)
{
    struct listed *l = ctx;
    struct errmsg em;
    l->n++;
    if (l->expected && !strcmp(l->expected, name))
        l->age_s = age_s;
    if (l->blobs)
        assert_ok(blobs_delete(l->blobs, name, &em));
}

static void make_old(const char *path, unsigned age_s)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - (time_t)age_s}, {0}};
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void test_list(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    char name[BLOB_NAME_CHARS + 1], path[160], stray[160];
    for (int i = 0; i < 40; i++)
        assert_ok(blobs_put(f->blobs, "png", "x", 1, name, &em));
    path_of(f, name, path, sizeof path);
    make_old(path, 5000);
    /* files that are none of ours are left alone */
    snprintf(stray, sizeof stray, "%s/%.2s/README", f->folder, name);
    assert_ok(file_write_atomic(stray, "x", 1, &em));
    snprintf(stray, sizeof stray, "%s/%.2s/%s", f->folder, name,
             name[0] == 'f' ? "0123456789abcdef0123456789abcdef.png"
                            : "ff23456789abcdef0123456789abcdef.png");
    assert_ok(file_write_atomic(stray, "x", 1, &em));

    struct listed l = {.expected = name};
    assert_ok(blobs_list(f->blobs, on_listed, &l, &em));
    assert_int_equal(l.n, 40);
    assert_in_range(l.age_s, 5000, 5060);
    l = (struct listed){.blobs = f->blobs};
    assert_ok(blobs_list(f->blobs, on_listed, &l, &em));
    assert_int_equal(l.n, 40);
    l = (struct listed){0};
    assert_ok(blobs_list(f->blobs, on_listed, &l, &em));
    assert_int_equal(l.n, 0);
}

static void make_all_temporary_old(const struct fixture *f)
{
    char tmp[96], path[400];
    snprintf(tmp, sizeof tmp, "%s/tmp", f->folder);
    DIR *d = opendir(tmp);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", tmp, e->d_name);
        make_old(path, 3600);
    }
    closedir(d);
}

static void test_sweep_takes_what_a_crash_left(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    struct blob_writer *w = NULL;
    char left[160], young[160], strange[160], name[BLOB_NAME_CHARS + 1];
    snprintf(left, sizeof left, "%s/tmp/0123456789abcdef0123456789abcdef", f->folder);
    snprintf(young, sizeof young, "%s/tmp/1123456789abcdef0123456789abcdef", f->folder);
    snprintf(strange, sizeof strange, "%s/tmp/notes.txt", f->folder);
    assert_ok(blob_writer_new(f->blobs, "png", &w, &em));
    assert_ok(blob_writer_append(w, "al", 2, &em));
    assert_ok(file_write_atomic(left, "x", 1, &em));
    assert_ok(file_write_atomic(strange, "x", 1, &em));
    make_all_temporary_old(f);
    assert_ok(file_write_atomic(young, "x", 1, &em));

    assert_ok(blobs_sweep_temporary(f->blobs, 600, &em));
    assert_false(file_exists(left));
    assert_true(file_exists(young));
    assert_true(file_exists(strange));
    /* a writer that lives keeps its file, however old the clock says it is */
    assert_ok(blob_writer_append(w, "ive", 3, &em));
    assert_ok(blob_writer_commit(w, name, &em));
    assert_content(f->blobs, name, "alive", 5);
}

static void test_folders_that_cannot_be_used(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    struct blobs *b = NULL;
    char path[160];
    snprintf(path, sizeof path, "%s/missing/blobs", f->dir);
    assert_fails(blobs_open(path, &b, &em), ERR_IO, "missing/blobs: No such file");
    snprintf(path, sizeof path, "%s/file", f->dir);
    assert_ok(file_write_atomic(path, "x", 1, &em));
    assert_fails(blobs_open(path, &b, &em), ERR_IO, "Not a directory");
    assert_null(b);
    blobs_close(NULL);
    /* two at a time, as two processes do */
    char name[BLOB_NAME_CHARS + 1];
    assert_ok(blobs_open(f->folder, &b, &em));
    assert_ok(blobs_put(b, "png", "x", 1, name, &em));
    blobs_close(b);
    assert_content(f->blobs, name, "x", 1);
}

struct putter {
    struct blobs *blobs;
    char names[50][BLOB_NAME_CHARS + 1];
};

static void *put_many(void *arg)
{
    struct putter *p = arg;
    struct errmsg em;
    for (size_t i = 0; i < 50; i++)
        if (blobs_put(p->blobs, "png", p->names, i, p->names[i], &em))
            p->names[i][0] = '\0';
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    struct putter putters[4] = {0};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        putters[i].blobs = f->blobs;
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &putters[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct listed l = {0};
    assert_ok(blobs_list(f->blobs, on_listed, &l, &em));
    assert_int_equal(l.n, 200);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 50; j++)
            assert_true(blob_name_valid(putters[i].names[j]));
}

/* On a disk of 64 KiB: refused with what to do, nothing left over, and room again later. */
static void test_a_full_disk(void **state)
{
    struct fixture *f = *state;
    struct errmsg em;
    struct blobs *b = NULL;
    char disk[96], name[BLOB_NAME_CHARS + 1], small[BLOB_NAME_CHARS + 1];
    snprintf(disk, sizeof disk, "%s/disk", f->dir);
    assert_int_equal(mkdir(disk, 0700), 0);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=64k"))
        skip_because("no tmpfs can be mounted here: %s", strerror(errno));
    char *block = calloc(1, 100000);
    enum err opened = blobs_open(disk, &b, &em);
    enum err first = blobs_put(b, "png", block, 1000, small, &em);
    struct errmsg full = {""};
    enum err refused = blobs_put(b, "png", block, 100000, name, &full);
    struct blob_writer *w = NULL;
    enum err begun = blob_writer_new(b, "png", &w, &em);
    enum err appended = blob_writer_append(w, block, 100000, &em);
    enum err committed = blob_writer_commit(w, name, &em);
    enum err no_room = blobs_probe(b, 100000, &em);
    enum err room = blobs_probe(b, 30000, &em);
    enum err again = blobs_put(b, "png", block, 30000, name, &em);
    free(block);
    blobs_close(b);
    assert_int_equal(umount(disk), 0); /* before anything may fail the test */

    assert_int_equal(opened, ERR_OK);
    assert_int_equal(first, ERR_OK);
    assert_int_equal(refused, ERR_FULL);
    assert_non_null(strstr(full.text, "the disk is full; free some space"));
    assert_int_equal(begun, ERR_OK);
    assert_int_equal(appended, ERR_FULL);
    assert_int_equal(no_room, ERR_FULL);
    assert_int_equal(room, ERR_OK);
    assert_int_equal(committed, ERR_FULL); /* half a blob never gets a name */
    assert_int_equal(again, ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_put_get_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_private_and_on_two_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_writer_shows_nothing_before_its_commit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_links_and_odd_files_are_no_blobs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep_takes_what_a_crash_left, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folders_that_cannot_be_used, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_disk, setup, teardown),
    };
    return cmocka_run_group_tests_name("blobs", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* base/: errors, buffers, files, the thread pool, number formats. */
#include "test.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cpu.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/size.h"
#include "base/utf8.h"

static void test_err_prefix(void **state)
{
    (void)state;
    struct errmsg em;
    assert_int_equal(err_set(&em, ERR_IO, "disk %d", 7), ERR_IO);
    assert_int_equal(err_prefix(&em, ERR_IO, "saving"), ERR_IO);
    assert_string_equal(em.text, "saving: disk 7");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

static void test_buf_grows_and_terminates(void **state)
{
    (void)state;
    struct errmsg em;
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        assert_ok(buf_printf(&b, &em, "%d,", i));
    assert_ok(buf_append(&b, "end", 3, &em));
    assert_int_equal(strlen((char *)b.ptr), b.len);
    assert_string_equal((char *)b.ptr + b.len - 7, "999,end");
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 2, &em), ERR_NOMEM);
    buf_deinit(&b);
    assert_null(b.ptr);
}

static void test_sizes_do_not_wrap(void **state)
{
    (void)state;
    size_t out;
    assert_false(mul_size(SIZE_MAX / 2, 3, &out));
    assert_false(add_size(SIZE_MAX, 1, &out));
    assert_true(mul_size(6, 7, &out));
    assert_int_equal(out, 42);
    assert_int_equal(div_up(10, 4), 3);
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t bad; /* the first byte that is no UTF-8; SIZE_MAX: none */
    } cases[] = {
        {"", SIZE_MAX},
        {"a\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf"
         "\xbf",
         SIZE_MAX},
        {"ab\x80", 2}, /* a continuation alone */
        {"a\xc3", 1},  /* cut short */
        {"\xe2\x82", 0},
        {"\xf0\x9f\x8d", 0},
        {"\xc3(", 0},    /* another character instead of a continuation */
        {"\xc1\xbf", 0}, /* overlong */
        {"\xe0\x9f\xbf", 0},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xed\xa0\x80", 0},     /* a surrogate */
        {"\xf4\x90\x80\x80", 0}, /* above U+10FFFF */
        {"\xf8\x88\x80\x80\x80", 0},
        {"\xff", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t offset = SIZE_MAX;
        assert_int_equal(utf8_valid(cases[i].text, strlen(cases[i].text), &offset),
                         cases[i].bad == SIZE_MAX);
        assert_int_equal(offset, cases[i].bad);
    }
    /* there and back */
    struct errmsg em;
    struct buf b = {0};
    for (uint32_t c = 1; c <= 0x10ffff; c += c < 0x3000 ? 1 : 0x101) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        uint32_t found = 0;
        b.len = 0;
        assert_ok(utf8_append(&b, c, &em));
        assert_int_equal(utf8_decode(b.ptr, b.len, &found), b.len);
        assert_int_equal(found, c);
    }
    buf_deinit(&b);
}

static void test_half_types_convert(void **state)
{
    (void)state;
    assert_true(f32_from_f16(0x3c00) == 1.0f);
    assert_true(f32_from_f16(0xc000) == -2.0f);
    assert_true(f32_from_f16(0x0001) == 0x1p-24f);
    assert_true(f32_from_f16(0x7bff) == 65504.0f);
    assert_true(isinf(f32_from_f16(0x7c00)) && isnan(f32_from_f16(0x7e00)));
    /* ties go to the even neighbour */
    assert_int_equal(bf16_from_f32(1.00390625f), 0x3f80);
    assert_int_equal(bf16_from_f32(1.01171875f), 0x3f82);
    assert_true(isnan(f32_from_bf16(bf16_from_f32(NAN))));
    for (uint32_t h = 0; h < 0x7f80; h++)
        assert_int_equal(bf16_from_f32(f32_from_bf16((uint16_t)h)), h);
    uint16_t unaligned[3] = {0, 0x3f80, 0x4000};
    assert_true(f32_load((char *)unaligned + 2, DTYPE_BF16, 1) == 2.0f);
}

static char *content(const char *path)
{
    struct errmsg em;
    struct buf b = {0};
    assert_ok(file_read(path, 1000, &b, &em));
    return (char *)b.ptr;
}

static void assert_content(const char *path, const char *wanted)
{
    char *found = content(path);
    assert_string_equal(found, wanted);
    free(found);
}

/* Links are written through; devices and FIFOs are not made files; any name that the system
 * takes is taken; the permissions are those of any new file. */
static void test_writing_leaves_what_is_there(void **state)
{
    (void)state;
    struct errmsg em;
    struct stat st;
    char dir[] = "/tmp/easel-base-XXXXXX", name[NAME_MAX + 1];
    assert_non_null(mkdtemp(dir));
    char *file = path_join(dir, "file"), *link = path_join(dir, "link"),
         *fifo = path_join(dir, "fifo");
    assert_ok(file_write_atomic(file, "old", 3, &em));
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
    assert_int_equal(symlink("file", link), 0);
    assert_ok(file_write_atomic(link, "new", 3, &em));
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_content(file, "new");

    assert_int_equal(mkfifo(fifo, 0600), 0);
    int reader = open(fifo, O_RDONLY | O_NONBLOCK);
    char got[8] = "";
    assert_ok(file_write_atomic(fifo, "abc", 3, &em));
    assert_int_equal(read(reader, got, sizeof got - 1), 3);
    assert_string_equal(got, "abc");
    close(reader);
    assert_int_equal(stat(fifo, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));

    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    char *longest = path_join(dir, name);
    assert_ok(file_write_atomic(longest, "long", 4, &em));
    assert_content(longest, "long");
    assert_fails(file_write_atomic(dir, "x", 1, &em), ERR_IO, "cannot write");

    char *const all[] = {file, link, fifo, longest};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(unlink(all[i]), 0);
        free(all[i]);
    }
    assert_int_equal(rmdir(dir), 0); /* no temporary file was left behind */
}

static void test_files(void **state)
{
    (void)state;
    struct errmsg em;
    char dir[] = "/tmp/easel-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *path = path_join(dir, "a");
    struct buf b = {0};
    assert_fails(file_read(path, 10, &b, &em), ERR_NOTFOUND, "a: No such file");
    assert_ok(file_write_atomic(path, "hello", 5, &em));
    assert_ok(file_read(path, 10, &b, &em));
    assert_string_equal((char *)b.ptr, "hello");
    assert_fails(file_read(path, 4, &b, &em), ERR_FORMAT, "too large");
    assert_int_equal(b.len, 5);
    assert_fails(file_read(dir, 4, &b, &em), ERR_FORMAT, "not a regular file");

    struct file_map map;
    assert_ok(file_map_open(&map, path, &em));
    assert_int_equal(map.len, 5);
    file_map_release_pages(&map);
    assert_memory_equal(map.ptr, "hello", 5);
    file_map_close(&map);

    assert_ok(file_write_atomic(path, "", 0, &em));
    assert_fails(file_map_open(&map, path, &em), ERR_FORMAT, "is empty");

    char *missing = path_join(dir, "none/a");
    assert_fails(file_write_atomic(missing, "x", 1, &em), ERR_IO, "cannot write");
    char *fifo = path_join(dir, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_fails(file_map_open(&map, fifo, &em), ERR_FORMAT, "not a regular file");
    unlink(fifo);
    unlink(path);
    assert_int_equal(rmdir(dir), 0); /* no temporary file was left behind */
    free(fifo);
    free(missing);
    free(path);
    buf_deinit(&b);
}

struct count_ctx {
    atomic_size_t hits[1000];
    atomic_uint worst_worker;
};

static void count_task(void *arg, size_t task, unsigned worker)
{
    struct count_ctx *c = arg;
    atomic_fetch_add(&c->hits[task], 1);
    if (worker > atomic_load(&c->worst_worker))
        atomic_store(&c->worst_worker, worker);
}

static void test_pool_runs_each_task_once(void **state)
{
    (void)state;
    struct errmsg em;
    for (unsigned n = 1; n <= 5; n++) {
        struct pool *p;
        assert_ok(pool_new(n, &p, &em));
        assert_int_equal(pool_n_threads(p), n);
        struct count_ctx *c = calloc(1, sizeof *c);
        assert_non_null(c);
        for (int round = 0; round < 200; round++)
            pool_run(p, (size_t)(round % 7) * 100, count_task, c);
        size_t sum = 0;
        for (size_t i = 0; i < 1000; i++)
            sum += c->hits[i];
        size_t expected = 0;
        for (int round = 0; round < 200; round++)
            expected += (size_t)(round % 7) * 100;
        assert_int_equal(sum, expected);
        assert_true(c->worst_worker < n);
        free(c);
        pool_free(p);
    }
    struct pool *p;
    assert_fails(pool_new(100000, &p, &em), ERR_USAGE, "threads");
    pool_free(NULL);
}

static void test_cpu_levels(void **state)
{
    (void)state;
    struct errmsg em;
    enum cpu_level level;
    assert_ok(cpu_level_parse("scalar", &level, &em));
    assert_int_equal(level, CPU_SCALAR);
    assert_ok(cpu_level_parse("", &level, &em));
    assert_int_equal(level, cpu_detect());
    assert_fails(cpu_level_parse("neon", &level, &em), ERR_USAGE, "scalar, avx2 or avx512");
}

static size_t resident_bytes(void)
{
    size_t total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &total, &resident), 2);
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_memory_is_given_back_in_parts(void **state)
{
    (void)state;
    const size_t n = (size_t)64 << 20, first = ((size_t)8 << 20) + 5, len = (size_t)48 << 20;
    unsigned char *p = mem_alloc(n);
    assert_non_null(p);
    memset(p, 7, n);
    size_t before = resident_bytes();
    mem_discard(p + first, len);
    assert_true(resident_bytes() + ((size_t)40 << 20) < before);
    for (size_t i = 0; i < n; i++)
        if (p[i] != 7 && (i < first || i >= first + len))
            fail_msg("byte %zu is lost", i);
    mem_discard(p + 1, 3); /* no whole page */
    assert_int_equal(p[1], 7);
    mem_free(p);
}

static void test_memory_is_aligned_and_counted(void **state)
{
    (void)state;
    for (size_t n = 0; n < 100u << 20; n = n * 3 + 1) {
        char *p = mem_alloc(n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        if (n)
            p[n - 1] = 1;
        mem_free(p);
    }
    assert_true(mem_peak_bytes() > 0);
    assert_true(mem_available_bytes() > 0);
}

/* A model that was read leaves a container's memory full of cached pages; they are free. */
static void test_cgroup_room(void **state)
{
    (void)state;
    struct errmsg em;
    char dir[] = "/tmp/easel-base-XXXXXX";
    assert_non_null(mkdtemp(dir));
    static const struct {
        const char *name, *text;
        uint64_t room; /* from then on */
    } files[] = {
        {"memory.max", "8000000\n", UINT64_MAX},
        {"memory.current", "7900000\n", 100000},
        {"memory.stat",
         "anon 300000\nfile 7500000\ninactive_anon 300000\ninactive_file 7000000\n"
         "active_file 500000\n",
         7600000},
        {"memory.max", "max\n", UINT64_MAX},
        {"memory.max", "100000\n", 0}, /* less than is in use */
    };
    assert_true(mem_cgroup_room(dir) == UINT64_MAX);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = path_join(dir, files[i].name);
        assert_ok(file_write_atomic(path, files[i].text, strlen(files[i].text), &em));
        assert_true(mem_cgroup_room(dir) == files[i].room);
        free(path);
    }
    for (size_t i = 0; i < 3; i++) {
        char *path = path_join(dir, files[i].name);
        assert_int_equal(unlink(path), 0);
        free(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_prefix),
        cmocka_unit_test(test_buf_grows_and_terminates),
        cmocka_unit_test(test_sizes_do_not_wrap),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_half_types_convert),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_writing_leaves_what_is_there),
        cmocka_unit_test(test_pool_runs_each_task_once),
        cmocka_unit_test(test_cpu_levels),
        cmocka_unit_test(test_memory_is_given_back_in_parts),
        cmocka_unit_test(test_memory_is_aligned_and_counted),
        cmocka_unit_test(test_cgroup_room),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}

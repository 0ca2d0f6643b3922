/* SPDX-License-Identifier: MIT */
/* Weight files: what is written comes back, and what is wrong is refused by name. */
#include "test.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "formats/safetensors.h"

static struct errmsg em;
static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/easel-weights-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static size_t n_files(void)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int remove_dir(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    if (!d)
        return -1;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    return rmdir(dir);
}

static const char *in_dir(const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

/* A file of the given header and so many bytes of data. */
static struct buf make_file(const char *header, size_t n_data)
{
    struct buf b = {0};
    size_t len = strlen(header);
    uint8_t length[8];
    for (unsigned i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)len >> (8 * i));
    assert_ok(buf_append(&b, length, 8, &em));
    assert_ok(buf_append(&b, header, len, &em));
    for (size_t i = 0; i < n_data; i++)
        assert_ok(buf_append(&b, &(uint8_t){(uint8_t)i}, 1, &em));
    return b;
}

static void write_file(const char *name, const char *header, size_t n_data)
{
    struct buf b = make_file(header, n_data);
    assert_ok(file_write_atomic(in_dir(name), b.ptr, b.len, &em));
    buf_deinit(&b);
}

static void write_text(const char *name, const char *text)
{
    assert_ok(file_write_atomic(in_dir(name), text, strlen(text), &em));
}

static void refused(const void *bytes, size_t len, const char *message)
{
    struct weights *w = NULL;
    assert_fails(weights_open_memory(bytes, len, "w.safetensors", &w, &em), ERR_FORMAT, message);
    assert_null(w);
    assert_non_null(strstr(em.text, "w.safetensors"));
}

static void header_refused(const char *header, size_t n_data, const char *message)
{
    struct buf b = make_file(header, n_data);
    refused(b.ptr, b.len, message);
    buf_deinit(&b);
}

/* ---- reading ---- */

static void test_reads_a_file(void **state)
{
    (void)state;
    struct buf b =
        make_file("{\"__metadata__\":{\"format\":\"pt\"},"
                  "\"b\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[2,10]},"
                  "\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2]},"
                  "\"c\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[10,18]},"
                  "\"d\":{\"dtype\":\"F8_NEW\",\"shape\":[3],\"data_offsets\":[18,21]},"
                  "\"empty\":{\"dtype\":\"F16\",\"shape\":[0,9],\"data_offsets\":[2,2]}}  ",
                  21);
    struct weights *w;
    struct tensor t;
    assert_ok(weights_open_memory(b.ptr, b.len, "w.safetensors", &w, &em));
    assert_int_equal(weights_n_tensors(w), 5);
    assert_int_equal(weights_n_params(w), 1 + 2 + 1 + 3);
    assert_int_equal(weights_bytes(w), 21);
    assert_string_equal(weights_path(w), "w.safetensors");
    assert_ok(weights_get(w, "b", &t, &em));
    assert_string_equal(t.name, "b");
    assert_int_equal(t.n_dims, 2);
    assert_int_equal(t.shape[0], 2);
    assert_int_equal(t.n_elems, 2);
    assert_int_equal(t.dtype, DTYPE_F32);
    assert_int_equal(*(const uint8_t *)t.data, 2);
    assert_ok(weights_get(w, "a", &t, &em));
    assert_int_equal(t.n_dims, 0);
    assert_int_equal(t.n_elems, 1);
    assert_ok(weights_get(w, "empty", &t, &em));
    assert_int_equal(t.n_elems, 0);
    assert_ok(weights_get_shaped(w, "b", &t, &em, 2, (size_t)2, (size_t)1));
    assert_fails(weights_get_shaped(w, "b", &t, &em, 2, (size_t)2, (size_t)3), ERR_FORMAT,
                 "\"b\" has the shape [2, 1], the model needs [2, 3]");
    assert_fails(weights_get_shaped(w, "b", &t, &em, 1, (size_t)2), ERR_FORMAT, "needs [2]");
    assert_fails(weights_get(w, "c", &t, &em), ERR_UNSUPPORTED, "type I64");
    assert_fails(weights_get(w, "d", &t, &em), ERR_UNSUPPORTED, "type F8_NEW");
    assert_fails(weights_get(w, "zz", &t, &em), ERR_NOTFOUND, "w.safetensors: no tensor \"zz\"");
    assert_true(weights_has(w, "c"));
    assert_false(weights_has(w, "__metadata__"));
    assert_ok(weights_at(w, 0, &t, &em));
    assert_string_equal(t.name, "a");
    assert_fails(weights_at(w, 2, &t, &em), ERR_UNSUPPORTED, "I64");
    assert_fails(weights_at(w, 5, &t, &em), ERR_NOTFOUND, "5");
    weights_release_pages(w);
    weights_close(w);
    weights_close(NULL);
    buf_deinit(&b);
}

#define ONE(info) "{\"x\":{" info "}}"

static void test_bad_headers(void **state)
{
    (void)state;
    refused("", 0, "only 0 bytes");
    refused("1234567", 7, "only 7 bytes");
    refused("\0\0\0\0\0\0\0\0", 8, "not JSON");
    refused("\377\377\377\377\377\377\377\177{}", 10, "at most 67108864 can be");
    refused("\3\0\0\0\0\0\0\0{}", 10, "truncated: a header of 3 bytes in a file of 10");
    refused("version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull");
    header_refused("[]", 0, "not JSON");
    header_refused("{}", 0, "holds no tensors");
    header_refused("{\"x\":1}", 0, "has no element type");
    header_refused("{\"x\":", 0, "not valid JSON");
    header_refused("{\"__metadata__\":1}", 0, "\"__metadata__\" must be an object");
    header_refused("{\"\":{}}", 0, "name is empty or not printable");
    header_refused("{\"\\u001b[2J\":{}}", 0, "name is empty or not printable");
    header_refused("{\"x\":{},\"x\":{}}", 0, "duplicate object key");
    header_refused("{\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 0, "nested deeper");
    header_refused(ONE("\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]"), 4, "no element type");
    header_refused(ONE("\"dtype\":\"FFFFFFFFFFFFFFFFF\",\"shape\":[1],\"data_offsets\":[0,4]"), 4,
                   "no element type");
    header_refused(ONE("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "no \"shape\"");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1]"), 4, "no \"data_offsets\"");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]"), 4, "two numbers");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,-4]"), 4,
                   "two numbers");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]"), 4,
                   "two numbers");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4,
                   "before it starts");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 3,
                   "truncated: tensor \"x\" ends at byte 4 of 3");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,"
                       "9223372036854775807]"),
                   4, "truncated");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4,
                   "not made of sizes");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]"), 4,
                   "not made of sizes");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4,
                   "has 9 dimensions, at most 8");
    header_refused(
        ONE("\"dtype\":\"F32\",\"shape\":[4294967296,4294967297],\"data_offsets\":[0,4]"), 4,
        "too large");
    /* 2^62 elements of 32 bits wrap to 0 bits */
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]"),
                   0, "need another number");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4,
                   "has 4 bytes, its shape and type F32 need another");
    header_refused(ONE("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]"), 1, "need another");
    header_refused(ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 9,
                   "5 bytes after the last tensor");
}

static void test_overlap_and_gaps(void **state)
{
    (void)state;
    header_refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                   "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
                   8, "\"x\" and \"y\" overlap");
    header_refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                   "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                   4, "overlap");
    header_refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                   "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
                   12, "\"y\" follows a gap");
    header_refused("{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
                   "\"x\" follows a gap");
}

static void test_too_many_tensors(void **state)
{
    (void)state;
    struct buf header = {0};
    assert_ok(buf_append(&header, "{", 1, &em));
    for (unsigned i = 0; i < 100001; i++)
        assert_ok(buf_printf(&header, &em, "%s\"%u\":1", i ? "," : "", i));
    assert_ok(buf_append(&header, "}", 1, &em));
    header_refused((char *)header.ptr, 0, "100001 tensors, at most 100000");
    header.len = 0;
    assert_ok(buf_append(&header, "{\"x\":[", 6, &em));
    for (unsigned i = 0; i < 2000000; i++)
        assert_ok(buf_append(&header, "1,", 2, &em));
    header_refused((char *)header.ptr, 0, "more than 1600000 values");
    buf_deinit(&header);
}

/* ---- files and folders ---- */

#define X4 "{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
#define Y4 "{\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"

static void dir_refused(enum err code, const char *message)
{
    struct weights *w = NULL;
    assert_fails(weights_open(dir, &w, &em), code, message);
    assert_null(w);
    assert_non_null(strstr(em.text, dir));
}

static void test_missing(void **state)
{
    (void)state;
    struct weights *w = NULL;
    assert_fails(weights_open(in_dir("x.safetensors"), &w, &em), ERR_NOTFOUND, "x.safetensors");
    dir_refused(ERR_NOTFOUND, "no weights");
    write_text("model.safetensors", "");
    dir_refused(ERR_FORMAT, "empty");
    assert_int_equal(unlink(in_dir("model.safetensors")), 0);
    assert_int_equal(mkdir(in_dir("model.safetensors"), 0700), 0);
    dir_refused(ERR_FORMAT, "not a regular file");
    assert_int_equal(rmdir(in_dir("model.safetensors")), 0);
    assert_null(w);
}

static void test_index(void **state)
{
    (void)state;
    struct weights *w;
    struct tensor t;
    write_file("one.safetensors", X4, 4);
    write_file("two.safetensors", Y4, 4);
    write_text(
        "diffusion_pytorch_model.safetensors.index.json",
        "{\"metadata\":{},\"weight_map\":{\"x\":\"one.safetensors\",\"y\":\"two.safetensors\"}}");
    assert_ok(weights_open(dir, &w, &em));
    assert_int_equal(weights_n_tensors(w), 2);
    assert_ok(weights_get_shaped(w, "y", &t, &em, 1, (size_t)1));
    weights_release_pages(w);
    assert_int_equal(((const uint8_t *)t.data)[3], 3);
    assert_string_equal(weights_path(w), dir);
    weights_close(w);
    /* a shard may be a link, as in the cache of Hugging Face */
    assert_int_equal(rename(in_dir("two.safetensors"), in_dir("blob")), 0);
    assert_int_equal(symlink("blob", in_dir("two.safetensors")), 0);
    assert_ok(weights_open(dir, &w, &em));
    weights_close(w);
}

static void index_refused(const char *text, enum err code, const char *message)
{
    write_text("model.safetensors.index.json", text);
    dir_refused(code, message);
}

static void test_bad_index(void **state)
{
    (void)state;
    write_file("one.safetensors", X4, 4);
    write_file("two.safetensors", Y4, 4);
    write_file("again.safetensors", X4, 4);
    index_refused("", ERR_FORMAT, "not valid JSON");
    index_refused("{}", ERR_FORMAT, "\"weight_map\" must be an object, not nothing");
    index_refused("{\"weight_map\":[]}", ERR_FORMAT, "not an array");
    index_refused("{\"weight_map\":{}}", ERR_FORMAT, "no tensors");
    index_refused("{\"weight_map\":{\"x\":1}}", ERR_FORMAT, "tensor \"x\" must be a string");
    index_refused("{\"weight_map\":{\"x\":\"\"}}", ERR_FORMAT, "not the name of a file");
    index_refused("{\"weight_map\":{\"x\":\"..\"}}", ERR_FORMAT, "not the name of a file");
    index_refused("{\"weight_map\":{\"x\":\"../one.safetensors\"}}", ERR_FORMAT,
                  "not the name of a file");
    index_refused("{\"weight_map\":{\"x\":\"/etc/passwd\"}}", ERR_FORMAT, "not the name of a file");
    index_refused("{\"weight_map\":{\"x\":\"a\\\\b\"}}", ERR_FORMAT, "not the name of a file");
    index_refused("{\"weight_map\":{\"x\":\"three.safetensors\"}}", ERR_NOTFOUND,
                  "the file three.safetensors, which it lists, is missing");
    index_refused("{\"weight_map\":{\"x\":\"two.safetensors\"}}", ERR_FORMAT,
                  "\"x\" is not in two.safetensors");
    index_refused("{\"weight_map\":{\"x\":\"two.safetensors\",\"y\":\"one.safetensors\"}}",
                  ERR_FORMAT, "is not in");
    index_refused("{\"weight_map\":{\"x\":\"one.safetensors\",\"z\":\"again.safetensors\"}}",
                  ERR_FORMAT, "\"x\" is in ");
    write_text("two.safetensors", "short");
    index_refused("{\"weight_map\":{\"x\":\"one.safetensors\",\"y\":\"two.safetensors\"}}",
                  ERR_FORMAT, "two.safetensors is not a safetensors file");
}

static void test_too_many_shards(void **state)
{
    (void)state;
    struct buf index = {0};
    assert_ok(buf_printf(&index, &em, "{\"weight_map\":{"));
    for (unsigned i = 0; i <= 1000; i++) {
        char name[32], header[96];
        snprintf(name, sizeof name, "%u.safetensors", i);
        snprintf(header, sizeof header,
                 "{\"t%u\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", i);
        struct buf b = make_file(header, 2);
        FILE *f = fopen(in_dir(name), "wb"); /* without fsync: there are many */
        assert_non_null(f);
        assert_int_equal(fwrite(b.ptr, 1, b.len, f), b.len);
        fclose(f);
        buf_deinit(&b);
        assert_ok(buf_printf(&index, &em, "%s\"t%u\":\"%s\"", i ? "," : "", i, name));
    }
    assert_ok(buf_printf(&index, &em, "}}"));
    index_refused((char *)index.ptr, ERR_FORMAT, "more than 1000 files");
    buf_deinit(&index);
}

/* ---- writing ---- */

static const struct weights_spec specs[] = {
    {"f32", DTYPE_F32, 2, {3, 5}},
    {"f16", DTYPE_F16, 1, {7}},
    {"bf16 \"quoted\" é", DTYPE_BF16, 8, {1, 2, 1, 2, 1, 2, 1, 2}},
    {"scalar", DTYPE_F32, 0, {0}},
    {"none", DTYPE_F16, 2, {4, 0}},
    {"large", DTYPE_F32, 2, {700, 1000}}, /* more than one piece */
};
#define N_SPECS (sizeof specs / sizeof specs[0])

struct fill {
    size_t fail_at; /* tensor; SIZE_MAX: none */
    struct errmsg *em;
};

/* The value of element k of tensor i, as the low 16 or 32 bits. */
static uint32_t value_of(size_t i, size_t k)
{
    return (uint32_t)(i * 2654435761u + k * 40503u);
}

static enum err fill(void *ctx, size_t i, size_t first, size_t n, void *out)
{
    const struct fill *f = ctx;
    size_t size = dtype_size(specs[i].dtype);
    if (i == f->fail_at && first > 0)
        return f->em ? err_set(f->em, ERR_CANCELLED, "own message") : ERR_CANCELLED;
    for (size_t k = 0; k < n; k++) {
        uint32_t v = value_of(i, first + k);
        memcpy((char *)out + k * size, &v, size);
    }
    return ERR_OK;
}

static void check_written(void)
{
    struct weights *w;
    struct tensor t;
    assert_ok(weights_open(dir, &w, &em));
    assert_int_equal(weights_n_tensors(w), N_SPECS);
    for (size_t i = 0; i < N_SPECS; i++) {
        size_t size = dtype_size(specs[i].dtype), n = 1;
        assert_ok(weights_get(w, specs[i].name, &t, &em));
        assert_int_equal(t.dtype, specs[i].dtype);
        assert_int_equal(t.n_dims, specs[i].n_dims);
        for (unsigned d = 0; d < t.n_dims; d++) {
            assert_int_equal(t.shape[d], specs[i].shape[d]);
            n *= t.shape[d];
        }
        assert_int_equal(t.n_elems, n);
        for (size_t k = 0; k < n; k++) {
            uint32_t v = value_of(i, k);
            if (memcmp((const char *)t.data + k * size, &v, size))
                fail_msg("%s: element %zu differs", t.name, k);
        }
    }
    weights_close(w);
}

static enum err write_specs(uint64_t shard_bytes, struct fill f)
{
    return weights_write(dir, "model", specs, N_SPECS, shard_bytes, fill, &f, &em);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct fill f = {.fail_at = SIZE_MAX};
    struct stat st;
    assert_ok(write_specs(0, f));
    assert_int_equal(n_files(), 1);
    check_written();
    assert_int_equal(stat(in_dir("model.safetensors"), &st), 0);
    assert_int_equal(st.st_mode & 0600, 0600);
    /* the sharded form takes the place of the single file, and the other way */
    assert_ok(write_specs(64, f));
    assert_false(file_exists(in_dir("model.safetensors")));
    assert_true(file_exists(in_dir("model-00001-of-00003.safetensors")));
    assert_true(file_exists(in_dir("model.safetensors.index.json")));
    assert_int_equal(n_files(), 4);
    check_written();
    assert_ok(write_specs(0, f));
    assert_false(file_exists(in_dir("model.safetensors.index.json")));
    check_written();
}

static void test_failed_writing_leaves_nothing(void **state)
{
    (void)state;
    struct fill f = {.fail_at = 5};
    assert_fails(write_specs(0, f), ERR_CANCELLED, "\"large\" could not be made");
    assert_int_equal(n_files(), 0);
    f.em = &em;
    assert_fails(write_specs(64, f), ERR_CANCELLED, "own message");
    assert_int_equal(n_files(), 0);
    f.fail_at = SIZE_MAX;
    assert_ok(write_specs(0, f));
    f.fail_at = 5;
    assert_fails(write_specs(64, f), ERR_CANCELLED, "own message");
    assert_int_equal(n_files(), 1);
    check_written();
}

static void test_full_disk_leaves_nothing(void **state)
{
    (void)state;
    /* a limit on the size of files stands in for the disk */
    struct rlimit old, limit;
    struct fill f = {.fail_at = SIZE_MAX};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){.rlim_cur = 1u << 20, .rlim_max = old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum err rc = write_specs(64, f);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(rc, ERR_IO);
    assert_non_null(strstr(em.text, "cannot write "));
    assert_non_null(strstr(em.text, "model-00003-of-00003.safetensors"));
    assert_int_equal(n_files(), 0);
}

static void spec_refused(const struct weights_spec *s, size_t n, const char *message)
{
    struct fill f = {.fail_at = SIZE_MAX};
    assert_fails(weights_write(dir, "model", s, n, 0, fill, &f, &em), ERR_USAGE, message);
    assert_int_equal(n_files(), 0);
}

static void test_bad_specs(void **state)
{
    (void)state;
    struct fill f = {.fail_at = SIZE_MAX};
    spec_refused(specs, 0, "0 tensors");
    spec_refused(&(struct weights_spec){"", DTYPE_F32, 1, {1}}, 1, "bad name or shape");
    spec_refused(&(struct weights_spec){"__metadata__", DTYPE_F32, 1, {1}}, 1, "bad name");
    spec_refused(&(struct weights_spec){"x", DTYPE_F32, 9, {1}}, 1, "bad name or shape");
    spec_refused(&(struct weights_spec){"x", DTYPE_F32, 2, {SIZE_MAX / 2, 4}}, 1,
                 "bad name or shape");
    spec_refused((struct weights_spec[]){{"x", DTYPE_F32, 1, {1}}, {"x", DTYPE_F16, 1, {1}}}, 2,
                 "two tensors are named \"x\"");
    assert_fails(weights_write("/nowhere", "model", specs, 1, 0, fill, &f, &em), ERR_IO,
                 "/nowhere/model.safetensors");
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_a_file),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_overlap_and_gaps),
        cmocka_unit_test(test_too_many_tensors),
        IN_DIR(test_missing),
        IN_DIR(test_index),
        IN_DIR(test_bad_index),
        IN_DIR(test_too_many_shards),
        IN_DIR(test_round_trip),
        IN_DIR(test_failed_writing_leaves_nothing),
        IN_DIR(test_full_disk_leaves_nothing),
        IN_DIR(test_bad_specs),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* Configs and weights without memory: an error, no crash, no leak, no file. */
#include "test.h"

#include <dirent.h>
#include <unistd.h>

#include "formats/fault.h"
#include "formats/config.h"
#include "formats/safetensors.h"

static char dir[64];

static enum err run_config(void *ctx, struct errmsg *em)
{
    static const char text[] = "{\"a\":{\"b\":[1,2.5,\"x\",null,true]},\"c\":\"a longer string\"}";
    struct config *c = NULL;
    (void)ctx;
    enum err rc = config_parse(text, strlen(text), "c.json", &c, em);
    config_close(c);
    return rc;
}

static enum err fill(void *ctx, size_t i, size_t first, size_t n, void *out)
{
    (void)ctx;
    (void)i;
    (void)first;
    memset(out, 0, n * 4);
    return ERR_OK;
}

static enum err run_write(void *ctx, struct errmsg *em)
{
    static const struct weights_spec specs[] = {{"x", DTYPE_F32, 1, {4}}, {"y", DTYPE_F32, 1, {4}}};
    (void)ctx;
    return weights_write(dir, "model", specs, 2, 16, fill, NULL, em);
}

static enum err run_open(void *ctx, struct errmsg *em)
{
    struct weights *w = NULL;
    (void)ctx;
    enum err rc = weights_open(dir, &w, em);
    weights_close(w);
    return rc;
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

static void test_config(void **state)
{
    (void)state;
    assert_true(fault_each(run_config, NULL) > 0);
}

static void test_weights(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/easel-nomem-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_true(fault_each(run_write, NULL) > 10);
    assert_int_equal(n_files(), 3); /* two shards, an index, nothing temporary */
    assert_true(fault_each(run_open, NULL) > 10);
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    closedir(d);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_weights),
    };
    return cmocka_run_group_tests_name("formats without memory", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* kernels_bench at the scalar level, which measures only small shapes. */
#include "test.h"

#include "kernels/bench.h"

static void check_row(void *ctx, const struct kernel_timing *row)
{
    size_t *n_rows = ctx;
    ++*n_rows;
    assert_true(row->ms > 0.0 && isfinite(row->ms));
    assert_true(row->gflops > 0.0 && isfinite(row->gflops));
    assert_true(row->share > 0.0 && isfinite(row->share));
    assert_true(strlen(row->op) && strlen(row->where) && strlen(row->shape) &&
                strlen(row->dtype));
}

static void test_rows_are_reported(void **state)
{
    (void)state;
    struct errmsg em = {{0}};
    struct pool *pool = NULL;
    struct kernels_limits limits = {0};
    size_t n_rows = 0;
    assert_ok(pool_new(2, &pool, &em));
    assert_ok(kernels_bench(pool, CPU_SCALAR, check_row, &n_rows, &limits, &em));
    assert_true(n_rows >= 3);
    assert_true(limits.peak_gflops > 0.0 && limits.peak_gbytes_s > 0.0);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_reported),
    };
    return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
/* What every test program starts with. */
#ifndef EASEL_TESTS_TEST_H
#define EASEL_TESTS_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

/* Fail with the message when a call failed. */
#define assert_ok(call)                                                                           \
    do {                                                                                          \
        enum err rc_ = (call);                                                                    \
        if (rc_)                                                                                  \
            fail_msg("%s = %d: %s", #call, (int)rc_, em.text);                                    \
    } while (0)

/* The call must fail with that code, and the message must hold that text. */
#define assert_fails(call, code, needle)                                                          \
    do {                                                                                          \
        enum err rc_ = (call);                                                                    \
        if (rc_ != (code))                                                                        \
            fail_msg("%s = %d, expected %d (%s)", #call, (int)rc_, (int)(code),                   \
                     rc_ ? em.text : "no error");                                                 \
        if (!strstr(em.text, needle))                                                             \
            fail_msg("%s said \"%s\", without \"%s\"", #call, em.text, needle);                   \
    } while (0)

/* Leave a test that cannot run here, and say why. */
#define skip_because(...)                                                                         \
    do {                                                                                          \
        print_message("# " __VA_ARGS__);                                                          \
        print_message("\n");                                                                      \
        skip();                                                                                   \
    } while (0)

/* |a - b| <= tolerance. */
#define assert_near(a, b, tolerance)                                                               \
    do {                                                                                           \
        double a_ = (a), b_ = (b);                                                                 \
        if (!(fabs(a_ - b_) <= (tolerance)))                                                       \
            fail_msg("%s = %.17g, expected %.17g", #a, a_, b_);                                    \
    } while (0)

/* tests/data/NAME, in a static buffer of 4 that take turns. */
static inline const char *data_path(const char *name)
{
    static char paths[4][1024];
    static unsigned turn;
    const char *dir = getenv("EASEL_TEST_DATA");
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", dir ? dir : "tests/data", name);
    return p;
}

#endif

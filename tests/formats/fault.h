/* SPDX-License-Identifier: MIT */
/* Running out of memory, at the first allocation, the second, … until the case
 * passes. Link with fault_link_args (meson.build beside this file), which route the allocations
 * of the code under test through here; those inside shared libraries are not
 * counted (jansson, for one, takes some of its own for errors in the text). */
#ifndef EASEL_TESTS_FAULT_H
#define EASEL_TESTS_FAULT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static size_t fault_countdown; /* 0: none is due */
static bool fault_happened;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);

static bool fault_due(void)
{
    bool due = fault_countdown && --fault_countdown == 0;
    fault_happened = fault_happened || due;
    return due;
}

void *__wrap_malloc(size_t size)
{
    return fault_due() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fault_due() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fault_due() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    return fault_due() ? NULL : __real_strdup(s);
}

/* Call run(ctx) with one failing allocation after the other, until none is left to
 * fail; returns how many there were. Each must end in ERR_NOMEM. */
static inline size_t fault_each(enum err (*run)(void *ctx, struct errmsg *em), void *ctx)
{
    for (size_t n = 1;; n++) {
        struct errmsg em = {{0}};
        fault_countdown = n;
        fault_happened = false;
        enum err rc = run(ctx, &em);
        fault_countdown = 0;
        if (!fault_happened) {
            if (rc)
                fail_msg("without a fault: %d: %s", (int)rc, em.text);
            return n - 1;
        }
        if (rc != ERR_NOMEM)
            fail_msg("allocation %zu failed and gave %d: %s", n, (int)rc, em.text);
    }
}

#endif

/* SPDX-License-Identifier: MIT */
/* In place of libeasel: a drawing that does what a test tells it, and no arithmetic. */
#ifndef EASEL_TESTS_FAKE_ENGINE_H
#define EASEL_TESTS_FAKE_ENGINE_H

#include <stdatomic.h>

#include "easel.h"

struct fake_engine {
    /* what the next drawings do */
    atomic_uint silent_ms; /* first no sign for so long */
    atomic_uint n_steps;   /* then so many steps of 5 ms with a preview each */
    atomic_bool endless;   /* steps until it is told to stop */
    atomic_bool hangs;     /* gives no sign as long as this is set */
    atomic_int status;     /* and ends with this */
    /* what was seen */
    atomic_uint n_drawings, n_closed;
};
extern struct fake_engine fake_engine;

void fake_engine_reset(void);

#endif

/* SPDX-License-Identifier: MIT */
/* Flow-matching Euler steps: the sigmas. Source: diffusers,
 * scheduling_flow_match_euler_discrete.py and pipeline_flux2_klein.py. */
#ifndef EASEL_MODELS_SCHEDULER_H
#define EASEL_MODELS_SCHEDULER_H

#include <stddef.h>

#include "base/err.h"

struct scheduler {
    int dynamic_shifting; /* shift by mu, from the number of image tokens */
    double shift;         /* the static shift otherwise */
};

/* path: scheduler/scheduler_config.json. What it asks for and this code cannot do
 * (karras sigmas, another class, …) is ERR_UNSUPPORTED. */
NODISCARD enum err scheduler_open(const char *path, struct scheduler *out, struct errmsg *em);

/* sigmas: n_steps + 1 values, from about 1 down to a last 0. n_image: image tokens,
 * references not counted. */
void scheduler_sigmas(const struct scheduler *s, size_t n_steps, size_t n_image, float *sigmas);

#endif

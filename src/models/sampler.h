/* SPDX-License-Identifier: MIT */
/* Picking the next token from a language model's logits.
 *
 * The random numbers are xoshiro256++ (Blackman and Vigna, 2019), its state filled
 * from the seed by splitmix64: a fixed algorithm of our own, so that the same seed
 * picks the same tokens everywhere, whatever the C library. One number is drawn
 * for each token sampled, none for a greedy one. */
#ifndef EASEL_MODELS_SAMPLER_H
#define EASEL_MODELS_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

struct sampler {
    uint64_t state[4];
};

/* Every seed, 0 too, gives a usable state. */
void sampler_init(struct sampler *s, uint64_t seed);
/* Uniform in [0, 1), 53 bits. */
double sampler_uniform(struct sampler *s);

/* The index of the largest logit, the first one of equals. n > 0, no NaN. */
size_t sampler_argmax(const float *logits, size_t n);
/* An index drawn from softmax(logits / temperature), computed in double; the
 * argmax when temperature is 0. n > 0, finite logits, temperature >= 0. */
size_t sampler_pick(struct sampler *s, const float *logits, size_t n, float temperature);

#endif

/* SPDX-License-Identifier: MIT */
/* torch.randn(n, generator=torch.Generator("cpu").manual_seed(seed)) in float32:
 * MT19937, 24-bit uniforms, Box–Muller over blocks of 16 (fewer than 16 values use
 * another path of torch's, in double precision, which is reproduced too). */
#ifndef EASEL_MODELS_NOISE_H
#define EASEL_MODELS_NOISE_H

#include <stddef.h>
#include <stdint.h>

void noise_randn(uint64_t seed, float *out, size_t n);

#endif

/* SPDX-License-Identifier: MIT */
#include "models/sampler.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void sampler_init(struct sampler *s, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        s->state[i] = splitmix64(&seed);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t xoshiro256pp(uint64_t s[4])
{
    uint64_t result = rotl(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

double sampler_uniform(struct sampler *s)
{
    return (double)(xoshiro256pp(s->state) >> 11) * 0x1p-53;
}

size_t sampler_argmax(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

static double weight_of(float logit, float largest, float temperature)
{
    return exp(((double)logit - (double)largest) / (double)temperature);
}

size_t sampler_pick(struct sampler *s, const float *logits, size_t n, float temperature)
{
    size_t best = sampler_argmax(logits, n);
    if (temperature == 0)
        return best;
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += weight_of(logits[i], logits[best], temperature);

    double left = sampler_uniform(s) * total;
    for (size_t i = 0; i < n; i++) {
        left -= weight_of(logits[i], logits[best], temperature);
        if (left < 0)
            return i;
    }
    return best; /* only when rounding ate the last crumb */
}

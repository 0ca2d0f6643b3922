/* SPDX-License-Identifier: MIT */
/* torch.randn on the CPU. The uniforms are torch's to the bit; log, cos and sin are
 * taken in double precision and rounded, where torch evaluates float32 polynomials in
 * AVX2 registers: values differ by at most 3 units in the last place (measured over
 * several million values, 5e-7 absolute).
 * Sources: pytorch, ATen/core/MT19937RNGEngine.h, ATen/core/DistributionsHelper.h,
 * ATen/native/cpu/DistributionTemplates.h; Matsumoto and Nishimura, "Mersenne Twister"
 * (1998). */
#include "models/noise.h"

#include <math.h>
#include <string.h>

#define MT_N 624
#define MT_M 397
#define BLOCK 16 /* values that torch turns into normals together */

struct mt19937 {
    uint32_t state[MT_N];
    unsigned next;
};

/* Of the 64 bits that torch accepts as a seed, its engine keeps the low 32. */
static void mt_init(struct mt19937 *mt, uint64_t seed)
{
    mt->state[0] = (uint32_t)seed;
    for (unsigned i = 1; i < MT_N; i++) {
        uint32_t last = mt->state[i - 1];
        mt->state[i] = 1812433253u * (last ^ (last >> 30)) + i;
    }
    mt->next = MT_N;
}

static void mt_refill(struct mt19937 *mt)
{
    uint32_t *s = mt->state;
    for (unsigned i = 0; i < MT_N; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % MT_N] & 0x7fffffffu);
        s[i] = s[(i + MT_M) % MT_N] ^ (y >> 1) ^ ((y & 1u) ? 0x9908b0dfu : 0u);
    }
    mt->next = 0;
}

static uint32_t mt_u32(struct mt19937 *mt)
{
    if (mt->next == MT_N)
        mt_refill(mt);
    uint32_t y = mt->state[mt->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* In [0, 1), 24 bits. */
static float uniform_f32(struct mt19937 *mt)
{
    return (float)(mt_u32(mt) & 0xffffffu) * 0x1p-24f;
}

/* In [0, 1), 53 bits of two draws, the first the high one. */
static double uniform_f64(struct mt19937 *mt)
{
    uint64_t high = mt_u32(mt);
    uint64_t bits = (high << 32 | mt_u32(mt)) & ((UINT64_C(1) << 53) - 1);
    return (double)bits * 0x1p-53;
}

/* 16 uniforms -> 16 normals: element j pairs with j + 8. */
static void box_muller_block(float *x)
{
    for (unsigned j = 0; j < BLOCK / 2; j++) {
        float u1 = 1.0f - x[j]; /* in (0, 1]: its logarithm is finite */
        float log_u1 = (float)log((double)u1);
        float radius = sqrtf(-2.0f * log_u1);
        float theta = 6.28318530717958647692f * x[j + 8];
        x[j] = radius * (float)cos((double)theta);
        x[j + 8] = radius * (float)sin((double)theta);
    }
}

static void fill_blocks(struct mt19937 *mt, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = uniform_f32(mt);
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK)
        box_muller_block(out + i);
    if (n % BLOCK == 0)
        return;
    /* A partial last block: fresh uniforms for the last 16 values, some of which
     * the block before it has already made. */
    float *last = out + n - BLOCK;
    for (unsigned i = 0; i < BLOCK; i++)
        last[i] = uniform_f32(mt);
    box_muller_block(last);
}

static void fill_pairs(struct mt19937 *mt, float *out, size_t n)
{
    for (size_t i = 0; i < n; i += 2) {
        double u1 = uniform_f64(mt);
        double u2 = uniform_f64(mt);
        double radius = sqrt(-2.0 * log1p(-u2));
        double theta = 6.28318530717958647692 * u1;
        out[i] = (float)(radius * cos(theta));
        if (i + 1 < n)
            out[i + 1] = (float)(radius * sin(theta));
    }
}

void noise_randn(uint64_t seed, float *out, size_t n)
{
    struct mt19937 mt;
    mt_init(&mt, seed);
    if (n >= BLOCK)
        fill_blocks(&mt, out, n);
    else
        fill_pairs(&mt, out, n);
}

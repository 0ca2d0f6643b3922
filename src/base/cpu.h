/* SPDX-License-Identifier: MIT */
/* What this processor can do, as far as the kernels care. */
#ifndef EASEL_BASE_CPU_H
#define EASEL_BASE_CPU_H

#include "base/err.h"

enum cpu_level {
    CPU_SCALAR, /* plain C: the specification */
    CPU_AVX2,   /* AVX2, FMA and F16C */
    CPU_AVX512, /* AVX-512 F, BW, DQ, VL */
};

/* The best level that both the processor and the operating system support. */
enum cpu_level cpu_detect(void);
const char *cpu_level_name(enum cpu_level level);
/* name: "scalar", "avx2" or "avx512"; NULL or "": the best there is. A level that
 * this machine lacks is ERR_UNSUPPORTED, another name ERR_USAGE. */
NODISCARD enum err cpu_level_parse(const char *name, enum cpu_level *out, struct errmsg *em);

#endif

/* SPDX-License-Identifier: MIT */
#include "base/cpu.h"

#include <stddef.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const level_names[] = {"scalar", "avx2", "avx512"};

enum cpu_level cpu_detect(void)
{
#if defined(__x86_64__)
    /* The compiler's run-time check reads XCR0 too: registers that the system
     * does not save count as missing. */
    __builtin_cpu_init();
    unsigned eax, ebx, ecx, edx;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_F16C))
        return CPU_SCALAR;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return CPU_AVX512;
    return CPU_AVX2;
#else
    return CPU_SCALAR;
#endif
}

const char *cpu_level_name(enum cpu_level level)
{
    return level_names[level];
}

enum err cpu_level_parse(const char *name, enum cpu_level *out, struct errmsg *em)
{
    enum cpu_level best = cpu_detect();
    if (!name || !*name) {
        *out = best;
        return ERR_OK;
    }
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (strcmp(name, level_names[i]))
            continue;
        if ((enum cpu_level)i > best)
            return err_set(em, ERR_UNSUPPORTED,
                           "this processor has no %s; the best it can run is %s", name,
                           level_names[best]);
        *out = (enum cpu_level)i;
        return ERR_OK;
    }
    return err_set(em, ERR_USAGE, "unknown processor level \"%s\"; use scalar, avx2 or avx512",
                   name);
}

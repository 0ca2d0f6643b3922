/* SPDX-License-Identifier: MIT */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

void *mem_alloc(size_t size_bytes)
{
    size_t align = size_bytes >= 4 * HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : 64;
    void *p = NULL;
    if (posix_memalign(&p, align, size_bytes ? size_bytes : 1))
        return NULL;
#ifdef MADV_HUGEPAGE
    /* Only a hint: fewer TLB misses over activations of hundreds of MB. */
    if (align == HUGE_PAGE_BYTES)
        (void)madvise(p, size_bytes, MADV_HUGEPAGE);
#endif
    return p;
}

void mem_free(void *p)
{
    free(p);
}

void mem_discard(void *p, size_t size_bytes)
{
    /* a huge page that lost a part would be cut into small ones for good */
    uintptr_t first = ((uintptr_t)p + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    uintptr_t end = ((uintptr_t)p + size_bytes) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if (first < end)
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

uint64_t mem_peak_bytes(void)
{
    struct rusage ru;
    if (getrusage(RUSAGE_SELF, &ru))
        return 0;
    return (uint64_t)ru.ru_maxrss * 1024;
}

/* A single number in a file of the kernel's, or UINT64_MAX ("max" included). */
static uint64_t read_number(const char *path)
{
    uint64_t v = UINT64_MAX;
    FILE *f = fopen(path, "r");
    if (!f)
        return v;
    unsigned long long n;
    if (fscanf(f, "%llu", &n) == 1)
        v = n;
    fclose(f);
    return v;
}

uint64_t mem_available_bytes(void)
{
    uint64_t available = UINT64_MAX;
    FILE *f = fopen("/proc/meminfo", "r");
    if (f) {
        char line[128];
        unsigned long long kib;
        while (fgets(line, sizeof line, f))
            if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
                available = (uint64_t)kib * 1024;
        fclose(f);
    }
    uint64_t limit = read_number("/sys/fs/cgroup/memory.max");
    uint64_t used = read_number("/sys/fs/cgroup/memory.current");
    if (limit != UINT64_MAX && used != UINT64_MAX) {
        uint64_t room = limit > used ? limit - used : 0;
        if (room < available)
            available = room;
    }
    return available;
}

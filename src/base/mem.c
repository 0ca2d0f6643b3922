/* SPDX-License-Identifier: MIT */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define PATH_BYTES_MAX 4096

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

/* The number that follows a word in a file of the kernel's, "" for one that stands alone;
 * UINT64_MAX: there is none, or it says "max". */
static uint64_t read_number(const char *dir, const char *name, const char *word)
{
    char path[PATH_BYTES_MAX], line[256];
    uint64_t v = UINT64_MAX;
    size_t n = strlen(word);
    unsigned long long found;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    if (!f)
        return v;
    while (v == UINT64_MAX && fgets(line, sizeof line, f))
        if (!strncmp(line, word, n) && sscanf(line + n, " %llu", &found) == 1)
            v = found;
    fclose(f);
    return v;
}

uint64_t mem_cgroup_room(const char *dir)
{
    uint64_t limit = read_number(dir, "memory.max", "");
    uint64_t used = read_number(dir, "memory.current", "");
    if (limit == UINT64_MAX || used == UINT64_MAX)
        return UINT64_MAX;
    static const char *const caches[] = {"inactive_file ", "active_file "};
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++) {
        uint64_t cache = read_number(dir, "memory.stat", caches[i]);
        if (cache != UINT64_MAX)
            used -= cache < used ? cache : used;
    }
    return limit > used ? limit - used : 0;
}

/* The least room of this process's group and of those around it. */
static uint64_t cgroups_room(void)
{
    static const char root[] = "/sys/fs/cgroup";
    char dir[PATH_BYTES_MAX] = "", line[PATH_BYTES_MAX - sizeof root];
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return UINT64_MAX;
    while (!*dir && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (!strncmp(line, "0::/", 4))
            snprintf(dir, sizeof dir, "%s%s", root, line + 3);
    }
    fclose(f);
    uint64_t room = UINT64_MAX;
    while (strlen(dir) >= sizeof root - 1) {
        uint64_t here = mem_cgroup_room(dir);
        room = here < room ? here : room;
        *strrchr(dir, '/') = '\0';
    }
    return room;
}

uint64_t mem_available_bytes(void)
{
    uint64_t kib = read_number("/proc", "meminfo", "MemAvailable:");
    uint64_t available = kib == UINT64_MAX ? kib : kib * 1024;
    uint64_t room = cgroups_room();
    return room < available ? room : available;
}

/* SPDX-License-Identifier: MIT */
/* Memory: aligned blocks, and what the operating system says of its use. */
#ifndef EASEL_BASE_MEM_H
#define EASEL_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A block aligned to 64 bytes, its content undefined; large ones ask for huge
 * pages. NULL when there is no memory. Free with mem_free. */
void *mem_alloc(size_t size_bytes);
void mem_free(void *p);
/* The content of part of a block is not needed any more: its whole huge pages (2 MiB) go
 * back to the system until they are written to again. Until then it is undefined. */
void mem_discard(void *p, size_t size_bytes);

/* Peak resident set of this process, bytes; 0 where it cannot be read. */
uint64_t mem_peak_bytes(void);

/* Memory that can be had now without swapping (MemAvailable, and the limits of the cgroups where
 * there are any), bytes; UINT64_MAX where it cannot be read. */
uint64_t mem_available_bytes(void);
/* What a control group (version 2), by its folder, has left below its limit; UINT64_MAX: it has
 * none. Cached files count as free, mapped weights among them, for they make way. */
uint64_t mem_cgroup_room(const char *dir);

#endif

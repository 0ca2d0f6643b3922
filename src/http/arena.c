/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "http/http_impl.h"

#define BLOCK_BYTES ((size_t)4096 - 32) /* one page with the allocator's own words */
#define LARGE_BYTES ((size_t)1024)      /* gets a block of its own */
#define ALIGN_BYTES ((size_t)16)

struct http_arena_block {
    struct http_arena_block *next;
    size_t unused; /* keeps what follows aligned */
};

static void *block_new(struct http_arena *a, size_t size_bytes)
{
    size_t total;
    if (!add_size(size_bytes, sizeof(struct http_arena_block), &total))
        return NULL;
    struct http_arena_block *b = malloc(total);
    if (!b)
        return NULL;
    b->next = a->blocks;
    a->blocks = b;
    return b + 1;
}

void *http_arena_alloc(struct http_arena *a, size_t size_bytes)
{
    size_t n;
    if (!add_size(size_bytes, ALIGN_BYTES - 1, &n))
        return NULL;
    n -= n % ALIGN_BYTES;
    if (n > a->left && n > LARGE_BYTES)
        return block_new(a, n);
    if (n > a->left) {
        size_t room = BLOCK_BYTES - sizeof(struct http_arena_block);
        char *p = block_new(a, room);
        if (!p)
            return NULL;
        a->at = p;
        a->left = room;
    }
    void *p = a->at;
    a->at += n;
    a->left -= n;
    return p;
}

char *http_arena_copy(struct http_arena *a, const char *text, size_t len)
{
    size_t n;
    char *p = add_size(len, 1, &n) ? http_arena_alloc(a, n) : NULL;
    if (!p)
        return NULL;
    if (len)
        memcpy(p, text, len);
    p[len] = 0;
    return p;
}

void http_arena_free(struct http_arena *a)
{
    /* the arena itself may lie in its first block */
    struct http_arena_block *b = a->blocks;
    while (b) {
        struct http_arena_block *next = b->next;
        free(b);
        b = next;
    }
}

/* SPDX-License-Identifier: MIT */
/* Byte pair encoding. A word starts as one symbol per byte; of all neighbours that
 * have a merge, the one of the lowest rank is merged, the leftmost of equal ones,
 * until none is left. A heap of candidates makes that O(n log n): a prompt may be
 * one word of 100 KB. Source: Sennrich et al. 2016; the order is that of the
 * `tokenizers` library (Word::merge_all). */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/limits.h"
#include "base/size.h"
#include "models/tokenizer_impl.h"

#define NO_TOKEN UINT32_MAX
#define NO_SYMBOL UINT32_MAX
#define HASH_FACTOR 0x9e3779b97f4a7c15u

static uint64_t hash_step(uint64_t h, uint64_t v)
{
    h = (h ^ v) * HASH_FACTOR;
    return h ^ (h >> 29);
}

static size_t hash_bytes(const struct bpe *b, const uint8_t *p, size_t len)
{
    uint64_t h = hash_step(b->seed, len);
    uint64_t v;
    for (; len >= sizeof v; p += sizeof v, len -= sizeof v) {
        memcpy(&v, p, sizeof v);
        h = hash_step(h, v);
    }
    v = 0;
    memcpy(&v, p, len);
    return (size_t)hash_step(hash_step(h, v), b->seed) & (b->n_slots - 1);
}

static size_t hash_pair(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (size_t)hash_step(hash_step(b->seed, pair), b->seed) & (b->n_merge_slots - 1);
}

static size_t power_of_two_above(size_t n)
{
    size_t p = 16;
    while (p < n)
        p *= 2;
    return p;
}

enum err bpe_init(struct bpe *b, size_t max_ids, size_t n_tokens, size_t n_merges,
                  struct errmsg *em)
{
    *b = (struct bpe){.max_ids = max_ids};
    if (getrandom(&b->seed, sizeof b->seed, 0) != (ssize_t)sizeof b->seed)
        b->seed = HASH_FACTOR;
    b->n_slots = power_of_two_above(2 * n_tokens);
    b->n_merge_slots = power_of_two_above(2 * n_merges);
    b->starts = malloc((max_ids + 1) * sizeof *b->starts);
    b->lens = malloc((max_ids + 1) * sizeof *b->lens);
    b->slots = malloc(b->n_slots * sizeof *b->slots);
    b->merges = malloc(b->n_merge_slots * sizeof *b->merges);
    if (!b->starts || !b->lens || !b->slots || !b->merges) {
        bpe_deinit(b);
        return err_nomem(em, (max_ids + b->n_slots) * 8 + b->n_merge_slots * sizeof *b->merges);
    }
    for (size_t i = 0; i < max_ids; i++)
        b->lens[i] = NO_TOKEN;
    for (size_t i = 0; i < b->n_slots; i++)
        b->slots[i] = BPE_NO_ID;
    for (size_t i = 0; i < b->n_merge_slots; i++)
        b->merges[i].left = BPE_NO_ID;
    return ERR_OK;
}

void bpe_deinit(struct bpe *b)
{
    buf_deinit(&b->bytes);
    free(b->starts);
    free(b->lens);
    free(b->slots);
    free(b->merges);
    *b = (struct bpe){0};
}

/* The slot that holds the bytes, or the empty one where they belong. */
static size_t find_slot(const struct bpe *b, const uint8_t *bytes, size_t len)
{
    size_t s = hash_bytes(b, bytes, len);
    for (;; s = (s + 1) & (b->n_slots - 1)) {
        int32_t id = b->slots[s];
        if (id < 0 || (b->lens[id] == len && !memcmp(b->bytes.ptr + b->starts[id], bytes, len)))
            return s;
    }
}

int32_t bpe_find(const struct bpe *b, const uint8_t *bytes, size_t len)
{
    return b->slots[find_slot(b, bytes, len)];
}

enum err bpe_add_token(struct bpe *b, int32_t id, const uint8_t *bytes, size_t len, bool findable,
                       struct errmsg *em)
{
    if (b->lens[id] != NO_TOKEN)
        return err_set(em, ERR_FORMAT, "two tokens have the id %d", (int)id);
    size_t slot = findable ? find_slot(b, bytes, len) : 0;
    size_t start = b->bytes.len;
    enum err rc = buf_append(&b->bytes, bytes, len, em);
    if (rc)
        return rc;
    b->starts[id] = (uint32_t)start;
    b->lens[id] = (uint32_t)len;
    if (findable)
        b->slots[slot] = id;
    b->n_ids = max_size(b->n_ids, (size_t)id + 1);
    return ERR_OK;
}

/* The slot that holds the pair, or the empty one where it belongs. */
static struct bpe_merge *find_merge_slot(const struct bpe *b, int32_t left, int32_t right)
{
    size_t s = hash_pair(b, left, right);
    for (;; s = (s + 1) & (b->n_merge_slots - 1)) {
        struct bpe_merge *m = &b->merges[s];
        if (m->left < 0 || (m->left == left && m->right == right))
            return m;
    }
}

static const struct bpe_merge *find_merge(const struct bpe *b, int32_t left, int32_t right)
{
    const struct bpe_merge *m = find_merge_slot(b, left, right);
    return m->left < 0 ? NULL : m;
}

void bpe_add_merge(struct bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t merged)
{
    *find_merge_slot(b, left, right) =
        (struct bpe_merge){.left = left, .right = right, .rank = rank, .merged = merged};
}

void bpe_finish(struct bpe *b)
{
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        b->byte_ids[i] = bpe_find(b, &byte, 1);
    }
}

/* ---- a heap of candidates: rank in the high half, position in the low one ---- */

static void heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
    size_t i = (*n)++;
    while (i > 0 && heap[(i - 1) / 2] > key) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0];
    uint64_t last = heap[--*n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= *n)
            break;
        if (child + 1 < *n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

void bpe_scratch_deinit(struct bpe_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    *s = (struct bpe_scratch){0};
}

static enum err scratch_reserve(struct bpe_scratch *s, size_t len, struct errmsg *em)
{
    if (len <= s->cap)
        return ERR_OK;
    bpe_scratch_deinit(s);
    size_t cap = power_of_two_above(len);
    s->symbols = malloc(cap * sizeof *s->symbols);
    /* len - 1 pairs to start with, and each of at most len - 1 merges adds two */
    s->heap = malloc(3 * cap * sizeof *s->heap);
    if (!s->symbols || !s->heap) {
        bpe_scratch_deinit(s);
        return err_nomem(em, cap * (sizeof *s->symbols + 3 * sizeof *s->heap));
    }
    s->cap = cap;
    return ERR_OK;
}

enum err id_list_reserve(struct id_list *l, size_t n_more, struct errmsg *em)
{
    size_t need = l->n + n_more;
    if (need <= l->cap)
        return ERR_OK;
    size_t cap = max_size(need, l->cap + l->cap / 2 + 64);
    int32_t *p = realloc(l->ids, cap * sizeof *p);
    if (!p)
        return err_nomem(em, cap * sizeof *p);
    l->ids = p;
    l->cap = cap;
    return ERR_OK;
}

static void push_pair(const struct bpe *b, struct bpe_scratch *s, size_t *n_heap, uint32_t left,
                      uint32_t right)
{
    const struct bpe_merge *m = find_merge(b, s->symbols[left].id, s->symbols[right].id);
    if (m)
        heap_push(s->heap, n_heap, (uint64_t)m->rank << 32 | left);
}

/* Merge the symbols until nothing can be merged. */
static void merge_all(const struct bpe *b, struct bpe_scratch *s, uint32_t n_symbols)
{
    struct bpe_symbol *symbols = s->symbols;
    size_t n_heap = 0;
    for (uint32_t i = 0; i + 1 < n_symbols; i++)
        push_pair(b, s, &n_heap, i, i + 1);
    while (n_heap) {
        uint64_t top = heap_pop(s->heap, &n_heap);
        uint32_t pos = (uint32_t)top;
        struct bpe_symbol *left = &symbols[pos];
        if (left->id < 0 || left->next == NO_SYMBOL)
            continue;
        uint32_t right = left->next;
        /* the neighbours may have changed since this candidate was pushed */
        const struct bpe_merge *m = find_merge(b, left->id, symbols[right].id);
        if (!m || m->rank != (uint32_t)(top >> 32))
            continue;
        left->id = m->merged;
        left->next = symbols[right].next;
        symbols[right].id = BPE_NO_ID;
        if (left->next != NO_SYMBOL)
            symbols[left->next].prev = pos;
        if (left->prev != NO_SYMBOL)
            push_pair(b, s, &n_heap, left->prev, pos);
        if (left->next != NO_SYMBOL)
            push_pair(b, s, &n_heap, pos, left->next);
    }
}

enum err bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *word, size_t len,
                    struct id_list *out, struct errmsg *em)
{
    enum err rc = id_list_reserve(out, len, em);
    if (!rc)
        rc = scratch_reserve(s, len, em);
    if (rc)
        return rc;
    if (b->ignore_merges) {
        int32_t id = bpe_find(b, (const uint8_t *)word, len);
        if (id >= 0) {
            out->ids[out->n++] = id;
            return ERR_OK;
        }
    }
    for (size_t i = 0; i < len; i++) {
        int32_t id = b->byte_ids[(uint8_t)word[i]];
        /* the reference drops such a byte in silence: a prompt with a hole */
        if (id < 0)
            return err_set(em, ERR_UNSUPPORTED, "the tokenizer has no token for the byte 0x%02x",
                           (unsigned)(uint8_t)word[i]);
        s->symbols[i] = (struct bpe_symbol){
            .id = id,
            .prev = i ? (uint32_t)i - 1 : NO_SYMBOL,
            .next = i + 1 < len ? (uint32_t)i + 1 : NO_SYMBOL,
        };
    }
    merge_all(b, s, (uint32_t)len);
    for (uint32_t i = 0; i != NO_SYMBOL; i = s->symbols[i].next)
        out->ids[out->n++] = s->symbols[i].id;
    return ERR_OK;
}

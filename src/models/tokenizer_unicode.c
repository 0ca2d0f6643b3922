/* SPDX-License-Identifier: MIT */
/* Valid UTF-8, and Unicode as the reference sees it. The `tokenizers` library normalizes
 * with tables of Unicode 9 (the crate unicode-normalization-alignments), and the
 * models were trained on what it gave: code points that later versions made
 * combining or composite are left alone here, whatever utf8proc knows of them. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/size.h"
#include "models/tokenizer_impl.h"

uint32_t utf8_next(const char *text, size_t *i)
{
    const uint8_t *p = (const uint8_t *)text + *i;
    uint32_t c = p[0];
    size_t n = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    if (n)
        c &= 0x3fu >> n;
    for (size_t k = 1; k <= n; k++)
        c = c << 6 | (p[k] & 0x3fu);
    *i += n + 1;
    return c;
}

uint32_t utf8_prev(const char *text, size_t *i)
{
    do
        --*i;
    while (*i > 0 && ((uint8_t)text[*i] & 0xc0) == 0x80);
    size_t start = *i;
    return utf8_next(text, &start);
}

bool unicode_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

bool unicode_is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    case UTF8PROC_CATEGORY_SO: /* circled and squared letters */
        return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    default:
        return c == 0x200c || c == 0x200d; /* joiners */
    }
}

/* ---- NFC ---- */

struct range {
    uint32_t first, last;
};

/* Combining or composite since Unicode 10 … 16: for the reference just letters. */
static const struct range newer_than_reference[] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xcf3, 0xcf3},     {0xd3b, 0xd3c},     {0xeba, 0xeba},
    {0xece, 0xece},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10d69, 0x10d6d}, {0x10eab, 0x10eac},
    {0x10efc, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
    {0x11241, 0x11241}, {0x1133b, 0x1133b}, {0x11380, 0x113e2}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f00, 0x11f01}, {0x11f03, 0x11f03}, {0x11f34, 0x11f3a}, {0x11f3e, 0x11f42},
    {0x11f5a, 0x11f5a}, {0x13440, 0x13440}, {0x13447, 0x13455}, {0x16100, 0x16139},
    {0x16d40, 0x16d79}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef},
};
#define N_NEWER (sizeof newer_than_reference / sizeof newer_than_reference[0])

static bool is_newer(uint32_t c)
{
    size_t lo = 0, hi = N_NEWER;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (newer_than_reference[mid].last < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < N_NEWER && newer_than_reference[lo].first <= c;
}

bool nfc_is_plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)text[i] >= 0xcc) /* the lead byte of U+0300 */
            return false;
    return true;
}

struct code_point {
    uint32_t c;
    uint32_t class; /* canonical combining class: 0 for a starter */
};

/* The canonical decomposition of c; returns its length, at most 4. */
static size_t decompose(uint32_t c, struct code_point out[4])
{
    utf8proc_int32_t parts[4];
    utf8proc_ssize_t n = 1;
    parts[0] = (utf8proc_int32_t)c;
    if (c >= 0xc0 && !is_newer(c)) {
        int last_class = 0;
        n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, 4,
                                    UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &last_class);
        if (n < 1 || n > 4) { /* cannot be: no canonical decomposition is longer */
            n = 1;
            parts[0] = (utf8proc_int32_t)c;
        }
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        uint32_t p = (uint32_t)parts[i];
        out[i].c = p;
        out[i].class = is_newer(p) ? 0 : (uint32_t)utf8proc_get_property(parts[i])->combining_class;
    }
    return (size_t)n;
}

/* The composite of a pair, or 0. */
static uint32_t compose(uint32_t a, uint32_t b)
{
    utf8proc_int32_t pair[3] = {(utf8proc_int32_t)a, (utf8proc_int32_t)b, 0};
    if (b < 0x300 || is_newer(a) || is_newer(b))
        return 0;
    utf8proc_ssize_t n = utf8proc_normalize_utf32(pair, 2, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    return n == 1 && !is_newer((uint32_t)pair[0]) ? (uint32_t)pair[0] : 0;
}

/* Sort a run of marks by class, equal ones staying in order. Counting, since a
 * prompt may be 100 KB of marks. tmp: as long as the run. */
static void sort_marks(struct code_point *run, size_t n, struct code_point *tmp)
{
    size_t starts[257] = {0};
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++)
        sorted = run[i - 1].class <= run[i].class;
    if (sorted)
        return;
    for (size_t i = 0; i < n; i++)
        starts[(run[i].class & 0xff) + 1]++;
    for (size_t k = 1; k < 257; k++)
        starts[k] += starts[k - 1];
    for (size_t i = 0; i < n; i++)
        tmp[starts[run[i].class & 0xff]++] = run[i];
    memcpy(run, tmp, n * sizeof *run);
}

/* Canonical composition in place; returns the new length. */
static size_t compose_all(struct code_point *s, size_t n)
{
    size_t out = 0, starter = SIZE_MAX;
    uint32_t last_class = 0;
    for (size_t i = 0; i < n; i++) {
        struct code_point p = s[i];
        /* blocked when something of the same or a higher class, or another
         * starter, stands between */
        bool adjacent = starter != SIZE_MAX && starter + 1 == out;
        if (starter != SIZE_MAX && (adjacent || last_class < p.class)) {
            uint32_t composite = compose(s[starter].c, p.c);
            if (composite) {
                s[starter].c = composite;
                continue;
            }
        }
        if (p.class == 0)
            starter = out;
        last_class = p.class;
        s[out++] = p;
    }
    return out;
}

enum err nfc_append(struct buf *out, const char *text, size_t len, struct errmsg *em)
{
    /* two bytes give at most three code points (U+0390), three give four (U+1F82),
     * four give three (U+1D160) */
    size_t max_n = len + len / 2 + 4, bytes;
    if (!mul_size(max_n, 2 * sizeof(struct code_point), &bytes))
        return err_nomem(em, len);
    struct code_point *s = malloc(bytes);
    if (!s)
        return err_nomem(em, bytes);
    struct code_point *tmp = s + max_n;
    size_t n = 0;
    size_t marks = 0; /* where the run of marks at the end starts */
    for (size_t i = 0; i < len;) {
        struct code_point parts[4];
        size_t n_parts = decompose(utf8_next(text, &i), parts);
        for (size_t k = 0; k < n_parts; k++) {
            if (parts[k].class == 0) {
                sort_marks(s + marks, n - marks, tmp);
                marks = n + 1;
            }
            s[n++] = parts[k];
        }
    }
    sort_marks(s + marks, n - marks, tmp);
    n = compose_all(s, n);
    enum err rc = buf_reserve(out, 4 * n, em);
    for (size_t i = 0; !rc && i < n; i++)
        out->len += (size_t)utf8proc_encode_char((utf8proc_int32_t)s[i].c, out->ptr + out->len);
    free(s);
    return rc;
}

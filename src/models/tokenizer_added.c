/* SPDX-License-Identifier: MIT */
/* Added tokens in a text: of those that start first, the longest; then on from its
 * end. The conditions single_word, lstrip and rstrip are those of the `tokenizers`
 * library (AddedVocabulary::find_matches), its oddities included: a match that
 * single_word refuses is skipped whole, and stripped space may be claimed twice. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "models/tokenizer_impl.h"

static int compare_texts(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    int c = memcmp(x->text, y->text, min_size(x->text_len, y->text_len));
    return c ? c : (x->text_len > y->text_len) - (x->text_len < y->text_len);
}

enum err added_list_finish(struct added_list *l, const char *name, struct errmsg *em)
{
    if (l->n)
        qsort(l->tokens, l->n, sizeof *l->tokens, compare_texts);
    for (size_t i = 0; i < l->n; i++) {
        l->starts[(uint8_t)l->tokens[i].text[0]] = true;
        if (i && compare_texts(&l->tokens[i - 1], &l->tokens[i]) == 0)
            return err_set(em, ERR_FORMAT, "%s: two added tokens have the text \"%.200s\"", name,
                           l->tokens[i].text);
    }
    return ERR_OK;
}

void added_list_deinit(struct added_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->tokens[i].text);
        free(l->tokens[i].content);
    }
    free(l->tokens);
    *l = (struct added_list){0};
}

/* In tokens [lo, hi), which agree in their first depth bytes and are longer or of
 * that length, the first whose byte at depth is at least c. */
static size_t lower_bound(const struct added_list *l, size_t lo, size_t hi, size_t depth,
                          unsigned c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct added_token *t = &l->tokens[mid];
        if (t->text_len == depth || (uint8_t)t->text[depth] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest token that the text starts with, or NULL. */
static const struct added_token *longest_at(const struct added_list *l, const char *text,
                                            size_t len)
{
    const struct added_token *best = NULL;
    size_t lo = 0, hi = l->n;
    for (size_t depth = 0; depth < len && lo < hi; depth++) {
        unsigned c = (uint8_t)text[depth];
        lo = lower_bound(l, lo, hi, depth, c);
        hi = lower_bound(l, lo, hi, depth, c + 1);
        if (lo < hi && l->tokens[lo].text_len == depth + 1)
            best = &l->tokens[lo];
    }
    return best;
}

static bool is_single_word(const char *text, size_t len, size_t start, size_t end)
{
    size_t before = start, after = end;
    return !(start > 0 && unicode_is_word(utf8_prev(text, &before))) &&
           !(end < len && unicode_is_word(utf8_next(text, &after)));
}

static size_t skip_spaces_back(const char *text, size_t at)
{
    while (at > 0) {
        size_t before = at;
        if (!unicode_is_space(utf8_prev(text, &before)))
            break;
        at = before;
    }
    return at;
}

static size_t skip_spaces(const char *text, size_t len, size_t at)
{
    while (at < len) {
        size_t after = at;
        if (!unicode_is_space(utf8_next(text, &after)))
            break;
        at = after;
    }
    return at;
}

enum err added_split(const struct added_list *l, const char *text, size_t len,
                     enum err (*on_text)(void *ctx, const char *text, size_t len,
                                         struct errmsg *em),
                     enum err (*on_token)(void *ctx, int32_t id, struct errmsg *em), void *ctx,
                     struct errmsg *em)
{
    enum err rc = ERR_OK;
    size_t done = 0; /* what lies before is told */
    for (size_t at = 0; at < len;) {
        const struct added_token *t =
            l->starts[(uint8_t)text[at]] ? longest_at(l, text + at, len - at) : NULL;
        if (!t) {
            at++;
            continue;
        }
        size_t start = at, end = at + t->text_len;
        at = end;
        if (t->single_word && !is_single_word(text, len, start, end))
            continue;
        if (t->lstrip)
            start = max_size(skip_spaces_back(text, start), done);
        if (t->rstrip)
            end = skip_spaces(text, len, end);
        if (done < start)
            rc = on_text(ctx, text + done, start - done, em);
        if (!rc)
            rc = on_token(ctx, t->id, em);
        if (rc)
            return rc;
        done = end;
    }
    return done < len ? on_text(ctx, text + done, len - done, em) : ERR_OK;
}

/* SPDX-License-Identifier: MIT */
/* Text to tokens and back. The way of a text: added tokens are cut out of it as it
 * is given, the rest is normalized, added tokens are cut out of that, the rest is
 * split into words by the file's patterns, and each word is merged from its bytes. */
#include "models/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "models/tokenizer_impl.h"

#define TEXT_BYTES_MAX ((size_t)4 << 20) /* a prompt and the template around it are far less */

/* One call of tokenizer_encode. */
struct encoder {
    const struct tokenizer *t;
    struct id_list ids;
    struct bpe_scratch scratch;
    struct pattern_iter iters[TOKENIZER_STAGES_MAX];
};

enum err tokenizer_parse(const char *json, size_t len, const char *name, struct tokenizer **out,
                         struct errmsg *em)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return err_nomem(em, sizeof *t);
    enum err rc = tokenizer_load(t, json, len, name, em);
    if (rc)
        tokenizer_close(t);
    else
        *out = t;
    return rc;
}

enum err tokenizer_open(const char *path, struct tokenizer **out, struct errmsg *em)
{
    struct buf text = {0};
    enum err rc = file_read(path, LIMIT_TOKENIZER_BYTES_MAX, &text, em);
    if (!rc)
        rc = tokenizer_parse(text.ptr ? (const char *)text.ptr : "", text.len, path, out, em);
    buf_deinit(&text);
    return rc;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    bpe_deinit(&t->bpe);
    for (size_t i = 0; i < t->n_stages; i++)
        pattern_free(t->stages[i]);
    added_list_deinit(&t->raw);
    added_list_deinit(&t->normalized);
    free(t);
}

size_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->n_ids;
}

/* Split by pattern number stage: matches and what lies between them alike are
 * pieces, which the next stage splits; after the last they are words. */
static enum err encode_piece(struct encoder *e, size_t stage, const char *text, size_t len,
                             struct errmsg *em)
{
    if (stage == e->t->n_stages)
        return bpe_encode(&e->t->bpe, &e->scratch, text, len, &e->ids, em);
    struct pattern_iter *it = &e->iters[stage];
    size_t done = 0;
    pattern_iter_restart(it, e->t->stages[stage], text, len);
    for (;;) {
        bool found;
        size_t start = len, end = len;
        enum err rc = pattern_next(it, &found, &start, &end, em);
        if (!rc && !found)
            start = end = len;
        if (!rc && start > done)
            rc = encode_piece(e, stage + 1, text + done, start - done, em);
        if (!rc && end > start)
            rc = encode_piece(e, stage + 1, text + start, end - start, em);
        if (rc || !found)
            return rc;
        done = end;
    }
}

static enum err on_token(void *ctx, int32_t id, struct errmsg *em)
{
    struct encoder *e = ctx;
    enum err rc = id_list_reserve(&e->ids, 1, em);
    if (!rc)
        e->ids.ids[e->ids.n++] = id;
    return rc;
}

static enum err on_normalized_text(void *ctx, const char *text, size_t len, struct errmsg *em)
{
    return encode_piece(ctx, 0, text, len, em);
}

static enum err on_raw_text(void *ctx, const char *text, size_t len, struct errmsg *em)
{
    struct encoder *e = ctx;
    const struct added_list *added = &e->t->normalized;
    if (!e->t->nfc || nfc_is_plain(text, len))
        return added_split(added, text, len, on_normalized_text, on_token, e, em);
    struct buf nfc = {0};
    enum err rc = nfc_append(&nfc, text, len, em);
    if (!rc)
        rc =
            added_split(added, (const char *)nfc.ptr, nfc.len, on_normalized_text, on_token, e, em);
    buf_deinit(&nfc);
    return rc;
}

enum err tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, int32_t **ids,
                          size_t *n, struct errmsg *em)
{
    struct encoder e = {.t = t};
    size_t offset;
    if (len > TEXT_BYTES_MAX)
        return err_set(em, ERR_USAGE, "the text is too long: %zu bytes, at most %zu can be", len,
                       TEXT_BYTES_MAX);
    if (!utf8_valid(text, len, &offset))
        return err_set(em, ERR_FORMAT, "the text is not valid UTF-8 at byte %zu (0x%02x)", offset,
                       (unsigned)(uint8_t)text[offset]);
    enum err rc = id_list_reserve(&e.ids, 1, em); /* so that *ids is never NULL */
    if (!rc)
        rc = added_split(&t->raw, text, len, on_raw_text, on_token, &e, em);
    bpe_scratch_deinit(&e.scratch);
    for (size_t i = 0; i < TOKENIZER_STAGES_MAX; i++)
        pattern_iter_deinit(&e.iters[i]);
    if (rc) {
        free(e.ids.ids);
        return rc;
    }
    *ids = e.ids.ids;
    *n = e.ids.n;
    return ERR_OK;
}

static const struct added_token *added_by_id(const struct added_list *l, int32_t id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->tokens[i].id == id)
            return &l->tokens[i];
    return NULL;
}

enum err tokenizer_decode(const struct tokenizer *t, int32_t id, struct buf *out, struct errmsg *em)
{
    const struct added_token *a = added_by_id(&t->raw, id);
    if (!a)
        a = added_by_id(&t->normalized, id);
    if (a)
        return buf_append(out, a->content, strlen(a->content), em);
    if (id < 0 || (size_t)id >= t->bpe.n_ids || t->bpe.lens[id] == UINT32_MAX)
        return err_set(em, ERR_FORMAT, "no token has the id %d", (int)id);
    return buf_append(out, t->bpe.bytes.ptr + t->bpe.starts[id], t->bpe.lens[id], em);
}

int32_t tokenizer_special_id(const struct tokenizer *t, const char *text)
{
    const struct added_list *lists[] = {&t->raw, &t->normalized};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < lists[k]->n; i++)
            if (!strcmp(lists[k]->tokens[i].content, text))
                return lists[k]->tokens[i].id;
    return -1;
}

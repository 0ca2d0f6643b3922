/* SPDX-License-Identifier: MIT */
/* The "model" of tokenizer.json: its vocabulary and its merges. */
#include "models/tokenizer_load.h"

#include <string.h>

#include "base/limits.h"
#include "base/size.h"

void tok_alphabet(struct loader *l)
{
    int16_t next = 256;
    for (size_t i = 0; i < 512; i++)
        l->byte_of[i] = -1;
    for (int16_t b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        l->byte_of[printable ? b : next++] = b;
    }
}

bool tok_bytes(const struct loader *l, const char *text, size_t len, uint8_t out[TOKEN_BYTES_MAX],
               size_t *n_out)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        uint32_t c = utf8_next(text, &i);
        if (c >= 512 || l->byte_of[c] < 0 || n == TOKEN_BYTES_MAX)
            return false;
        out[n++] = (uint8_t)l->byte_of[c];
    }
    *n_out = n;
    return true;
}

/* Check all ids; *max_ids is the highest one + 1. */
static enum err check_ids(const struct loader *l, const json_t *vocab, size_t *max_ids)
{
    const char *text;
    json_t *id;
    *max_ids = 0;
    json_object_foreach((json_t *)(uintptr_t)vocab, text, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= LIMIT_VOCAB_MAX)
            return err_set(l->em, ERR_FORMAT,
                           "%s: the id of token \"%.100s\" must be a number from 0 to %u", l->name,
                           text, LIMIT_VOCAB_MAX - 1);
        *max_ids = max_size(*max_ids, (size_t)json_integer_value(id) + 1);
    }
    return ERR_OK;
}

static enum err load_vocab(struct loader *l, const json_t *vocab)
{
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)(uintptr_t)vocab, text, id)
    {
        size_t len = strlen(text), n;
        if (len > TOKEN_BYTES_MAX)
            return err_set(l->em, ERR_FORMAT, "%s: the token \"%.40s…\" is longer than %u bytes",
                           l->name, text, TOKEN_BYTES_MAX);
        /* a text that no bytes can give (a special token's) is decoded as it stands */
        bool findable = tok_bytes(l, text, len, l->left, &n);
        enum err rc = bpe_add_token(&l->t->bpe, (int32_t)json_integer_value(id),
                                    findable ? l->left : (const uint8_t *)text, findable ? n : len,
                                    findable, l->em);
        if (rc)
            return err_prefix(l->em, rc, "%s", l->name);
    }
    bpe_finish(&l->t->bpe);
    return ERR_OK;
}

/* The two texts of a merge, "a b" or ["a", "b"]. */
static bool merge_texts(const json_t *merge, const char *text[2], size_t len[2])
{
    if (json_is_string(merge)) {
        const char *s = json_string_value(merge);
        const char *space = strchr(s, ' ');
        if (!space || strchr(space + 1, ' '))
            return false;
        text[0] = s;
        len[0] = (size_t)(space - s);
        text[1] = space + 1;
        len[1] = strlen(space + 1);
        return true;
    }
    if (json_array_size(merge) != 2)
        return false;
    for (size_t i = 0; i < 2; i++) {
        const json_t *part = json_array_get(merge, i);
        if (!json_is_string(part))
            return false;
        text[i] = json_string_value(part);
        len[i] = json_string_length(part);
    }
    return true;
}

static enum err load_merge(struct loader *l, const json_t *merge, uint32_t rank)
{
    const char *text[2];
    size_t len[2], n_left, n_right;
    struct bpe *b = &l->t->bpe;
    if (!merge_texts(merge, text, len))
        return err_set(l->em, ERR_FORMAT, "%s: merge %u must be two tokens", l->name, rank);
    /* tokens that no bytes can give never stand in a text: nothing to merge */
    if (!tok_bytes(l, text[0], len[0], l->left, &n_left) ||
        !tok_bytes(l, text[1], len[1], l->right, &n_right))
        return ERR_OK;
    int32_t left = bpe_find(b, l->left, n_left);
    int32_t right = bpe_find(b, l->right, n_right);
    int32_t merged = BPE_NO_ID;
    if (n_left + n_right <= TOKEN_BYTES_MAX) {
        memcpy(l->left + n_left, l->right, n_right);
        merged = bpe_find(b, l->left, n_left + n_right);
    }
    if (left < 0 || right < 0 || merged < 0)
        return err_set(
            l->em, ERR_FORMAT,
            "%s: merge %u (\"%.60s\") has a part or a result that is not in the vocabulary",
            l->name, rank, text[0]);
    bpe_add_merge(b, left, right, rank, merged);
    return ERR_OK;
}

static enum err load_merges(struct loader *l, const json_t *merges)
{
    uint32_t rank = 0;
    for (size_t i = 0; i < json_array_size(merges); i++) {
        const json_t *merge = json_array_get(merges, i);
        if (json_is_string(merge) && !strncmp(json_string_value(merge), "#version", 8))
            continue;
        enum err rc = load_merge(l, merge, rank++);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* Fields that change the result and are not done here must be off. */
static enum err check_model_field(const struct loader *l, const json_t *model, const char *field)
{
    const json_t *value = json_object_get(model, field);
    bool off = !value || json_is_null(value) || json_is_false(value) ||
               (json_is_string(value) && json_string_length(value) == 0) ||
               (json_is_number(value) && json_number_value(value) == 0);
    if (off)
        return ERR_OK;
    return err_set(l->em, ERR_UNSUPPORTED, "%s: this program cannot do a BPE model with %s",
                   l->name, field);
}

enum err tok_load_model(struct loader *l, const json_t *model)
{
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_object(model))
        return tok_bad(l, "model", "an object", model);
    if (json_object_get(model, "type") && !tok_has_type(model, "BPE"))
        return tok_unsupported(l, "model", model);
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return tok_bad(l, "model.vocab", "an object with tokens", vocab);
    if (!json_is_array(merges))
        return tok_bad(l, "model.merges", "an array", merges);
    if (json_object_size(vocab) > LIMIT_VOCAB_MAX || json_array_size(merges) > LIMIT_VOCAB_MAX)
        return err_set(l->em, ERR_FORMAT, "%s: more than %u tokens or merges", l->name,
                       LIMIT_VOCAB_MAX);
    bool ignore_merges = false;
    enum err rc = tok_flag(l, model, "ignore_merges", false, &ignore_merges);
    for (size_t i = 0; !rc && i < sizeof off / sizeof off[0]; i++)
        rc = check_model_field(l, model, off[i]);
    size_t max_ids = 0;
    if (!rc)
        rc = check_ids(l, vocab, &max_ids);
    if (!rc)
        rc = bpe_init(&l->t->bpe, max_ids, json_object_size(vocab), json_array_size(merges), l->em);
    if (rc)
        return rc;
    l->t->bpe.ignore_merges = ignore_merges;
    rc = load_vocab(l, vocab);
    return rc ? rc : load_merges(l, merges);
}

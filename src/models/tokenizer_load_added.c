/* SPDX-License-Identifier: MIT */
/* The "added_tokens" of tokenizer.json, which are found in a text before anything else. */
#include "models/tokenizer_load.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/size.h"

static char *copy_text(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    if (copy) {
        memcpy(copy, text, len);
        copy[len] = 0;
    }
    return copy;
}

/* Text and content of the token; text is normalized when it is looked for there. */
static enum err set_texts(const struct loader *l, struct added_token *a, const char *content)
{
    struct buf nfc = {0};
    enum err rc = ERR_OK;
    size_t len = strlen(content);
    bool as_it_is = !a->normalized || !l->t->nfc || nfc_is_plain(content, len);
    if (!as_it_is)
        rc = nfc_append(&nfc, content, len, l->em);
    if (!rc) {
        a->text_len = as_it_is ? len : nfc.len;
        a->text = copy_text(as_it_is ? content : (const char *)nfc.ptr, a->text_len);
        a->content = copy_text(content, len);
        if (!a->text || !a->content) {
            free(a->text);
            free(a->content);
            rc = err_nomem(l->em, len);
        }
    }
    buf_deinit(&nfc);
    return rc;
}

/* The id that the reference gives: that of the vocabulary's token of this text, or
 * the next free one. It ignores the file's own number; we refuse when they differ. */
static enum err added_id(struct loader *l, const char *content, int64_t id, int32_t *next)
{
    size_t n = 0;
    struct bpe *b = &l->t->bpe;
    int32_t expected = BPE_NO_ID;
    if (tok_bytes(l, content, strlen(content), l->left, &n))
        expected = bpe_find(b, l->left, n);
    bool in_vocab = id >= 0 && (size_t)id < b->n_ids && b->lens[id] == strlen(content) &&
                    !memcmp(b->bytes.ptr + b->starts[id], content, strlen(content));
    if (expected < 0)
        expected = in_vocab ? (int32_t)id : (*next)++;
    if (id != expected)
        return err_set(l->em, ERR_UNSUPPORTED,
                       "%s: the added token \"%.100s\" has the id %lld, expected %d", l->name,
                       content, (long long)id, (int)expected);
    return ERR_OK;
}

static enum err load_added_token(struct loader *l, const json_t *value, int32_t *next)
{
    struct added_token a = {0};
    const json_t *content = json_object_get(value, "content");
    const json_t *id = json_object_get(value, "id");
    if (!json_is_string(content))
        return tok_bad(l, "added_tokens.content", "a string", content);
    if (!json_is_integer(id))
        return tok_bad(l, "added_tokens.id", "an integer", id);
    const char *text = json_string_value(content);
    if (!*text)
        return ERR_OK;
    if (strlen(text) > TOKEN_BYTES_MAX)
        return err_set(l->em, ERR_FORMAT, "%s: the added token \"%.40s…\" is longer than %u bytes",
                       l->name, text, TOKEN_BYTES_MAX);
    enum err rc = added_id(l, text, json_integer_value(id), next);
    if (!rc)
        rc = tok_flag(l, value, "single_word", false, &a.single_word);
    if (!rc)
        rc = tok_flag(l, value, "lstrip", false, &a.lstrip);
    if (!rc)
        rc = tok_flag(l, value, "rstrip", false, &a.rstrip);
    if (!rc)
        rc = tok_flag(l, value, "normalized", true, &a.normalized);
    if (rc)
        return rc;
    a.id = (int32_t)json_integer_value(id);
    rc = set_texts(l, &a, text);
    if (rc)
        return rc;
    l->t->n_ids = max_size(l->t->n_ids, (size_t)a.id + 1);
    struct added_list *list = a.normalized ? &l->t->normalized : &l->t->raw;
    list->tokens[list->n++] = a;
    return ERR_OK;
}

enum err tok_load_added(struct loader *l, const json_t *list, size_t vocab_size)
{
    l->t->n_ids = l->t->bpe.n_ids;
    if (!list || json_is_null(list))
        return ERR_OK;
    if (!json_is_array(list))
        return tok_bad(l, "added_tokens", "an array", list);
    size_t n = json_array_size(list);
    if (n + vocab_size > LIMIT_VOCAB_MAX)
        return err_set(l->em, ERR_FORMAT, "%s: more than %u tokens", l->name, LIMIT_VOCAB_MAX);
    l->t->raw.tokens = calloc(n + 1, sizeof *l->t->raw.tokens);
    l->t->normalized.tokens = calloc(n + 1, sizeof *l->t->normalized.tokens);
    if (!l->t->raw.tokens || !l->t->normalized.tokens)
        return err_nomem(l->em, 2 * n * sizeof *l->t->raw.tokens);
    int32_t next = (int32_t)vocab_size;
    enum err rc = ERR_OK;
    for (size_t i = 0; !rc && i < n; i++)
        rc = load_added_token(l, json_array_get(list, i), &next);
    if (!rc)
        rc = added_list_finish(&l->t->raw, l->name, l->em);
    return rc ? rc : added_list_finish(&l->t->normalized, l->name, l->em);
}

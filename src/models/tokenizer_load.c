/* SPDX-License-Identifier: MIT */
/* tokenizer.json, as the `tokenizers` library writes it: what the file asks for is
 * done or refused by name, never skipped; except truncation and padding, which are
 * the caller's (transformers overrules them too). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/size.h"
#include "formats/json.h"
#include "models/tokenizer_impl.h"

#define VALUES_PER_TOKEN 4u /* itself, and a merge of three */
#define TOKEN_BYTES_MAX 4096u
/* what ByteLevel splits by when the file gives no pattern of its own (GPT-2) */
#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

struct loader {
    struct tokenizer *t;
    const char *name;
    struct errmsg *em;
    int16_t byte_of[512]; /* the byte that a code point stands for, or -1 */
    uint8_t left[TOKEN_BYTES_MAX], right[TOKEN_BYTES_MAX];
};

static enum err bad(const struct loader *l, const char *field, const char *expected,
                    const json_t *found)
{
    return err_set(l->em, ERR_FORMAT, "%s: \"%s\" must be %s, not %s", l->name, field, expected,
                   json_kind_name(found));
}

static enum err unsupported(const struct loader *l, const char *field, const json_t *value)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    return err_set(l->em, ERR_UNSUPPORTED, "%s: this program cannot do the %s \"%.100s\"", l->name,
                   field, type ? type : json_kind_name(value));
}

static bool has_type(const json_t *object, const char *type)
{
    const char *s = json_string_value(json_object_get(object, "type"));
    return s && !strcmp(s, type);
}

/* A flag of an object: absent (or null) gives the fallback. */
static enum err read_flag(const struct loader *l, const json_t *object, const char *field,
                          bool fallback, bool *out)
{
    const json_t *value = json_object_get(object, field);
    if (value && !json_is_null(value) && !json_is_boolean(value))
        return bad(l, field, "true or false", value);
    *out = json_is_boolean(value) ? json_is_true(value) : fallback;
    return ERR_OK;
}

/* ---- normalizer and pre_tokenizer ---- */

static enum err load_normalizer(struct loader *l, const json_t *value)
{
    if (!value || json_is_null(value))
        return ERR_OK;
    if (has_type(value, "NFC")) {
        l->t->nfc = true;
        return ERR_OK;
    }
    const json_t *list = json_object_get(value, "normalizers");
    if (!has_type(value, "Sequence") || !json_is_array(list))
        return unsupported(l, "normalizer", value);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!has_type(json_array_get(list, i), "NFC"))
            return unsupported(l, "normalizer", json_array_get(list, i));
        l->t->nfc = true;
    }
    return ERR_OK;
}

static enum err add_stage(struct loader *l, const char *pattern)
{
    if (l->t->n_stages == TOKENIZER_STAGES_MAX)
        return err_set(l->em, ERR_UNSUPPORTED, "%s: more than %u pre-tokenizers", l->name,
                       TOKENIZER_STAGES_MAX);
    enum err rc = pattern_new(pattern, l->name, &l->t->stages[l->t->n_stages], l->em);
    if (!rc)
        l->t->n_stages++;
    return rc;
}

static enum err load_split(struct loader *l, const json_t *value)
{
    const char *pattern =
        json_string_value(json_object_get(json_object_get(value, "pattern"), "Regex"));
    const char *behavior = json_string_value(json_object_get(value, "behavior"));
    bool invert = false;
    enum err rc = read_flag(l, value, "invert", false, &invert);
    if (rc)
        return rc;
    if (!pattern || !behavior || strcmp(behavior, "Isolated") != 0 || invert)
        return err_set(l->em, ERR_UNSUPPORTED,
                       "%s: the pre_tokenizer \"Split\" must have a pattern \"Regex\" and the "
                       "behavior \"Isolated\", not inverted",
                       l->name);
    return add_stage(l, pattern);
}

static enum err load_byte_level(struct loader *l, const json_t *value)
{
    bool prefix = false, use_regex = false;
    enum err rc = read_flag(l, value, "add_prefix_space", true, &prefix);
    if (!rc)
        rc = read_flag(l, value, "use_regex", true, &use_regex);
    if (rc)
        return rc;
    if (prefix)
        return err_set(l->em, ERR_UNSUPPORTED,
                       "%s: this program cannot do the pre_tokenizer \"ByteLevel\" with "
                       "add_prefix_space",
                       l->name);
    return use_regex ? add_stage(l, GPT2_PATTERN) : ERR_OK;
}

static enum err load_pre_tokenizer(struct loader *l, const json_t *value)
{
    if (has_type(value, "ByteLevel"))
        return load_byte_level(l, value);
    const json_t *list = json_object_get(value, "pretokenizers");
    if (!has_type(value, "Sequence") || !json_is_array(list))
        return unsupported(l, "pre_tokenizer", value);
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_t *stage = json_array_get(list, i);
        bool last = i + 1 == n;
        enum err rc = !last && has_type(stage, "Split") ? load_split(l, stage)
                      : last && has_type(stage, "ByteLevel")
                          ? load_byte_level(l, stage)
                          : unsupported(l, "pre_tokenizer", stage);
        if (rc)
            return rc;
    }
    return n ? ERR_OK : unsupported(l, "pre_tokenizer", value);
}

/* A decoder that turns characters back into bytes, which is what decoding does here. */
static enum err check_decoder(struct loader *l, const json_t *value)
{
    if (!value || json_is_null(value) || has_type(value, "ByteLevel"))
        return ERR_OK;
    return unsupported(l, "decoder", value);
}

static enum err check_version(const struct loader *l, const json_t *value)
{
    const char *version = json_string_value(value);
    if (!value || (version && !strcmp(version, "1.0")))
        return ERR_OK;
    return err_set(l->em, ERR_UNSUPPORTED, "%s: the version of a tokenizer must be \"1.0\"",
                   l->name);
}

/* One that only moves offsets, which nobody asks for here. */
static enum err check_post_processor(struct loader *l, const json_t *value)
{
    if (!value || json_is_null(value) || has_type(value, "ByteLevel"))
        return ERR_OK;
    const json_t *list = json_object_get(value, "processors");
    if (!has_type(value, "Sequence") || !json_is_array(list))
        return unsupported(l, "post_processor", value);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!has_type(json_array_get(list, i), "ByteLevel"))
            return unsupported(l, "post_processor", json_array_get(list, i));
    return ERR_OK;
}

/* ---- vocabulary and merges ---- */

/* GPT-2 writes each byte as a printable character: itself where it is one, else
 * U+0100 and up, in the order of the bytes. */
static void fill_alphabet(struct loader *l)
{
    int16_t next = 256;
    for (size_t i = 0; i < 512; i++)
        l->byte_of[i] = -1;
    for (int16_t b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        l->byte_of[printable ? b : next++] = b;
    }
}

/* The bytes that a token's text stands for; false when it has other characters. */
static bool token_bytes(const struct loader *l, const char *text, size_t len,
                        uint8_t out[TOKEN_BYTES_MAX], size_t *n_out)
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
        bool findable = token_bytes(l, text, len, l->left, &n);
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
    if (!token_bytes(l, text[0], len[0], l->left, &n_left) ||
        !token_bytes(l, text[1], len[1], l->right, &n_right))
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

static enum err load_model(struct loader *l, const json_t *model)
{
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_object(model))
        return bad(l, "model", "an object", model);
    if (json_object_get(model, "type") && !has_type(model, "BPE"))
        return unsupported(l, "model", model);
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return bad(l, "model.vocab", "an object with tokens", vocab);
    if (!json_is_array(merges))
        return bad(l, "model.merges", "an array", merges);
    if (json_object_size(vocab) > LIMIT_VOCAB_MAX || json_array_size(merges) > LIMIT_VOCAB_MAX)
        return err_set(l->em, ERR_FORMAT, "%s: more than %u tokens or merges", l->name,
                       LIMIT_VOCAB_MAX);
    bool ignore_merges = false;
    enum err rc = read_flag(l, model, "ignore_merges", false, &ignore_merges);
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

/* ---- added tokens ---- */

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
    if (token_bytes(l, content, strlen(content), l->left, &n))
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
        return bad(l, "added_tokens.content", "a string", content);
    if (!json_is_integer(id))
        return bad(l, "added_tokens.id", "an integer", id);
    const char *text = json_string_value(content);
    if (!*text)
        return ERR_OK;
    if (strlen(text) > TOKEN_BYTES_MAX)
        return err_set(l->em, ERR_FORMAT, "%s: the added token \"%.40s…\" is longer than %u bytes",
                       l->name, text, TOKEN_BYTES_MAX);
    enum err rc = added_id(l, text, json_integer_value(id), next);
    if (!rc)
        rc = read_flag(l, value, "single_word", false, &a.single_word);
    if (!rc)
        rc = read_flag(l, value, "lstrip", false, &a.lstrip);
    if (!rc)
        rc = read_flag(l, value, "rstrip", false, &a.rstrip);
    if (!rc)
        rc = read_flag(l, value, "normalized", true, &a.normalized);
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

static enum err load_added_tokens(struct loader *l, const json_t *list, size_t vocab_size)
{
    l->t->n_ids = l->t->bpe.n_ids;
    if (!list || json_is_null(list))
        return ERR_OK;
    if (!json_is_array(list))
        return bad(l, "added_tokens", "an array", list);
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

enum err tokenizer_load(struct tokenizer *t, const char *json, size_t len, const char *name,
                        struct errmsg *em)
{
    json_t *root = NULL;
    struct loader *l = malloc(sizeof *l);
    if (!l)
        return err_nomem(em, sizeof *l);
    l->t = t;
    l->name = name;
    l->em = em;
    fill_alphabet(l);
    enum err rc = len > LIMIT_TOKENIZER_BYTES_MAX
                      ? err_set(em, ERR_FORMAT, "%s is too large: more than %u bytes", name,
                                LIMIT_TOKENIZER_BYTES_MAX)
                      : json_parse_object(json, len, (size_t)LIMIT_VOCAB_MAX * VALUES_PER_TOKEN,
                                          name, &root, em);
    if (!rc)
        rc = check_version(l, json_object_get(root, "version"));
    if (!rc)
        rc = load_normalizer(l, json_object_get(root, "normalizer"));
    if (!rc)
        rc = load_pre_tokenizer(l, json_object_get(root, "pre_tokenizer"));
    if (!rc)
        rc = check_post_processor(l, json_object_get(root, "post_processor"));
    if (!rc)
        rc = check_decoder(l, json_object_get(root, "decoder"));
    if (!rc)
        rc = load_model(l, json_object_get(root, "model"));
    if (!rc)
        rc = load_added_tokens(
            l, json_object_get(root, "added_tokens"),
            json_object_size(json_object_get(json_object_get(root, "model"), "vocab")));
    json_decref(root);
    free(l);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/* tokenizer.json, as the `tokenizers` library writes it: what the file asks for is
 * done or refused by name, never skipped; except truncation and padding, which are
 * the caller's (transformers overrules them too). */
#include "models/tokenizer_load.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define VALUES_PER_TOKEN 4u /* itself, and a merge of three */
/* what ByteLevel splits by when the file gives no pattern of its own (GPT-2) */
#define GPT2_PATTERN                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

enum err tok_bad(const struct loader *l, const char *field, const char *expected,
                 const json_t *found)
{
    return err_set(l->em, ERR_FORMAT, "%s: \"%s\" must be %s, not %s", l->name, field, expected,
                   json_kind_name(found));
}

enum err tok_unsupported(const struct loader *l, const char *field, const json_t *value)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    return err_set(l->em, ERR_UNSUPPORTED, "%s: this program cannot do the %s \"%.100s\"", l->name,
                   field, type ? type : json_kind_name(value));
}

bool tok_has_type(const json_t *object, const char *type)
{
    const char *s = json_string_value(json_object_get(object, "type"));
    return s && !strcmp(s, type);
}

enum err tok_flag(const struct loader *l, const json_t *object, const char *field, bool fallback,
                  bool *out)
{
    const json_t *value = json_object_get(object, field);
    if (value && !json_is_null(value) && !json_is_boolean(value))
        return tok_bad(l, field, "true or false", value);
    *out = json_is_boolean(value) ? json_is_true(value) : fallback;
    return ERR_OK;
}

static enum err load_normalizer(struct loader *l, const json_t *value)
{
    if (!value || json_is_null(value))
        return ERR_OK;
    if (tok_has_type(value, "NFC")) {
        l->t->nfc = true;
        return ERR_OK;
    }
    const json_t *list = json_object_get(value, "normalizers");
    if (!tok_has_type(value, "Sequence") || !json_is_array(list))
        return tok_unsupported(l, "normalizer", value);
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!tok_has_type(json_array_get(list, i), "NFC"))
            return tok_unsupported(l, "normalizer", json_array_get(list, i));
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
    enum err rc = tok_flag(l, value, "invert", false, &invert);
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
    enum err rc = tok_flag(l, value, "add_prefix_space", true, &prefix);
    if (!rc)
        rc = tok_flag(l, value, "use_regex", true, &use_regex);
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
    if (tok_has_type(value, "ByteLevel"))
        return load_byte_level(l, value);
    const json_t *list = json_object_get(value, "pretokenizers");
    if (!tok_has_type(value, "Sequence") || !json_is_array(list))
        return tok_unsupported(l, "pre_tokenizer", value);
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_t *stage = json_array_get(list, i);
        bool last = i + 1 == n;
        enum err rc = !last && tok_has_type(stage, "Split") ? load_split(l, stage)
                      : last && tok_has_type(stage, "ByteLevel")
                          ? load_byte_level(l, stage)
                          : tok_unsupported(l, "pre_tokenizer", stage);
        if (rc)
            return rc;
    }
    return n ? ERR_OK : tok_unsupported(l, "pre_tokenizer", value);
}

/* A decoder that turns characters back into bytes, which is what decoding does here. */
static enum err check_decoder(struct loader *l, const json_t *value)
{
    if (!value || json_is_null(value) || tok_has_type(value, "ByteLevel"))
        return ERR_OK;
    return tok_unsupported(l, "decoder", value);
}

static enum err check_version(const struct loader *l, const json_t *value)
{
    const char *version = json_string_value(value);
    if (!value || (version && !strcmp(version, "1.0")))
        return ERR_OK;
    return err_set(l->em, ERR_UNSUPPORTED, "%s: the version of a tokenizer must be \"1.0\"",
                   l->name);
}

/* ByteLevel only moves offsets, which nobody asks for here; TemplateProcessing only puts special
 * tokens around a text that is encoded with them, and here they are part of the text. */
static enum err check_post_processor(struct loader *l, const json_t *value)
{
    static const char *const idle[] = {"ByteLevel", "TemplateProcessing"};
    if (!value || json_is_null(value))
        return ERR_OK;
    for (size_t i = 0; i < sizeof idle / sizeof idle[0]; i++)
        if (tok_has_type(value, idle[i]))
            return ERR_OK;
    const json_t *list = json_object_get(value, "processors");
    if (!tok_has_type(value, "Sequence") || !json_is_array(list))
        return tok_unsupported(l, "post_processor", value);
    enum err rc = ERR_OK;
    for (size_t i = 0; !rc && i < json_array_size(list); i++)
        rc = check_post_processor(l, json_array_get(list, i));
    return rc;
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
    tok_alphabet(l);
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
        rc = tok_load_model(l, json_object_get(root, "model"));
    if (!rc)
        rc = tok_load_added(
            l, json_object_get(root, "added_tokens"),
            json_object_size(json_object_get(json_object_get(root, "model"), "vocab")));
    json_decref(root);
    free(l);
    return rc;
}

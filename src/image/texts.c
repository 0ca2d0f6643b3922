/* SPDX-License-Identifier: MIT */
/* The list of texts that a picture carries. */
#include <stdlib.h>
#include <string.h>

#include "image/image_impl.h"

static bool is_word_start(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

/* What is both a PNG keyword and an XML name. */
static bool key_is_word(const char *key)
{
    size_t len = strlen(key);
    if (len == 0 || len > IMAGE_KEY_BYTES_MAX || !is_word_start(key[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!is_word_start(key[i]) && !strchr("0123456789-.", key[i]))
            return false;
    return true;
}

const char *image_texts_find(const struct image_texts *t, const char *key)
{
    for (size_t i = 0; t && i < t->n; i++)
        if (strcmp(t->items[i].key, key) == 0)
            return t->items[i].value;
    return NULL;
}

static struct image_text *text_at(struct image_texts *t, const char *key)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->items[i].key, key) == 0)
            return &t->items[i];
    return NULL;
}

/* Takes key and value, also on failure. */
static enum err append_take(struct image_texts *t, char *key, char *value, struct errmsg *em)
{
    struct image_text *items = NULL;
    if (key && value)
        items = realloc(t->items, (t->n + 1) * sizeof *items);
    if (!items) {
        free(key);
        free(value);
        return err_set(em, ERR_NOMEM, "out of memory for a picture's texts");
    }
    t->items = items;
    items[t->n++] = (struct image_text){key, value};
    return ERR_OK;
}

static size_t values_bytes(const struct image_texts *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += strlen(t->items[i].value);
    return n;
}

enum err image_texts_add(struct image_texts *t, const char *key, const char *value,
                         struct errmsg *em)
{
    if (!key_is_word(key))
        return err_set(em, ERR_USAGE,
                       "\"%.80s\" cannot be the name of a picture's text: letters, digits and "
                       "\"_-.\", at most %u, a letter first",
                       key, IMAGE_KEY_BYTES_MAX);
    if (!utf8_valid(value, strlen(value), NULL))
        return err_set(em, ERR_USAGE, "the picture's text \"%s\" is not valid UTF-8", key);
    struct image_text *old = text_at(t, key);
    size_t len = strlen(value), others = values_bytes(t) - (old ? strlen(old->value) : 0);
    if (len > IMAGE_TEXT_BYTES_MAX || others + len > IMAGE_TEXTS_BYTES_MAX ||
        (!old && t->n >= IMAGE_TEXTS_MAX))
        return err_set(em, ERR_USAGE,
                       "the picture's text \"%s\" (%zu bytes) is too much: at most %u texts, %u "
                       "bytes each and %u in all",
                       key, len, IMAGE_TEXTS_MAX, IMAGE_TEXT_BYTES_MAX, IMAGE_TEXTS_BYTES_MAX);
    if (!old)
        return append_take(t, strdup(key), strdup(value), em);
    char *copy = strdup(value);
    if (!copy)
        return err_nomem(em, len + 1);
    free(old->value);
    old->value = copy;
    return ERR_OK;
}

/* A copy up to the first NUL, with U+FFFD for each byte that is not UTF-8. */
static enum err value_clean(const char *value, size_t len, struct buf *out, struct errmsg *em)
{
    const uint8_t *p = (const uint8_t *)value;
    enum err rc = buf_append(out, NULL, 0, em);
    for (size_t i = 0; !rc && i < len && p[i];) {
        size_t n = utf8_decode(p + i, len - i, NULL);
        rc = n ? buf_append(out, p + i, n, em) : buf_append(out, "\xef\xbf\xbd", 3, em);
        i += n ? n : 1;
    }
    return rc;
}

enum err image_texts_add_foreign(struct image_texts *t, const char *key, size_t key_len,
                                 const char *value, size_t value_len, struct errmsg *em)
{
    if (key_len == 0 || key_len > IMAGE_KEY_BYTES_MAX || value_len > IMAGE_TEXT_BYTES_MAX ||
        t->n >= IMAGE_TEXTS_MAX || values_bytes(t) + value_len > IMAGE_TEXTS_BYTES_MAX)
        return ERR_OK;
    for (size_t i = 0; i < key_len; i++)
        if (key[i] < ' ' || key[i] > '~')
            return ERR_OK;
    char *name = strndup(key, key_len);
    if (!name)
        return err_nomem(em, key_len + 1);
    struct buf clean = {0};
    enum err rc = ERR_OK;
    if (!text_at(t, name))
        rc = value_clean(value, value_len, &clean, em);
    if (rc || !clean.ptr) {
        free(name);
        buf_deinit(&clean);
        return rc;
    }
    return append_take(t, name, (char *)clean.ptr, em);
}

void image_texts_deinit(struct image_texts *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++) {
        free(t->items[i].key);
        free(t->items[i].value);
    }
    free(t->items);
    *t = (struct image_texts){0};
}

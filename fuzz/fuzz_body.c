/* SPDX-License-Identifier: MIT */
/* Any bytes as a request's body: the scanner, the fields, base64 out of JSON strings. The scanner
 * and jansson must see the same: what jansson takes as a whole must scan, with its pictures at the
 * right places; what scans must be what jansson takes, but for what is inside of pictures. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/core_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const picture_fields[] = {"input_image", "input_image_2", NULL};

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* What the decoder made of the body's text must be what it makes of jansson's. */
static void check_picture(const struct body_picture *p, const char *plain)
{
    struct errmsg em;
    struct buf in_place = {0}, again = {0};
    json_t *quoted = json_string(plain);
    char *text = json_dumps(quoted, JSON_ENCODE_ANY);
    enum err rc = picture_decode_base64(p->ptr, p->len, &in_place, &em);
    enum err expected = picture_decode_base64(text + 1, strlen(text) - 2, &again, &em);
    require((rc == ERR_OK) == (expected == ERR_OK));
    if (rc == ERR_OK)
        require(in_place.len == again.len &&
                (again.len == 0 || memcmp(in_place.ptr, again.ptr, again.len) == 0));
    buf_deinit(&in_place);
    buf_deinit(&again);
    free(text);
    json_decref(quoted);
}

static void check_pictures(const struct body *b, const json_t *whole)
{
    for (const char *const *f = picture_fields; *f; f++) {
        const json_t *v = json_object_get(whole, *f);
        const struct body_picture *p = body_picture(b, *f);
        require(json_is_string(v) == (p != NULL));
        if (p)
            check_picture(p, json_string_value(v));
    }
}

static void read_fields(const struct body *b)
{
    static const char *const choices[] = {"png", "jpeg", NULL};
    struct faults faults = {0};
    struct fields f = {.root = b->root, .faults = &faults};
    int64_t i = 5;
    bool flag;
    const char *s = field_string(&f, "prompt", FIELD_REQUIRED | FIELD_NOT_BLANK, 100);
    require(!s || strlen(s) <= 400);
    if (field_integer(&f, "width", 1, 10, 5, &i))
        require(i >= 1 && i <= 10);
    (void)field_boolean(&f, "flag", false, &flag);
    require(field_choice(&f, "format", choices) < 2);
    require(f.rank == 4 && faults.n <= 4);
    free(faults.items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errmsg em;
    struct body b;
    const char *text = (const char *)data;
    json_t *whole = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    enum err rc = body_parse(text, size, picture_fields, &b, &em);
    if (rc == ERR_OK) {
        if (whole)
            check_pictures(&b, whole);
        read_fields(&b);
        body_deinit(&b);
    } else if (json_is_object(whole)) {
        /* only a bound may stand against what jansson takes */
        require(strstr(em.text, "nested") || strstr(em.text, "values"));
    }
    json_decref(whole);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* The header of one safetensors file: 8 bytes of length (little-endian), that
 * many bytes of JSON, then the tensors. As the format demands, the tensors cover
 * the rest of the file exactly: no gap, no overlap, nothing after the last. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "formats/json.h"
#include "formats/weights_impl.h"

#define LENGTH_BYTES 8u
#define HEADER_VALUES_PER_TENSOR 16u /* its name, type, two offsets, shape, and slack */

struct element_type {
    char name[16];
    unsigned n_bits;
    bool supported;
    enum dtype dtype;
};

/* Every type that the format knows, so that sizes are checked for all of them. */
static const struct element_type element_types[] = {
    {"F32", 32, true, DTYPE_F32},         {"F16", 16, true, DTYPE_F16},
    {"BF16", 16, true, DTYPE_BF16},       {.name = "BOOL", .n_bits = 8},
    {.name = "U8", .n_bits = 8},          {.name = "I8", .n_bits = 8},
    {.name = "U16", .n_bits = 16},        {.name = "I16", .n_bits = 16},
    {.name = "U32", .n_bits = 32},        {.name = "I32", .n_bits = 32},
    {.name = "U64", .n_bits = 64},        {.name = "I64", .n_bits = 64},
    {.name = "F64", .n_bits = 64},        {.name = "C64", .n_bits = 64},
    {.name = "F8_E4M3", .n_bits = 8},     {.name = "F8_E5M2", .n_bits = 8},
    {.name = "F8_E8M0", .n_bits = 8},     {.name = "F8_E4M3FNUZ", .n_bits = 8},
    {.name = "F8_E5M2FNUZ", .n_bits = 8}, {.name = "F6_E2M3", .n_bits = 6},
    {.name = "F6_E3M2", .n_bits = 6},     {.name = "F4", .n_bits = 4},
};

static const struct element_type *element_type_find(const char *name)
{
    for (size_t i = 0; i < sizeof element_types / sizeof element_types[0]; i++)
        if (!strcmp(element_types[i].name, name))
            return &element_types[i];
    return NULL;
}

bool safetensors_name_valid(const char *name)
{
    if (!*name || !strcmp(name, "__metadata__"))
        return false;
    for (; *name; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return false;
    return true;
}

/* Where the header's JSON lies. */
static enum err header_range(const uint8_t *bytes, size_t len, const char *name, size_t *header_len,
                             struct errmsg *em)
{
    static const char lfs[] = "version https://git-lfs";
    if (len >= sizeof lfs - 1 && !memcmp(bytes, lfs, sizeof lfs - 1))
        return err_set(em, ERR_FORMAT,
                       "%s is a Git LFS pointer, not the weights: fetch them with `git lfs pull`",
                       name);
    if (len < LENGTH_BYTES)
        return err_set(em, ERR_FORMAT, "%s is not a safetensors file: only %zu bytes", name, len);
    uint64_t n = 0;
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        n |= (uint64_t)bytes[i] << (8 * i);
    if (n > LIMIT_SAFETENSORS_HEADER_MAX)
        return err_set(em, ERR_FORMAT,
                       "%s is not a safetensors file: a header of %llu bytes, at most %u can be",
                       name, (unsigned long long)n, LIMIT_SAFETENSORS_HEADER_MAX);
    if (n > len - LENGTH_BYTES)
        return err_set(em, ERR_FORMAT,
                       "%s is truncated: a header of %llu bytes in a file of %zu bytes", name,
                       (unsigned long long)n, len);
    if (n == 0 || bytes[LENGTH_BYTES] != '{')
        return err_set(em, ERR_FORMAT, "%s is not a safetensors file: its header is not JSON",
                       name);
    *header_len = (size_t)n;
    return ERR_OK;
}

static enum err bad_tensor(struct errmsg *em, const char *file, const char *tensor,
                           const char *what)
{
    return err_set(em, ERR_FORMAT, "%s: tensor \"%.200s\" %s", file, tensor, what);
}

static bool read_size(const json_t *value, size_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

/* Fill e from the header's description of it. data: the first byte after the
 * header, data_len of them. */
static enum err parse_entry(const json_t *info, const uint8_t *data, size_t data_len,
                            const char *file, struct weights_entry *e, struct errmsg *em)
{
    const json_t *dtype = json_object_get(info, "dtype");
    const json_t *shape = json_object_get(info, "shape");
    const json_t *offsets = json_object_get(info, "data_offsets");
    size_t first, end;
    if (!json_is_string(dtype) || json_string_length(dtype) >= sizeof e->type_name)
        return bad_tensor(em, file, e->name, "has no element type (\"dtype\")");
    if (!json_is_array(shape))
        return bad_tensor(em, file, e->name, "has no \"shape\"");
    if (json_array_size(offsets) != 2 || !read_size(json_array_get(offsets, 0), &first) ||
        !read_size(json_array_get(offsets, 1), &end))
        return bad_tensor(em, file, e->name, "has no \"data_offsets\" of two numbers");
    if (first > end)
        return bad_tensor(em, file, e->name, "ends before it starts");
    if (end > data_len)
        return err_set(em, ERR_FORMAT, "%s is truncated: tensor \"%.200s\" ends at byte %zu of %zu",
                       file, e->name, end, data_len);
    if (json_array_size(shape) > LIMIT_TENSOR_DIMS_MAX)
        return err_set(em, ERR_FORMAT,
                       "%s: tensor \"%.200s\" has %zu dimensions, at most %u can be", file, e->name,
                       json_array_size(shape), LIMIT_TENSOR_DIMS_MAX);
    snprintf(e->type_name, sizeof e->type_name, "%s", json_string_value(dtype));
    e->n_dims = (uint8_t)json_array_size(shape);
    e->n_elems = 1;
    for (unsigned d = 0; d < e->n_dims; d++) {
        if (!read_size(json_array_get(shape, d), &e->shape[d]))
            return bad_tensor(em, file, e->name, "has a shape that is not made of sizes");
        if (!mul_size(e->n_elems, e->shape[d], &e->n_elems))
            return bad_tensor(em, file, e->name, "has a shape that is too large");
    }
    e->data = data + first;
    e->size_bytes = end - first;
    const struct element_type *type = element_type_find(e->type_name);
    if (!type)
        return ERR_OK; /* newer than this list: refused when it is asked for */
    size_t n_bits;
    if (!mul_size(e->n_elems, type->n_bits, &n_bits) || n_bits % 8 || n_bits / 8 != e->size_bytes)
        return err_set(em, ERR_FORMAT,
                       "%s: tensor \"%.200s\" has %zu bytes, its shape and type %s need another "
                       "number",
                       file, e->name, e->size_bytes, e->type_name);
    e->supported = type->supported;
    e->dtype = type->dtype;
    return ERR_OK;
}

static int compare_place(const void *a, const void *b)
{
    const struct weights_entry *x = *(const struct weights_entry *const *)a;
    const struct weights_entry *y = *(const struct weights_entry *const *)b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

/* The tensors cover [data, data + data_len) exactly. */
static enum err check_cover(const struct safetensors_header *h, const uint8_t *data,
                            size_t data_len, const char *file, struct errmsg *em)
{
    enum err rc = ERR_OK;
    const uint8_t *end = data;
    const struct weights_entry **order = malloc((h->n_entries + 1) * sizeof(*order));
    if (!order)
        return err_nomem(em, (h->n_entries + 1) * sizeof(*order));
    for (size_t i = 0; i < h->n_entries; i++)
        order[i] = &h->entries[i];
    qsort(order, h->n_entries, sizeof(*order), compare_place);
    for (size_t i = 0; !rc && i < h->n_entries; i++) {
        const struct weights_entry *e = order[i];
        if (e->data < end)
            rc = err_set(em, ERR_FORMAT, "%s: the tensors \"%.150s\" and \"%.150s\" overlap", file,
                         order[i - 1]->name, e->name);
        else if (e->data > end)
            rc = bad_tensor(em, file, e->name, "follows a gap that belongs to no tensor");
        end = e->data + e->size_bytes;
    }
    if (!rc && end != data + data_len)
        rc = err_set(em, ERR_FORMAT, "%s: %zu bytes after the last tensor", file,
                     (size_t)(data + data_len - end));
    free(order);
    return rc;
}

/* Room for the entries and their names. */
static enum err header_alloc(struct safetensors_header *h, const json_t *root, struct errmsg *em)
{
    size_t names_bytes = 1;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        names_bytes += strlen(key) + 1;
    }
    size_t n = json_object_size(root);
    h->names = malloc(names_bytes);
    h->entries = calloc(n + 1, sizeof *h->entries);
    if (!h->names || !h->entries)
        return err_nomem(em, names_bytes + (n + 1) * sizeof *h->entries);
    return ERR_OK;
}

enum err safetensors_header_parse(const uint8_t *bytes, size_t len, const char *name, uint32_t file,
                                  struct safetensors_header *out, struct errmsg *em)
{
    struct safetensors_header h = {0};
    json_t *root = NULL;
    size_t header_len = 0;
    enum err rc = header_range(bytes, len, name, &header_len, em);
    if (rc)
        return rc;
    const uint8_t *data = bytes + LENGTH_BYTES + header_len;
    size_t data_len = len - LENGTH_BYTES - header_len;
    rc = json_parse_object((const char *)bytes + LENGTH_BYTES, header_len,
                           (size_t)LIMIT_TENSORS_MAX * HEADER_VALUES_PER_TENSOR, name, &root, em);
    if (rc)
        return rc;
    if (json_object_size(root) > LIMIT_TENSORS_MAX)
        rc = err_set(em, ERR_FORMAT, "%s: %zu tensors, at most %u can be", name,
                     json_object_size(root), LIMIT_TENSORS_MAX);
    if (!rc)
        rc = header_alloc(&h, root, em);
    char *next_name = h.names;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (rc)
            break;
        if (!strcmp(key, "__metadata__")) {
            if (!json_is_object(value))
                rc = err_set(em, ERR_FORMAT, "%s: \"__metadata__\" must be an object, not %s", name,
                             json_kind_name(value));
            continue;
        }
        if (!safetensors_name_valid(key)) {
            rc = err_set(em, ERR_FORMAT, "%s: a tensor's name is empty or not printable", name);
            continue;
        }
        struct weights_entry *e = &h.entries[h.n_entries++];
        e->name = next_name;
        e->file = file;
        size_t name_bytes = strlen(key) + 1;
        memcpy(next_name, key, name_bytes);
        next_name += name_bytes;
        rc = parse_entry(value, data, data_len, name, e, em);
    }
    if (!rc)
        rc = check_cover(&h, data, data_len, name, em);
    json_decref(root);
    if (rc)
        safetensors_header_deinit(&h);
    else
        *out = h;
    return rc;
}

void safetensors_header_deinit(struct safetensors_header *h)
{
    free(h->entries);
    free(h->names);
    *h = (struct safetensors_header){0};
}

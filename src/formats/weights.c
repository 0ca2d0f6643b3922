/* SPDX-License-Identifier: MIT */
/* The tensors of one component: one file, or the shards of an index, as one table
 * in the order of names. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/size.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/weights_impl.h"

static const char *const stems[] = {"model", "diffusion_pytorch_model"};
#define N_STEMS (sizeof stems / sizeof stems[0])

struct weights_file {
    char *path;
    char *names;         /* of its tensors */
    struct file_map map; /* empty when the bytes are borrowed */
};

struct weights {
    char *path;
    struct weights_file *files;
    size_t n_files;
    struct weights_entry *entries;
    size_t n_entries;
};

void weights_close(struct weights *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_files; i++) {
        free(w->files[i].path);
        free(w->files[i].names);
        file_map_close(&w->files[i].map);
    }
    free(w->files);
    free(w->entries);
    free(w->path);
    free(w);
}

static enum err weights_new(const char *path, size_t max_files, struct weights **out,
                            struct errmsg *em)
{
    struct weights *w = calloc(1, sizeof *w);
    if (!w)
        return err_nomem(em, sizeof *w);
    w->path = strdup(path);
    w->files = calloc(max_files, sizeof *w->files);
    if (!w->path || !w->files) {
        weights_close(w);
        return err_nomem(em, max_files * sizeof *w->files);
    }
    *out = w;
    return ERR_OK;
}

/* Add the tensors of the bytes as file number n_files, which the caller has begun. */
static enum err add_tensors(struct weights *w, const uint8_t *bytes, size_t len, struct errmsg *em)
{
    struct weights_file *f = &w->files[w->n_files];
    struct safetensors_header h = {0};
    enum err rc = safetensors_header_parse(bytes, len, f->path, (uint32_t)w->n_files, &h, em);
    if (rc)
        return rc;
    f->names = h.names;
    h.names = NULL;
    size_t n = w->n_entries + h.n_entries;
    if (n > LIMIT_TENSORS_MAX) {
        rc = err_set(em, ERR_FORMAT, "%s: more than %u tensors", w->path, LIMIT_TENSORS_MAX);
    } else {
        struct weights_entry *grown = realloc(w->entries, (n + 1) * sizeof *grown);
        if (!grown) {
            rc = err_nomem(em, (n + 1) * sizeof *grown);
        } else {
            memcpy(grown + w->n_entries, h.entries, h.n_entries * sizeof *grown);
            w->entries = grown;
            w->n_entries = n;
        }
    }
    safetensors_header_deinit(&h);
    return rc;
}

static enum err add_file(struct weights *w, const char *path, struct errmsg *em)
{
    struct weights_file *f = &w->files[w->n_files];
    f->path = strdup(path);
    enum err rc = f->path ? file_map_open(&f->map, path, em) : err_nomem(em, strlen(path) + 1);
    if (!rc)
        rc = add_tensors(w, f->map.ptr, f->map.len, em);
    w->n_files++; /* weights_close releases what the failed one has, too */
    return rc;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct weights_entry *)a)->name, ((const struct weights_entry *)b)->name);
}

/* Sort the table; a name may stand in one file only. */
static enum err finish(struct weights *w, struct errmsg *em)
{
    if (w->n_entries == 0)
        return err_set(em, ERR_FORMAT, "%s holds no tensors", w->path);
    qsort(w->entries, w->n_entries, sizeof *w->entries, compare_entries);
    for (size_t i = 1; i < w->n_entries; i++) {
        const struct weights_entry *a = &w->entries[i - 1], *b = &w->entries[i];
        if (!strcmp(a->name, b->name))
            return err_set(em, ERR_FORMAT, "%s: the tensor \"%.150s\" is in %.150s and in %.150s",
                           w->path, a->name, w->files[a->file].path, w->files[b->file].path);
    }
    return ERR_OK;
}

static const struct weights_entry *find(const struct weights *w, const char *name)
{
    struct weights_entry key = {.name = (char *)(uintptr_t)name};
    return bsearch(&key, w->entries, w->n_entries, sizeof *w->entries, compare_entries);
}

/* A shard's name from an index is the name of a file beside it, nothing else. */
static bool shard_name_valid(const char *name)
{
    return *name && *name != '.' && !strpbrk(name, "/\\") && safetensors_name_valid(name);
}

static enum err shard_number(const json_t *shard_numbers, const json_t *shard, size_t *out)
{
    const json_t *n = json_object_get(shard_numbers, json_string_value(shard));
    *out = (size_t)json_integer_value(n);
    return n ? ERR_OK : ERR_NOTFOUND;
}

/* Open each shard that the map names, in the map's order. */
static enum err open_shards(struct weights *w, const char *dir, const char *index_path,
                            const json_t *weight_map, json_t *shard_numbers, struct errmsg *em)
{
    enum err rc = ERR_OK;
    const char *tensor;
    json_t *shard;
    size_t number;
    json_object_foreach((json_t *)(uintptr_t)weight_map, tensor, shard)
    {
        if (!json_is_string(shard))
            return err_set(em, ERR_FORMAT, "%s: the file of tensor \"%.200s\" must be a string",
                           index_path, tensor);
        const char *name = json_string_value(shard);
        if (!shard_name_valid(name))
            return err_set(em, ERR_FORMAT,
                           "%s: \"%.200s\" is not the name of a file in the same folder",
                           index_path, name);
        if (!shard_number(shard_numbers, shard, &number))
            continue;
        if (w->n_files == LIMIT_SHARDS_MAX)
            return err_set(em, ERR_FORMAT, "%s: more than %u files", index_path, LIMIT_SHARDS_MAX);
        if (json_object_set_new(shard_numbers, name, json_integer((json_int_t)w->n_files)))
            return err_nomem(em, strlen(name));
        char *path = path_join(dir, name);
        if (!path)
            return err_nomem(em, strlen(dir) + strlen(name) + 2);
        rc = add_file(w, path, em);
        free(path);
        if (rc == ERR_NOTFOUND)
            return err_set(em, rc,
                           "%.200s: the file %.150s, which it lists, is missing: download it",
                           index_path, name);
        if (rc)
            return rc;
    }
    return rc;
}

/* What the index says must be in a file must be there. */
static enum err check_index(const struct weights *w, const char *index_path,
                            const json_t *weight_map, const json_t *shard_numbers,
                            struct errmsg *em)
{
    const char *tensor;
    json_t *shard;
    json_object_foreach((json_t *)(uintptr_t)weight_map, tensor, shard)
    {
        size_t number;
        const struct weights_entry *e = find(w, tensor);
        if (shard_number(shard_numbers, shard, &number) || !e || e->file != number)
            return err_set(em, ERR_FORMAT, "%s: the tensor \"%.150s\" is not in %.150s", index_path,
                           tensor, json_string_value(shard));
    }
    return ERR_OK;
}

static enum err open_index(const char *dir, const char *index_path, struct weights **out,
                           struct errmsg *em)
{
    struct weights *w = NULL;
    struct buf text = {0};
    json_t *root = NULL;
    const json_t *weight_map = NULL;
    json_t *shard_numbers = NULL;
    enum err rc = file_read(index_path, LIMIT_SAFETENSORS_HEADER_MAX, &text, em);
    if (!rc)
        rc = json_parse_object(text.ptr ? (const char *)text.ptr : "", text.len,
                               (size_t)LIMIT_TENSORS_MAX * 2, index_path, &root, em);
    buf_deinit(&text);
    if (rc)
        goto out;
    weight_map = json_object_get(root, "weight_map");
    if (!json_is_object(weight_map)) {
        rc = err_set(em, ERR_FORMAT, "%s: \"weight_map\" must be an object, not %s", index_path,
                     json_kind_name(weight_map));
        goto out;
    }
    shard_numbers = json_object();
    if (!shard_numbers) {
        rc = err_nomem(em, 64);
        goto out;
    }
    rc = weights_new(dir, LIMIT_SHARDS_MAX, &w, em);
    if (rc)
        goto out;
    rc = open_shards(w, dir, index_path, weight_map, shard_numbers, em);
    if (!rc)
        rc = finish(w, em);
    if (!rc)
        rc = check_index(w, index_path, weight_map, shard_numbers, em);
out:
    json_decref(shard_numbers);
    json_decref(root);
    if (rc)
        weights_close(w);
    else
        *out = w;
    return rc;
}

static enum err open_file(const char *path, const char *shown_path, struct weights **out,
                          struct errmsg *em)
{
    struct weights *w = NULL;
    enum err rc = weights_new(shown_path, 1, &w, em);
    if (rc)
        return rc;
    rc = add_file(w, path, em);
    if (!rc)
        rc = finish(w, em);
    if (rc)
        weights_close(w);
    else
        *out = w;
    return rc;
}

static enum err open_dir(const char *dir, struct weights **out, struct errmsg *em)
{
    static const char *const suffixes[] = {".safetensors", ".safetensors.index.json"};
    for (size_t i = 0; i < N_STEMS * 2; i++) {
        char name[64];
        bool is_index = i % 2;
        snprintf(name, sizeof name, "%s%s", stems[i / 2], suffixes[is_index]);
        char *path = path_join(dir, name);
        if (!path)
            return err_nomem(em, strlen(dir) + sizeof name);
        enum err rc = ERR_NOTFOUND;
        bool there = file_exists(path);
        if (there)
            rc = is_index ? open_index(dir, path, out, em) : open_file(path, dir, out, em);
        free(path);
        if (there)
            return rc;
    }
    return err_set(
        em, ERR_NOTFOUND,
        "%s: no weights: neither %s.safetensors nor %s.safetensors, nor an index of them", dir,
        stems[0], stems[1]);
}

enum err weights_open(const char *path, struct weights **out, struct errmsg *em)
{
    return file_is_dir(path) ? open_dir(path, out, em) : open_file(path, path, out, em);
}

enum err weights_open_memory(const void *bytes, size_t len, const char *name, struct weights **out,
                             struct errmsg *em)
{
    struct weights *w = NULL;
    enum err rc = weights_new(name, 1, &w, em);
    if (rc)
        return rc;
    w->n_files = 0;
    w->files[0].path = strdup(name);
    rc = w->files[0].path ? add_tensors(w, bytes, len, em) : err_nomem(em, strlen(name) + 1);
    w->n_files = 1;
    if (!rc)
        rc = finish(w, em);
    if (rc)
        weights_close(w);
    else
        *out = w;
    return rc;
}

static enum err entry_tensor(const struct weights *w, const struct weights_entry *e,
                             struct tensor *out, struct errmsg *em)
{
    if (!e->supported)
        return err_set(
            em, ERR_UNSUPPORTED,
            "%s: tensor \"%.200s\" has elements of type %s; F32, F16 and BF16 can be used",
            w->files[e->file].path, e->name, e->type_name);
    *out = (struct tensor){
        .name = e->name,
        .data = e->data,
        .dtype = e->dtype,
        .n_dims = e->n_dims,
        .n_elems = e->n_elems,
    };
    memcpy(out->shape, e->shape, sizeof out->shape);
    return ERR_OK;
}

enum err weights_get(const struct weights *w, const char *name, struct tensor *out,
                     struct errmsg *em)
{
    const struct weights_entry *e = find(w, name);
    if (!e)
        return err_set(em, ERR_NOTFOUND, "%s: no tensor \"%.200s\"", w->path, name);
    return entry_tensor(w, e, out, em);
}

/* "[3, 64]" into buf. */
static void shape_text(char *buf, size_t size, unsigned n_dims, const size_t *shape)
{
    size_t len = (size_t)snprintf(buf, size, "[");
    for (unsigned d = 0; d < n_dims && len < size; d++)
        len += (size_t)snprintf(buf + len, size - len, "%s%zu", d ? ", " : "", shape[d]);
    if (len < size)
        snprintf(buf + len, size - len, "]");
}

enum err weights_get_shaped(const struct weights *w, const char *name, struct tensor *out,
                            struct errmsg *em, unsigned n_dims, ...)
{
    struct tensor t = {0};
    size_t shape[LIMIT_TENSOR_DIMS_MAX];
    enum err rc = weights_get(w, name, &t, em);
    if (rc)
        return rc;
    va_list ap;
    va_start(ap, n_dims);
    for (unsigned d = 0; d < n_dims; d++)
        shape[d] = va_arg(ap, size_t);
    va_end(ap);
    if (t.n_dims == n_dims && !memcmp(t.shape, shape, n_dims * sizeof shape[0])) {
        *out = t;
        return ERR_OK;
    }
    char has[160], needs[160];
    shape_text(has, sizeof has, t.n_dims, t.shape);
    shape_text(needs, sizeof needs, n_dims, shape);
    return err_set(em, ERR_FORMAT, "%s: tensor \"%.150s\" has the shape %s, the model needs %s",
                   w->path, name, has, needs);
}

bool weights_has(const struct weights *w, const char *name)
{
    return find(w, name) != NULL;
}

size_t weights_n_tensors(const struct weights *w)
{
    return w->n_entries;
}

enum err weights_at(const struct weights *w, size_t i, struct tensor *out, struct errmsg *em)
{
    if (i >= w->n_entries)
        return err_set(em, ERR_NOTFOUND, "%s: no tensor number %zu", w->path, i);
    return entry_tensor(w, &w->entries[i], out, em);
}

uint64_t weights_n_params(const struct weights *w)
{
    uint64_t n = 0;
    for (size_t i = 0; i < w->n_entries; i++)
        n += w->entries[i].n_elems;
    return n;
}

uint64_t weights_bytes(const struct weights *w)
{
    uint64_t n = 0;
    for (size_t i = 0; i < w->n_entries; i++)
        n += w->entries[i].size_bytes;
    return n;
}

const char *weights_path(const struct weights *w)
{
    return w->path;
}

void weights_release_pages(const struct weights *w)
{
    for (size_t i = 0; i < w->n_files; i++)
        file_map_release_pages(&w->files[i].map);
}

/* SPDX-License-Identifier: MIT */
/* Weights to disk, as a stream: every file is written whole under a temporary
 * name, and only when all of them are on the disk are they renamed; a failure
 * before that leaves nothing behind, and what was there stays. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "formats/safetensors.h"
#include "formats/weights_impl.h"

#define CHUNK_BYTES ((size_t)1 << 20)
#define ALIGN_BYTES 64u /* of the first tensor in the file; the header is padded with spaces */

typedef enum err fill_fn(void *ctx, size_t i, size_t first, size_t n, void *out);

struct shard {
    size_t first; /* of its tensors */
    size_t n;
    uint64_t data_bytes;
    char *path;
    char *tmp; /* NULL once there is no such file */
};

struct writer {
    const char *dir;
    const char *stem;
    const struct weights_spec *specs;
    size_t n_specs;
    uint64_t *sizes; /* of each tensor, bytes */
    struct shard *shards;
    size_t n_shards;
    uint64_t total_bytes;
};

static enum err spec_bytes(const struct weights_spec *s, uint64_t *out, struct errmsg *em)
{
    size_t n = dtype_size(s->dtype);
    bool ok = s->name && safetensors_name_valid(s->name) && s->n_dims <= LIMIT_TENSOR_DIMS_MAX;
    for (unsigned d = 0; ok && d < s->n_dims; d++)
        ok = mul_size(n, s->shape[d], &n) && n <= SIZE_MAX / 16;
    if (!ok)
        return err_set(em, ERR_USAGE, "tensor \"%.200s\" cannot be written: bad name or shape",
                       s->name ? s->name : "");
    *out = n;
    return ERR_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum err check_names(const struct writer *w, struct errmsg *em)
{
    enum err rc = ERR_OK;
    const char **names = malloc((w->n_specs + 1) * sizeof(*names));
    if (!names)
        return err_nomem(em, (w->n_specs + 1) * sizeof(*names));
    for (size_t i = 0; i < w->n_specs; i++)
        names[i] = w->specs[i].name;
    qsort(names, w->n_specs, sizeof(*names), compare_names);
    for (size_t i = 1; !rc && i < w->n_specs; i++)
        if (!strcmp(names[i - 1], names[i]))
            rc = err_set(em, ERR_USAGE, "two tensors are named \"%.200s\"", names[i]);
    free(names);
    return rc;
}

/* Sizes, and which tensors go into which shard. */
static enum err plan(struct writer *w, uint64_t shard_bytes, struct errmsg *em)
{
    if (w->n_specs == 0 || w->n_specs > LIMIT_TENSORS_MAX)
        return err_set(em, ERR_USAGE, "%zu tensors cannot be written: 1 to %u can", w->n_specs,
                       LIMIT_TENSORS_MAX);
    w->sizes = calloc(w->n_specs, sizeof *w->sizes);
    w->shards = calloc(w->n_specs, sizeof *w->shards);
    if (!w->sizes || !w->shards)
        return err_nomem(em, w->n_specs * (sizeof *w->sizes + sizeof *w->shards));
    struct shard *s = NULL;
    for (size_t i = 0; i < w->n_specs; i++) {
        enum err rc = spec_bytes(&w->specs[i], &w->sizes[i], em);
        if (rc)
            return rc;
        if (!s || (shard_bytes && s->data_bytes + w->sizes[i] > shard_bytes && s->n)) {
            s = &w->shards[w->n_shards++];
            s->first = i;
        }
        s->n++;
        s->data_bytes += w->sizes[i];
        w->total_bytes += w->sizes[i];
    }
    if (w->n_shards > LIMIT_SHARDS_MAX)
        return err_set(em, ERR_USAGE, "%zu shards, at most %u can be: make them larger",
                       w->n_shards, LIMIT_SHARDS_MAX);
    return check_names(w, em);
}

/* A path in the folder, in a new string. */
static enum err shard_path(const struct writer *w, size_t i, char **out, struct errmsg *em)
{
    size_t n = strlen(w->dir) + strlen(w->stem) + 64;
    *out = malloc(n);
    if (!*out)
        return err_nomem(em, n);
    if (w->n_shards == 1)
        snprintf(*out, n, "%s/%s.safetensors", w->dir, w->stem);
    else
        snprintf(*out, n, "%s/%s-%05zu-of-%05zu.safetensors", w->dir, w->stem, i + 1, w->n_shards);
    return ERR_OK;
}

/* The length and the JSON, in a new block. */
static enum err make_header(const struct writer *w, const struct shard *s, char **out, size_t *len,
                            struct errmsg *em)
{
    static const char *const type_names[] = {
        [DTYPE_F32] = "F32", [DTYPE_F16] = "F16", [DTYPE_BF16] = "BF16"};
    char *text = NULL;
    json_t *root = json_object();
    /* transformers refuses files without this note */
    bool ok =
        root && !json_object_set_new(root, "__metadata__", json_pack("{s:s}", "format", "pt"));
    uint64_t at = 0;
    for (size_t i = s->first; ok && i < s->first + s->n; i++) {
        const struct weights_spec *spec = &w->specs[i];
        json_t *shape = json_array();
        for (unsigned d = 0; ok && d < spec->n_dims; d++)
            ok = !json_array_append_new(shape, json_integer((json_int_t)spec->shape[d]));
        json_t *info =
            json_pack("{s:s,s:o,s:[I,I]}", "dtype", type_names[spec->dtype], "shape", shape,
                      "data_offsets", (json_int_t)at, (json_int_t)(at + w->sizes[i]));
        ok = ok && info && !json_object_set_new(root, spec->name, info);
        at += w->sizes[i];
    }
    if (ok)
        text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text)
        return err_set(em, ERR_NOMEM, "%s: no header: a name is not UTF-8, or out of memory",
                       s->path);
    size_t text_len = strlen(text);
    size_t padded = div_up(8 + text_len, ALIGN_BYTES) * ALIGN_BYTES;
    char *header = malloc(padded);
    if (!header) {
        free(text);
        return err_nomem(em, padded);
    }
    uint64_t n = padded - 8;
    for (unsigned i = 0; i < 8; i++)
        header[i] = (char)(unsigned char)(n >> (8 * i));
    memcpy(header + 8, text, text_len);
    memset(header + 8 + text_len, ' ', padded - 8 - text_len);
    free(text);
    *out = header;
    *len = padded;
    return ERR_OK;
}

static enum err write_tensor(const struct writer *w, size_t i, int fd, const char *path,
                             char *chunk, fill_fn *fill, void *ctx, struct errmsg *em)
{
    const struct weights_spec *spec = &w->specs[i];
    size_t size = dtype_size(spec->dtype);
    size_t n_elems = (size_t)w->sizes[i] / size;
    for (size_t first = 0; first < n_elems;) {
        size_t n = min_size(n_elems - first, CHUNK_BYTES / size);
        if (em)
            em->text[0] = 0;
        enum err rc = fill(ctx, i, first, n, chunk);
        /* fill may have left its own message through ctx */
        if (rc && em && !em->text[0])
            return err_set(em, rc, "%s: tensor \"%.200s\" could not be made", path, spec->name);
        if (!rc)
            rc = file_write_all(fd, path, chunk, n * size, em);
        if (rc)
            return rc;
        first += n;
    }
    return ERR_OK;
}

/* Create the temporary file and claim its space, so that a full disk is found
 * before the work is done. */
static enum err create_tmp(struct shard *s, uint64_t size_bytes, int *out, struct errmsg *em)
{
    int fd = file_open_beside(s->path, &s->tmp);
    if (fd < 0)
        return file_write_failed(s->path, em);
    if (fallocate(fd, 0, 0, (off_t)size_bytes) && errno != EOPNOTSUPP && errno != ENOSYS) {
        enum err rc = file_write_failed(s->path, em);
        close(fd);
        return rc;
    }
    *out = fd;
    return ERR_OK;
}

static enum err write_shard(const struct writer *w, struct shard *s, fill_fn *fill, void *ctx,
                            struct errmsg *em)
{
    char *header = NULL;
    size_t header_len = 0;
    int fd = -1;
    char *chunk = malloc(CHUNK_BYTES);
    enum err rc = chunk ? make_header(w, s, &header, &header_len, em) : err_nomem(em, CHUNK_BYTES);
    if (!rc)
        rc = create_tmp(s, header_len + s->data_bytes, &fd, em);
    if (!rc)
        rc = file_write_all(fd, s->path, header, header_len, em);
    for (size_t i = s->first; !rc && i < s->first + s->n; i++)
        rc = write_tensor(w, i, fd, s->path, chunk, fill, ctx, em);
    if (!rc && fsync(fd))
        rc = file_write_failed(s->path, em);
    if (fd >= 0 && close(fd) && !rc)
        rc = file_write_failed(s->path, em);
    free(header);
    free(chunk);
    return rc;
}

static enum err write_index(const struct writer *w, const char *path, struct errmsg *em)
{
    char *text = NULL;
    json_t *map = json_object();
    bool ok = map != NULL;
    for (size_t s = 0; ok && s < w->n_shards; s++)
        for (size_t i = 0; ok && i < w->shards[s].n; i++)
            ok = !json_object_set_new(map, w->specs[w->shards[s].first + i].name,
                                      json_string(strrchr(w->shards[s].path, '/') + 1));
    json_t *root = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)w->total_bytes,
                             "weight_map", map);
    if (ok && root)
        text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (!text)
        return err_nomem(em, w->n_specs * 64);
    enum err rc = file_write_atomic(path, text, strlen(text), em);
    free(text);
    return rc;
}

/* All files are complete: give them their names. Readers prefer the single file
 * (we) or the index (diffusers), so the other form of the same stem must go. */
static enum err publish(struct writer *w, struct errmsg *em)
{
    size_t n = strlen(w->dir) + strlen(w->stem) + 64;
    char *other = malloc(n);
    enum err rc = other ? ERR_OK : err_nomem(em, n);
    for (size_t i = 0; !rc && i < w->n_shards; i++) {
        struct shard *s = &w->shards[i];
        if (rename(s->tmp, s->path)) {
            rc = file_write_failed(s->path, em);
        } else {
            free(s->tmp);
            s->tmp = NULL;
        }
    }
    if (!rc) {
        snprintf(other, n, "%s/%s.safetensors.index.json", w->dir, w->stem);
        if (w->n_shards > 1) {
            rc = write_index(w, other, em);
            snprintf(other, n, "%s/%s.safetensors", w->dir, w->stem);
        }
        if (!rc && unlink(other) && errno != ENOENT)
            rc = err_set(em, ERR_IO, "cannot remove the old %s: %s", other, strerror(errno));
    }
    free(other);
    return rc;
}

static void writer_deinit(struct writer *w)
{
    for (size_t i = 0; i < w->n_shards; i++) {
        if (w->shards[i].tmp)
            unlink(w->shards[i].tmp);
        free(w->shards[i].tmp);
        free(w->shards[i].path);
    }
    free(w->shards);
    free(w->sizes);
}

enum err weights_write(const char *dir, const char *stem, const struct weights_spec *specs,
                       size_t n_specs, uint64_t shard_bytes, fill_fn *fill, void *ctx,
                       struct errmsg *em)
{
    struct writer w = {.dir = dir, .stem = stem, .specs = specs, .n_specs = n_specs};
    enum err rc = plan(&w, shard_bytes, em);
    for (size_t i = 0; !rc && i < w.n_shards; i++) {
        rc = shard_path(&w, i, &w.shards[i].path, em);
        if (!rc)
            rc = write_shard(&w, &w.shards[i], fill, ctx, em);
    }
    if (!rc)
        rc = publish(&w, em);
    writer_deinit(&w);
    return rc;
}

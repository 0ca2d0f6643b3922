/* SPDX-License-Identifier: MIT */
/* Writing a random model: its folders, its weights, and taking it all back on failure. */
#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "pipeline/random_model_impl.h"

#define SHARD_BYTES ((uint64_t)4 << 30)
#define TABLE_SIZE 4096u
#define FOLDERS_OPEN_MAX 8

struct fill_ctx {
    const struct spec_list *list;
    uint64_t state;
    float normals[TABLE_SIZE];
    uint16_t table[TABLE_SIZE]; /* the normals, scaled for one tensor, in bf16 */
    size_t table_of;
    uint64_t done_bytes, total_bytes;
    bool (*on_progress)(void *ctx, double fraction);
    void *ctx;
    struct errmsg *em;
};

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void make_normals(struct fill_ctx *f)
{
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        double u = ((double)(next_random(&f->state) >> 11) + 0.5) * 0x1p-53;
        double v = (double)(next_random(&f->state) >> 11) * 0x1p-53;
        f->normals[i] = (float)(sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v));
    }
}

static enum err fill(void *ctx, size_t i, size_t first, size_t n, void *out)
{
    struct fill_ctx *f = ctx;
    float value = f->list->values[i];
    uint16_t *p = out;
    (void)first;
    if (f->table_of != i) {
        for (size_t j = 0; j < TABLE_SIZE; j++)
            f->table[j] = bf16_from_f32(value < 0 ? -value : value * f->normals[j]);
        f->table_of = i;
    }
    for (size_t j = 0; j < n;) {
        uint64_t r = next_random(&f->state);
        for (int k = 0; k < 5 && j < n; k++, r >>= 12)
            p[j++] = f->table[r % TABLE_SIZE];
    }
    f->done_bytes += n * sizeof *p;
    if (f->on_progress && !f->on_progress(f->ctx, (double)f->done_bytes / (double)f->total_bytes))
        return err_set(f->em, ERR_CANCELLED, "cancelled");
    return ERR_OK;
}

static uint64_t list_bytes(const struct spec_list *l)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < l->n; i++) {
        uint64_t n = 2;
        for (unsigned d = 0; d < l->items[i].n_dims; d++)
            n *= l->items[i].shape[d];
        sum += n;
    }
    return sum;
}

static const struct part {
    const char *folder, *stem;
} parts[] = {{"transformer", "diffusion_pytorch_model"},
             {"text_encoder", "model"},
             {"vae", "diffusion_pytorch_model"}};
#define N_PARTS (sizeof parts / sizeof *parts)

static enum err write_weights(const struct spec_list *lists, struct fill_ctx *f, const char *dir,
                              struct errmsg *em)
{
    for (size_t i = 0; i < N_PARTS; i++) {
        char *sub = path_join(dir, parts[i].folder);
        if (!sub)
            return err_nomem(em, strlen(dir));
        f->list = &lists[i];
        f->table_of = SIZE_MAX;
        enum err rc = weights_write(sub, parts[i].stem, lists[i].items, lists[i].n, SHARD_BYTES,
                                    fill, f, em);
        free(sub);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

static enum err make_dirs(const char *dir, struct errmsg *em)
{
    static const char *const folders[] = {"", "scheduler", "transformer", "text_encoder", "vae",
                                          "tokenizer"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *path = path_join(dir, folders[i]);
        if (!path)
            return err_nomem(em, strlen(dir));
        int failed = mkdir(path, 0777);
        free(path);
        if (failed)
            return err_set(em, ERR_IO, "cannot make the folder %s: %s", dir, strerror(errno));
    }
    return ERR_OK;
}

static enum err copy_tokenizer(const char *from, const char *dir, struct errmsg *em)
{
    struct buf text = {0};
    char *to = path_join(dir, "tokenizer/tokenizer.json");
    enum err rc = to ? file_read(from, LIMIT_TOKENIZER_BYTES_MAX, &text, em)
                     : err_nomem(em, strlen(dir));
    if (!rc)
        rc = file_write_atomic(to, text.ptr, text.len, em);
    free(to);
    buf_deinit(&text);
    return rc;
}

static enum err check_room(const char *dir, uint64_t need, struct errmsg *em)
{
    struct statvfs fs;
    if (statvfs(dir, &fs))
        return ERR_OK; /* a system that cannot tell: writing will */
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room < need)
        return err_set(em, ERR_IO, "%s needs %llu MB; its disk has %llu MB left", dir,
                       (unsigned long long)(need >> 20), (unsigned long long)(room >> 20));
    return ERR_OK;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Take back what was written: the folder and all in it are ours. */
static void remove_model(const char *dir)
{
    (void)nftw(dir, remove_one, FOLDERS_OPEN_MAX, FTW_DEPTH | FTW_PHYS);
}

enum err random_model_write(const char *shape, const char *dir, const char *tokenizer_path,
                            bool (*on_progress)(void *ctx, double fraction), void *ctx,
                            struct errmsg *em)
{
    const struct shape *s = random_shape_find(shape);
    if (!s)
        return err_set(em, ERR_USAGE,
                       "unknown shape \"%s\"; known: klein-4b, klein-base-4b, klein-9b, "
                       "klein-base-9b, dev, tiny, tiny-dev",
                       shape);
    if (file_exists(dir))
        return err_set(em, ERR_USAGE, "%s is there already; give a new folder", dir);

    struct spec_list lists[N_PARTS] = {{0}};
    struct fill_ctx *f = calloc(1, sizeof *f);
    enum err rc = f ? ERR_OK : err_nomem(em, sizeof *f);
    for (size_t i = 0; i < N_PARTS; i++)
        lists[i].em = em;
    random_list_transformer(&lists[0], s);
    random_list_text_encoder(&lists[1], s);
    random_list_autoencoder(&lists[2]);
    uint64_t total = 0;
    for (size_t i = 0; i < N_PARTS; i++) {
        total += list_bytes(&lists[i]);
        if (!rc)
            rc = lists[i].rc;
    }
    if (!rc)
        rc = make_dirs(dir, em);
    if (!rc) {
        f->state = 1;
        f->total_bytes = total;
        f->on_progress = on_progress;
        f->ctx = ctx;
        f->em = em;
        make_normals(f);
        rc = check_room(dir, total, em);
        if (!rc)
            rc = random_write_configs(s, dir, em);
        if (!rc)
            rc = copy_tokenizer(tokenizer_path, dir, em);
        if (!rc)
            rc = write_weights(lists, f, dir, em);
        if (rc)
            remove_model(dir);
    }
    for (size_t i = 0; i < N_PARTS; i++)
        spec_list_deinit(&lists[i]);
    free(f);
    return rc;
}

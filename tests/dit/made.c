/* SPDX-License-Identifier: MIT */
#include "made.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "test.h"

void made_draw(const char *name, size_t first, float *out, size_t n)
{
    uint32_t seed = 2166136261u;
    for (const char *c = name; *c; c++)
        seed = (seed ^ (uint8_t)*c) * 16777619u;
    for (size_t i = 0; i < n; i++) {
        uint32_t x = seed + (uint32_t)(first + i) * 0x9e3779b9u;
        x ^= x >> 16;
        x *= 0x85ebca6bu;
        x ^= x >> 13;
        x *= 0xc2b2ae35u;
        x ^= x >> 16;
        out[i] = ((float)(x >> 8) * 0x1p-23f - 1.0f) * 1.7320508f;
    }
}

void made_read(struct made *m, const char *case_name)
{
    struct errmsg em;
    struct buf text = {0};
    char path[256];
    snprintf(path, sizeof path, "dit/%s/tensors.txt", case_name);
    assert_ok(file_read(data_path(path), 1 << 20, &text, &em));
    *m = (struct made){.poisoned = SIZE_MAX};
    for (size_t i = 0; i < text.len; i++)
        m->n += text.ptr[i] == '\n';
    m->specs = calloc(m->n, sizeof *m->specs);
    m->tensors = calloc(m->n, sizeof *m->tensors);
    assert_non_null(m->specs);
    assert_non_null(m->tensors);
    char *save = NULL;
    char *line = strtok_r((char *)text.ptr, "\n", &save);
    for (size_t i = 0; i < m->n; i++, line = strtok_r(NULL, "\n", &save)) {
        struct weights_spec *s = &m->specs[i];
        struct made_tensor *t = &m->tensors[i];
        char type[8];
        int n = sscanf(line, "%127s %7s %f %f %zu %zu", t->name, type, &t->scale, &t->offset,
                       &s->shape[0], &s->shape[1]);
        assert_in_range(n, 5, 6);
        s->name = t->name;
        s->dtype = strcmp(type, "BF16") ? DTYPE_F32 : DTYPE_BF16;
        s->n_dims = (unsigned)n - 4;
    }
    buf_deinit(&text);
}

void made_deinit(struct made *m)
{
    free(m->specs);
    free(m->tensors);
    *m = (struct made){0};
}

static enum err fill(void *ctx, size_t i, size_t first, size_t n, void *out)
{
    const struct made *m = ctx;
    const struct made_tensor *t = &m->tensors[i];
    float values[256];
    for (size_t j = 0; j < n; j++) {
        size_t at = j % 256;
        if (at == 0)
            made_draw(t->name, first + j, values, 256);
        float v = values[at] * t->scale + t->offset;
        if (i == m->poisoned && first + j == 0)
            v = NAN;
        if (m->specs[i].dtype == DTYPE_BF16) {
            uint16_t h = bf16_from_f32(v);
            memcpy((char *)out + 2 * j, &h, 2);
        } else {
            memcpy((char *)out + 4 * j, &v, 4);
        }
    }
    return ERR_OK;
}

void made_write(struct made *m, const char *dir, const char *stem)
{
    struct errmsg em;
    assert_ok(weights_write(dir, stem, m->specs, m->n, 0, fill, m, &em));
}

char *made_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = path_join(tmp ? tmp : "/tmp", "easel-dit-XXXXXX");
    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    return dir;
}

void made_remove(char *dir)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) {
        char *path = path_join(dir, e->d_name);
        assert_non_null(path);
        if (e->d_name[0] != '.')
            unlink(path);
        free(path);
    }
    closedir(d);
    assert_int_equal(rmdir(dir), 0);
    free(dir);
}

void made_file(const char *dir, const char *name, const void *bytes, size_t len)
{
    struct errmsg em;
    char *path = path_join(dir, name);
    assert_non_null(path);
    assert_ok(file_write_atomic(path, bytes, len, &em));
    free(path);
}

void made_copy(const char *dir, const char *name, const char *from)
{
    struct errmsg em;
    struct buf bytes = {0};
    assert_ok(file_read(from, 1 << 26, &bytes, &em));
    made_file(dir, name, bytes.ptr, bytes.len);
    buf_deinit(&bytes);
}

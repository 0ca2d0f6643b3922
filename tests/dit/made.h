/* SPDX-License-Identifier: MIT */
/* Models that tests write for themselves: their weights are a function of the
 * tensors' names (tools/fixtures/dit.py has the same formula), so that large shapes
 * need no large fixtures, and broken ones are made from good ones. */
#ifndef EASEL_TESTS_DIT_MADE_H
#define EASEL_TESTS_DIT_MADE_H

#include "formats/safetensors.h"

/* n values of unit variance, those of the name from the first on. */
void made_draw(const char *name, size_t first, float *out, size_t n);

struct made_tensor {
    char name[128];
    float scale, offset; /* draw * scale + offset */
};

struct made {
    size_t n;
    struct weights_spec *specs;
    struct made_tensor *tensors; /* specs[i].name points to tensors[i].name */
    size_t poisoned;             /* this tensor's first element is a NaN; SIZE_MAX: none */
};

/* Read tests/data/dit/CASE/tensors.txt. */
void made_read(struct made *m, const char *case_name);
void made_deinit(struct made *m);
void made_write(struct made *m, const char *dir, const char *stem);

/* A new folder under the system's temporary one; malloc'ed. */
char *made_dir(void);
/* Remove a folder of plain files, and free the string. */
void made_remove(char *dir);
void made_file(const char *dir, const char *name, const void *bytes, size_t len);
void made_copy(const char *dir, const char *name, const char *from);

#endif

/* SPDX-License-Identifier: MIT */
/* The tiny models of tests/data/text (made by tools/fixtures/text.py), the numbers
 * that transformers computes with them, and damaged copies of them. Everything
 * here fails the test that calls it rather than return an error. */
#ifndef EASEL_TESTS_TEXT_FIXTURE_H
#define EASEL_TESTS_TEXT_FIXTURE_H

#include "test.h"

#include "formats/safetensors.h"
#include "models/text_encoder_impl.h"

extern const char *const fixture_names[];
extern const size_t n_fixtures;

/* Sums in another order than torch's, in float32: the reference itself is up to
 * 1e-6 away from float64 (text.py prints it), and so is any other order of the same
 * sums. Four times that, of the tensor's largest value; a wrong mask, position or
 * rounding of weights is 1e-3 and more. */
#define FIXTURE_TOLERANCE 4e-6

/* A backend, kept until one of another kind is asked for: making one is slow under
 * malloc's debugging, which writes over all of its scratch memory. */
struct backend *shared_backend(enum cpu_level level, unsigned n_threads);
/* The last thing that a test program does: cmocka's group teardown. */
int shared_backend_free(void **state);

/* One model on a shared backend. */
struct fixture {
    struct backend *be;
    struct text_encoder *te;
    struct weights *reference; /* NULL for a variant */
};

/* name: of a folder in tests/data/text. */
struct fixture fixture_open(const char *name, enum cpu_level level, unsigned n_threads);
/* dir: any folder, at the best level, 2 threads. */
struct fixture fixture_open_dir(const char *dir);
void fixture_close(struct fixture *f);

/* A tensor of reference.safetensors as float32 or token ids; free it. */
float *reference_floats(const struct fixture *f, const char *name, size_t *n);
int32_t *reference_ids(const struct fixture *f, const char *name, size_t *n);
size_t reference_size(const struct fixture *f, const char *name);

/* The largest difference over the largest reference value. */
double relative_error(const float *got, const float *want, size_t n);

/* A copy of a fixture with one thing changed. */
struct variant {
    const char *from;       /* the fixture */
    const char *config;     /* all of config.json; NULL: that of the fixture */
    const char *config_old; /* replaced in it by config_new; must be there. NULL: no change */
    const char *config_new;
    const char *prefix; /* instead of "model."; NULL: as it is */
    const char *drop;   /* tensors whose name begins so are left out */
    const char *poison; /* the tensor with this name gets value in its middle */
    float value;
    const char *reshape; /* the tensor with this name gets a row more */
};

/* Write it to a new folder, whose path is returned: end with variant_remove. */
char *variant_write(const struct variant *v);
void variant_remove(char *dir);
/* The names of a fixture's tensors, in a NULL-terminated list; free with the list's
 * own free: names_free. */
char **tensor_names(const char *fixture);
void names_free(char **names);

/* A callback that counts its calls and says stop at the given one. */
struct stopper {
    size_t n_calls, stop_at; /* SIZE_MAX: never */
    size_t last_done, last_total;
    bool monotonic;
};
bool stopper_tick(void *ctx, size_t done, size_t total);

/* Let the n-th fallible call to the backend from now on fail (0: the next one), or
 * none with SIZE_MAX. Returns whether the last one armed has fired. */
void faults_arm(struct backend *be, size_t nth);
bool faults_fired(void);
void faults_disarm(struct backend *be);

#endif

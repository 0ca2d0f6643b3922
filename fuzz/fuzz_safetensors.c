/* SPDX-License-Identifier: MIT */
/* Any bytes as a weight file. Those that start with 'J' are a header without its
 * length, and a number of data bytes before it, so that mutations get past the
 * first check. Every byte of every tensor must be readable. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct weights *w)
{
    struct errmsg em;
    volatile double sum = 0;
    for (size_t i = 0; i < weights_n_tensors(w); i++) {
        struct tensor t, again;
        if (weights_at(w, i, &t, &em))
            continue;
        if (weights_get(w, t.name, &again, &em) || again.data != t.data)
            abort();
        for (size_t k = 0; k < t.n_elems; k++)
            sum = sum + (double)f32_load(t.data, t.dtype, k);
        (void)!weights_get_shaped(w, t.name, &again, &em, 2, (size_t)1, (size_t)2);
    }
    (void)weights_n_params(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errmsg em;
    struct weights *w = NULL;
    if (size >= 2 && data[0] == 'J') {
        size_t n_data = data[1], n_header = size - 2;
        uint8_t *file = calloc(1, 8 + n_header + n_data);
        if (!file)
            return 0;
        for (unsigned i = 0; i < 8; i++)
            file[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
        memcpy(file + 8, data + 2, n_header);
        if (!weights_open_memory(file, 8 + n_header + n_data, "fuzz", &w, &em))
            use(w);
        weights_close(w);
        free(file);
    } else {
        if (!weights_open_memory(data, size, "fuzz", &w, &em))
            use(w);
        weights_close(w);
    }
    return 0;
}

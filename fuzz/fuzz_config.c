/* SPDX-License-Identifier: MIT */
/* Any bytes as a config.json, and every getter on what it holds. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"n", "s", "l", "a.b", "a.b.c", "", ".", "a."};
    struct errmsg em;
    struct config *c = NULL;
    if (config_parse((const char *)data, size, "fuzz", &c, &em))
        return 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        size_t v, list[4], n;
        double d;
        bool b;
        const char *s, *strings[4];
        if (!config_size(c, keys[i], 2, 100, 50, &v, &em) && (v < 2 || v > 100))
            abort();
        if (!config_double(c, keys[i], 0, 1, 0.5, &d, &em) && !(d >= 0 && d <= 1))
            abort();
        (void)!config_bool(c, keys[i], 0, &b, &em);
        (void)!config_string(c, keys[i], "", &s, &em);
        (void)!config_sizes(c, keys[i], 0, 9, list, 4, &n, &em);
        if (!config_strings(c, keys[i], strings, 4, &n, &em) && n > 4)
            abort();
        (void)config_has(c, keys[i]);
    }
    config_close(c);
    return 0;
}

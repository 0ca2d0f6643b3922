/* SPDX-License-Identifier: MIT */
/* Any bytes as a tokenizer.json; what loads must encode and decode a text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "models/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "ab aab  <s>a\n e\xcc\x81 b's 12 word sword <s>";
    struct errmsg em;
    struct tokenizer *t = NULL;
    int32_t *ids;
    size_t n;
    if (tokenizer_parse((const char *)data, size, "fuzz", &t, &em))
        return 0;
    if (!tokenizer_encode(t, text, sizeof text - 1, &ids, &n, &em)) {
        struct buf out = {0};
        for (size_t i = 0; i < n; i++)
            if (ids[i] < 0 || (size_t)ids[i] >= tokenizer_vocab_size(t) ||
                tokenizer_decode(t, ids[i], &out, &em))
                abort();
        buf_deinit(&out);
        free(ids);
    }
    (void)tokenizer_special_id(t, "<s>");
    tokenizer_close(t);
    return 0;
}

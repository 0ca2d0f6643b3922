/* SPDX-License-Identifier: MIT */
/* A tokenizer.json of 256 bytes and what a test adds to them. */
#ifndef EASEL_TESTS_SMALL_TOKENIZER_H
#define EASEL_TESTS_SMALL_TOKENIZER_H

#include <stdlib.h>

#include "base/buf.h"

/* JSON texts; NULL gives what Qwen3 has. */
struct small_tokenizer {
    const char *normalizer, *pre_tokenizer, *decoder, *post_processor;
    const char *vocab;  /* more members: ",\"ab\":256" */
    const char *merges; /* elements: "\"a b\"" */
    const char *model;  /* more members of the model */
    const char *added;  /* elements of added_tokens */
};

#define SMALL_SPLIT                                                                                \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|"               \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SMALL_BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define SMALL_PRE_TOKENIZER(regex)                                                                 \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"        \
    "\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}," SMALL_BYTE_LEVEL "]}"

static inline enum err small_tokenizer_json(struct buf *out, const struct small_tokenizer *s,
                                            struct errmsg *em)
{
    enum err rc = buf_printf(
        out, em,
        "{\"version\":\"1.0\",\"truncation\":null,\"added_tokens\":[%s],\"normalizer\":%s,"
        "\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":%s,"
        "\"model\":{\"type\":\"BPE\"%s,\"merges\":[%s],\"vocab\":{",
        s->added ? s->added : "", s->normalizer ? s->normalizer : "{\"type\":\"NFC\"}",
        s->pre_tokenizer ? s->pre_tokenizer : SMALL_PRE_TOKENIZER(SMALL_SPLIT),
        s->post_processor ? s->post_processor : "null",
        s->decoder ? s->decoder : "{\"type\":\"ByteLevel\"}", s->model ? s->model : "",
        s->merges ? s->merges : "");
    unsigned next = 256;
    for (unsigned b = 0; !rc && b < 256; b++) {
        int printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        unsigned c = printable ? b : next++;
        rc = buf_printf(out, em, "%s\"\\u%04x\":%u", b ? "," : "", c, b);
    }
    return rc ? rc : buf_printf(out, em, "%s}}}", s->vocab ? s->vocab : "");
}

#endif

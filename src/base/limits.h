/* SPDX-License-Identifier: MIT */
/* Every bound on what comes from outside, in one place. */
#ifndef EASEL_BASE_LIMITS_H
#define EASEL_BASE_LIMITS_H

/* Pictures, as the API states them (docs: the HTTP contract). */
#define LIMIT_SIDE_MIN_PX 64u                  /* what the engine draws */
#define LIMIT_OFFERED_SIDE_MIN_PX 256u         /* what is offered, but in the dialect that goes below */
#define LIMIT_SIDE_MAX_PX 1440u
#define LIMIT_REFERENCES_MAX 10u
#define LIMIT_REFERENCE_SIDE_MIN_PX 64u
#define LIMIT_REFERENCE_ASPECT_MAX 8u
#define LIMIT_PICTURE_PIXELS_MAX (64u << 20)   /* decoded, so that a bomb is refused by its header */
#define LIMIT_PICTURE_FILE_BYTES_MAX (256u << 20)

#define LIMIT_PROMPT_BYTES_MAX (128u << 10)    /* 32,000 characters of up to 4 bytes */
#define LIMIT_STEPS_MAX 1000u
#define LIMIT_GUIDANCE_MAX 100.0
#define LIMIT_THREADS_MAX 256u

/* Model files. */
#define LIMIT_JSON_BYTES_MAX (4u << 20)        /* config.json and friends */
#define LIMIT_TOKENIZER_BYTES_MAX (64u << 20)
#define LIMIT_VOCAB_MAX 1000000u
#define LIMIT_SAFETENSORS_HEADER_MAX (64u << 20)
#define LIMIT_TENSORS_MAX 100000u
#define LIMIT_TENSOR_DIMS_MAX 8u
#define LIMIT_SHARDS_MAX 1000u
#define LIMIT_LAYERS_MAX 512u
#define LIMIT_WIDTH_MAX 65536u                 /* any layer's channels */

#endif

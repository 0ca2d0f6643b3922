/* SPDX-License-Identifier: MIT */
/* How much arithmetic one pass through a FLUX.2 transformer is. */
#include "models/transformer.h"

/* What hangs on the timestep alone: the embeddings, the blocks' modulation (6, 6 and 3
 * vectors) and the last norm's (2). */
static double conditioning(const struct transformer_info *info)
{
    double hidden = (double)info->hidden;
    double embedder = 2 * hidden * ((double)info->n_sinusoids + hidden);
    return (info->guidance_embed ? 2 : 1) * embedder + 2 * (6 + 6 + 3 + 2) * hidden * hidden;
}

/* Everything of a block but keys and values, for so many of its tokens. */
static double second_pass(const struct transformer_info *info, double rows, double n_tokens)
{
    double hidden = (double)info->hidden, mlp = (double)info->mlp;
    return rows * (4 * hidden * hidden + 6 * hidden * mlp + 4 * n_tokens * hidden);
}

double transformer_flops(const struct transformer_info *info, size_t n_text, size_t n_image,
                         size_t n_out)
{
    double n = (double)(n_text + n_image), out = (double)n_out, hidden = (double)info->hidden;
    double n_blocks = (double)(info->n_double + info->n_single);
    double flops = conditioning(info) + 2 * (double)n_image * (double)info->in_channels * hidden +
                   n_blocks * (4 * n * hidden * hidden + second_pass(info, n, n)) +
                   2 * out * hidden * (double)info->out_channels;
    if (info->n_single)
        flops -= second_pass(info, n - out, n);
    return flops;
}

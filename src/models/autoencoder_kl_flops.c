/* SPDX-License-Identifier: MIT */
/* AutoencoderKLFlux2: how much arithmetic a picture is. */
#include "models/autoencoder_kl.h"

static double resnet(const struct kl_resnet *b, double n_pixels)
{
    return ae_conv_flops(&b->conv1, n_pixels) + ae_conv_flops(&b->conv2, n_pixels) +
           ae_conv_flops(&b->shortcut, n_pixels);
}

static double middle(const struct kl_half *half, double n_pixels)
{
    const struct kl_attention *a = &half->attn;
    double flops = resnet(&half->mid[0], n_pixels) + resnet(&half->mid[1], n_pixels);
    if (half->has_attn)
        flops += ae_conv_flops(&a->q, n_pixels) + ae_conv_flops(&a->k, n_pixels) +
                 ae_conv_flops(&a->v, n_pixels) + ae_conv_flops(&a->out, n_pixels) +
                 4.0 * n_pixels * n_pixels * (double)a->out.c_out;
    return flops;
}

/* n_pixels: of what enters the first block. growth: of the number of pixels in a sampler,
 * 4 or 1/4. */
static double blocks(const struct kl_half *half, double n_pixels, double growth)
{
    double flops = 0;
    for (size_t i = 0; i < half->n_blocks; i++) {
        const struct kl_block *b = &half->blocks[i];
        for (size_t j = 0; j < b->n_resnets; j++)
            flops += resnet(&b->resnets[j], n_pixels);
        if (b->sampler.w)
            n_pixels *= growth;
        flops += ae_conv_flops(&b->sampler, n_pixels);
    }
    return flops;
}

double kl_decode_flops(const struct autoencoder *ae, size_t h, size_t w)
{
    const struct kl_half *d = &((const struct kl_model *)ae->model)->decoder;
    double latent = (double)h * (double)w;
    double picture = latent * (double)(ae->info.scale * ae->info.scale);
    return ae_conv_flops(&d->quant, latent) + ae_conv_flops(&d->conv_in, latent) +
           middle(d, latent) + blocks(d, latent, 4) + ae_conv_flops(&d->conv_out, picture);
}

double kl_encode_flops(const struct autoencoder *ae, size_t h_px, size_t w_px)
{
    const struct kl_half *e = &((const struct kl_model *)ae->model)->encoder;
    double picture = (double)h_px * (double)w_px;
    double latent = picture / (double)(ae->info.scale * ae->info.scale);
    return ae_conv_flops(&e->conv_in, picture) + blocks(e, picture, 0.25) + middle(e, latent) +
           ae_conv_flops(&e->conv_out, latent) + ae_conv_flops(&e->quant, latent);
}

"""The transformer, its inputs and the sampler."""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel

from taef2 import LATENT_CHANNELS


def build_transformer(preset):
    """Diffusers' own class, so that what is trained is exactly what an engine for FLUX.2 runs."""
    torch.manual_seed(preset.seed)
    axis = preset.head_dim // 4
    model = Flux2Transformer2DModel(
        patch_size=1, in_channels=LATENT_CHANNELS * preset.patch**2, num_layers=preset.double_blocks,
        num_single_layers=preset.single_blocks, attention_head_dim=preset.head_dim,
        num_attention_heads=preset.heads, joint_attention_dim=preset.text_hidden * len(preset.text_out_layers),
        timestep_guidance_channels=256, mlp_ratio=preset.mlp_ratio, axes_dims_rope=(axis,) * 4, rope_theta=2000,
        guidance_embeds=False)
    for name, parameter in model.named_parameters():
        if "modulation" in name or "norm_out.linear" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    torch.nn.init.zeros_(model.proj_out.weight)
    return model


def parameter_groups(model):
    """(Muon groups, AdamW parameters): Muon takes the matrices inside the blocks, fused ones in their parts."""
    muon, adam = [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2 or "transformer_blocks" not in name:
            adam.append(parameter)
            continue
        split = None
        if "to_qkv_mlp_proj" in name:
            hidden = parameter.shape[1]
            mlp = (parameter.shape[0] - 3 * hidden) // 2
            split = [hidden] * 3 + [mlp] * 2
        elif "linear_in" in name:
            split = [parameter.shape[0] // 2] * 2
        muon.append({"params": [parameter], "split": split})
    return muon, adam


def image_ids(rows, columns, time=0):
    return torch.cartesian_prod(torch.tensor([time]), torch.arange(rows), torch.arange(columns), torch.tensor([0]))


def text_ids(length):
    ids = torch.zeros(length, 4, dtype=torch.long)
    ids[:, 3] = torch.arange(length)
    return ids


def reference_ids(shapes):
    """Ids of the reference pictures' tokens: number i stands at time 10 + 10*i."""
    return torch.cat([image_ids(rows, columns, 10 + 10 * i) for i, (rows, columns) in enumerate(shapes)])


def predict(model, tokens, text, times, rows, columns, references=None, reference_shapes=()):
    """The raw output for the picture's tokens; `references` [B, n, C] are appended as FLUX.2 does it."""
    ids = image_ids(rows, columns)
    hidden = tokens
    if references is not None:
        hidden = torch.cat([tokens, references], dim=1)
        ids = torch.cat([ids, reference_ids(reference_shapes)])
    output = model(hidden_states=hidden, encoder_hidden_states=text, timestep=times,
                   img_ids=ids.to(tokens.device), txt_ids=text_ids(text.shape[1]).to(tokens.device),
                   guidance=None, return_dict=False)[0]
    return output[:, :tokens.shape[1]]


def make_scheduler(shift):
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift, use_dynamic_shifting=False)


@torch.no_grad()
def sample(model, scheduler, noise, text, rows, columns, steps, references=None, reference_shapes=()):
    """Normalised latent tokens, by the same steps as Flux2KleinPipeline with a fixed shift."""
    sigmas = [1 - i / steps for i in range(steps)]
    scheduler.set_timesteps(sigmas=sigmas)
    x = noise
    for time in scheduler.timesteps:
        times = time.expand(len(x)).to(x.device, x.dtype) / 1000
        velocity = predict(model, x, text, times, rows, columns, references, reference_shapes)
        x = scheduler.step(velocity, time, x, return_dict=False)[0]
    return x


def torch_noise(seeds, channels, rows, columns):
    """torch's CPU noise, drawn as [C, h, w] and listed by token, as the pipeline draws it."""
    noise = [torch.randn(channels, rows, columns, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(noise).flatten(2).transpose(1, 2)

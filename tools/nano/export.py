"""Writes the diffusers-layout directory that an engine reads."""

import json
import os
import shutil

import torch
from safetensors.torch import save_file

import world
from flow import make_scheduler

VAE_EPS = 1e-4


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def export_vae(directory, autoencoder, normaliser, preset):
    os.makedirs(directory, exist_ok=True)
    tensors = {name: t.half().contiguous() for name, t in autoencoder.state_dict().items()}
    tensors["bn.running_mean"] = normaliser.mean.float().cpu().contiguous()
    tensors["bn.running_var"] = (normaliser.std.float().cpu() ** 2 - VAE_EPS).contiguous()
    save_file(tensors, os.path.join(directory, "diffusion_pytorch_model.safetensors"), metadata={"format": "pt"})
    write_json(os.path.join(directory, "config.json"), {
        "_class_name": "AutoencoderTAEF2", "latent_channels": 32, "patch_size": [preset.patch, preset.patch],
        "batch_norm_eps": VAE_EPS})


def export_transformer(directory, model, preset):
    """The averaged weights in bf16, with the scale of the output folded into the last matrix."""
    state = {name: t.detach().clone() for name, t in model.state_dict().items()}
    state["proj_out.weight"] *= preset.data_scale
    copy = type(model).from_config(model.config)
    copy.load_state_dict(state)
    copy.to(torch.bfloat16).save_pretrained(directory)


def export_text_encoder(directory, model):
    """Adds rope_theta where Qwen3's published configs have it; newer transformers nest it."""
    model.to(torch.bfloat16).save_pretrained(directory)
    path = os.path.join(directory, "config.json")
    with open(path) as file:
        config = json.load(file)
    config["rope_theta"] = 1e6
    write_json(path, config)


def easel_json(preset, stickers):
    words = ", ".join(s.name for s in stickers) if len(stickers) < 100 else f"{len(stickers)} animals, foods and things, alone or in scenes"
    return {
        "name": "nano", "licence": "MIT",
        "description": "Round 3D stickers on plain backgrounds: " + words + ".",
        "steps": preset.steps, "guidance": 1.0, "native_pixels": preset.native_pixels,
        # a model that never saw a reference must refuse one, not muddle it
        "references_max": preset.references if preset.edit_from < 1 else 0,
        "max_sequence_length": preset.max_sequence_length,
        "text_encoder_out_layers": list(preset.text_out_layers),
        "prompt_template": world.PROMPT_TEMPLATE,
        "enhance": {**world.ENHANCE_TEMPLATES, "max_new_tokens": 64}}


def export_model(output, transformer, tokenizer, language_model, autoencoder, normaliser, preset, stickers, licences):
    """Writes beside the output first and then moves file by file, so that readers never see half a file."""
    temporary = output.rstrip("/") + ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    export_transformer(os.path.join(temporary, "transformer"), transformer, preset)
    export_vae(os.path.join(temporary, "vae"), autoencoder, normaliser, preset)
    tokenizer.save_pretrained(os.path.join(temporary, "tokenizer"))
    dtype = language_model.dtype
    export_text_encoder(os.path.join(temporary, "text_encoder"), language_model)
    language_model.to(dtype)
    make_scheduler(preset.shift).save_pretrained(os.path.join(temporary, "scheduler"))
    write_json(os.path.join(temporary, "model_index.json"), {
        "_class_name": "Flux2KleinPipeline", "is_distilled": True,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "Flux2Transformer2DModel"], "vae": ["diffusers", "AutoencoderTAEF2"]})
    write_json(os.path.join(temporary, "easel.json"), easel_json(preset, stickers))
    for name, text in licences.items():
        with open(os.path.join(temporary, name), "w") as file:
            file.write(text)
    for folder, _, names in os.walk(temporary):
        target = os.path.join(output, os.path.relpath(folder, temporary))
        os.makedirs(target, exist_ok=True)
        for name in names:
            os.chmod(os.path.join(folder, name), 0o644)
            os.replace(os.path.join(folder, name), os.path.join(target, name))
    shutil.rmtree(temporary)

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make a TAEF2 model folder from madebyollin's two PyTorch files.

    tools/convert_taef2.py taef2_encoder.pth taef2_decoder.pth OUT_DIR [PATCH]

OUT_DIR then holds config.json and diffusion_pytorch_model.safetensors: the tensors
`encoder.<key>` and `decoder.<key>`, F16 as published. PATCH (default 2) is how many
latent cells a transformer's token has on a side. Nothing else is added: a model that
normalises its tokens adds bn.running_mean and bn.running_var itself.
Needs torch and safetensors. models/taef2/ was made with it once.
"""

import json
import os
import sys

import torch
from safetensors.torch import save_file


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    encoder, decoder, out = sys.argv[1:4]
    patch = int(sys.argv[4]) if len(sys.argv) == 5 else 2
    tensors = {}
    for half, path in (("encoder", encoder), ("decoder", decoder)):
        state = torch.load(path, map_location="cpu", weights_only=True)
        for key, value in state.items():
            tensors[f"{half}.{key}"] = value.to(torch.float16).contiguous()
    config = {
        "_class_name": "AutoencoderTAEF2",
        "latent_channels": tensors["decoder.1.weight"].shape[1],
        "patch_size": [patch, patch],
        "batch_norm_eps": 1e-4,
    }
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
    save_file(tensors, os.path.join(out, "diffusion_pytorch_model.safetensors"))


if __name__ == "__main__":
    main()

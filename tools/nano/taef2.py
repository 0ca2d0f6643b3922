"""TAEF2, the tiny autoencoder of the FLUX.2 latent space, with the layer names of its published weights."""

import os

import torch
from torch import nn

LATENT_CHANNELS = 32


class SoftClamp(nn.Module):
    def forward(self, x):
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    def __init__(self, width, pool=False):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1))
        self.pool = None
        if pool:
            self.pool = nn.Sequential(
                nn.Conv2d(width, 4 * width, 1, bias=False), nn.GroupNorm(4, 4 * width), nn.ReLU(),
                nn.Conv2d(4 * width, width, 1, bias=False))

    def forward(self, x):
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


def _conv(width, stride=1):
    return nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)


class TAEF2(nn.Module):
    """Pictures in [0, 1] to the raw 32-channel latent at 1/8, and back."""

    def __init__(self, width=64):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), Block(width),
            _conv(width, 2), *[Block(width) for _ in range(3)],
            _conv(width, 2), *[Block(width) for _ in range(3)],
            _conv(width, 2), *[Block(width, pool=True) for _ in range(3)],
            nn.Conv2d(width, LATENT_CHANNELS, 3, padding=1))
        self.decoder = nn.Sequential(
            SoftClamp(), nn.Conv2d(LATENT_CHANNELS, width, 3, padding=1), nn.ReLU(),
            *[Block(width, pool=True) for _ in range(3)], nn.Upsample(scale_factor=2), _conv(width),
            *[Block(width) for _ in range(3)], nn.Upsample(scale_factor=2), _conv(width),
            *[Block(width) for _ in range(3)], nn.Upsample(scale_factor=2), _conv(width),
            Block(width), nn.Conv2d(width, 3, 3, padding=1))

    @torch.no_grad()
    def encode(self, pictures):
        return self.encoder(pictures)

    @torch.no_grad()
    def decode(self, latents):
        return self.decoder(latents).clamp(0, 1)


def load_taef2(directory):
    """From taef2_encoder.pth and taef2_decoder.pth."""
    model = TAEF2()
    for half in ("encoder", "decoder"):
        path = os.path.join(directory, f"taef2_{half}.pth")
        getattr(model, half).load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.float().eval().requires_grad_(False).to(memory_format=torch.channels_last)


def pack(latents, patch):
    """[B, C, H, W] to tokens [B, h*w, C*patch*patch]; channel order c, then row, then column inside the patch."""
    b, c, height, width = latents.shape
    x = latents.reshape(b, c, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, (height // patch) * (width // patch), c * patch * patch)


def unpack(tokens, rows, columns, patch):
    b, _, channels = tokens.shape
    c = channels // patch**2
    x = tokens.reshape(b, rows, columns, c, patch, patch).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(b, c, rows * patch, columns * patch)

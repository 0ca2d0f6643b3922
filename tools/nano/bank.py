"""Latents for the CPU preset, computed once.

Encoding is the dearest part of a small training run, so each sticker is encoded once per colour and scale, on a square
canvas, and the latent is cropped, or continued with its own flat background, to whichever shape of picture a batch
needs. Everything stays on the same grid of 8 pixels, so the convolutions see the same thing."""

import os

import torch

import world
from pictures import compose, load_sticker, to_tensor
from taef2 import LATENT_CHANNELS, pack

# One size in pixels for every shape of picture (73 % of the default's short side), so that the model has only one picture
# of each sticker to learn.
SIZE, CANVAS = 164, 240
FLAT = 2  # this many latent pixels from the canvas' border lies plain background that does not feel the border


def encode_all(stickers, files, autoencoder, log):
    side = CANVAS // 8
    latents = torch.empty(len(stickers), len(world.COLOURS), LATENT_CHANNELS, side, side, dtype=torch.float16)
    for s, sticker in enumerate(stickers):
        picture = load_sticker(files, sticker.emoji)
        batch = torch.stack([to_tensor(compose(picture, c, CANVAS, CANVAS, SIZE)) for c in world.COLOURS])
        latents[s] = autoencoder.encode(batch.contiguous(memory_format=torch.channels_last)).half()
        if s % 10 == 9:
            log(f"latents {s + 1}/{len(stickers)}")
    return latents


def resize(latents, size, dim):
    """Crops, or continues the plain background, symmetrically along one dimension."""
    extra = size - latents.shape[dim]
    if extra <= 0:
        return latents.narrow(dim, -extra // 2, size)
    first, last = latents.narrow(dim, 0, FLAT), latents.narrow(dim, latents.shape[dim] - FLAT, FLAT)
    inner = latents.narrow(dim, FLAT, latents.shape[dim] - 2 * FLAT)
    repeats = [1] * latents.ndim
    repeats[dim] = extra // 2
    before = inner.narrow(dim, 0, 1).repeat(repeats)
    after = inner.narrow(dim, inner.shape[dim] - 1, 1).repeat(repeats)
    return torch.cat([first, before, inner, after, last], dim)


class Bank:
    def __init__(self, directory, stickers, files, autoencoder, log):
        """Loads the cached latents, or makes them."""
        self.stickers = stickers
        path = os.path.join(directory, "latents.pt")
        if not os.path.exists(path):
            torch.save(encode_all(stickers, files, autoencoder, log), path + ".tmp")
            os.replace(path + ".tmp", path)
        self.latents = torch.load(path)

    def raw(self, stickers, colours, rows, columns):
        """Raw latents [B, 32, 4*rows, 4*columns] of stickers (indices) on colours (indices)."""
        latents = self.latents[stickers, colours].float()
        return resize(resize(latents, rows * 4, 2), columns * 4, 3)

    def statistics(self, patch=4):
        """Mean and variance of each packed channel over all stickers and colours of the square picture."""
        pairs = [(s, c) for s in range(len(self.stickers)) for c in world.seen_colours(s)]
        s, c = torch.tensor(pairs).T
        tokens = pack(self.raw(s, c, 8, 8), patch).flatten(0, 1)
        return tokens.mean(0), tokens.var(0)


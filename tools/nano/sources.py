"""Where training batches come from."""

import random
from dataclasses import dataclass

import torch

import world
from taef2 import pack


@dataclass
class Batch:
    """Normalised latent tokens with their prompts and, for editing, reference tokens."""

    tokens: torch.Tensor
    prompts: list
    rows: int
    columns: int
    references: torch.Tensor = None
    reference_shapes: tuple = ()


class Normaliser:
    """The VAE's per-channel statistics of the packed latent."""

    def __init__(self, mean, variance, data_scale):
        self.mean = mean
        self.std = variance.sqrt() / data_scale

    def __call__(self, tokens):
        return (tokens - self.mean) / self.std

    def undo(self, tokens):
        return tokens * self.std + self.mean

    def to(self, device):
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self


class BankSource:
    """One centred sticker on a plain background, from cached latents; edits change the background."""

    def __init__(self, bank, preset, normaliser=None):
        self.bank, self.preset, self.normaliser = bank, preset, normaliser
        self.grids = [g for g in preset.grids]
        self.weights = [preset.grids[g] for g in self.grids]

    def tokens(self, stickers, colours, rows, columns):
        raw = self.bank.raw(torch.tensor(stickers), torch.tensor(colours), rows, columns)
        return self.normaliser(pack(raw, self.preset.patch))

    def batch(self, step, editing):
        """The batch of one step; depends on the step alone, so that a resumed run sees what an unbroken one does."""
        rng = random.Random(f"{self.preset.seed}-{step}")
        rows, columns = rng.choices(self.grids, self.weights)[0]
        stickers = self.bank.stickers
        count = self.preset.batch
        # Every sticker equally often: the batches deal from one shuffled deck after the other.
        chosen = []
        for i in range(step * count, (step + 1) * count):
            deck = list(range(len(stickers)))
            random.Random(f"deck-{self.preset.seed}-{i // len(deck)}").shuffle(deck)
            chosen.append(deck[i % len(deck)])
        colours = [rng.choice(world.seen_colours(s)) for s in chosen]
        tokens = self.tokens(chosen, colours, rows, columns)
        if editing:
            before = [rng.choice([k for k in world.seen_colours(s) if k != c]) for s, c in zip(chosen, colours)]
            prompts = [world.recolour_caption(world.COLOUR_NAMES[c], rng) for c in colours]
            # An engine fits a reference into whole tokens: 1024x768 becomes 6x9 of them.
            shape = rng.choice([(rows, columns), (8, 8), (6, 9)])
            return Batch(tokens, prompts, rows, columns, self.tokens(chosen, before, *shape), (shape,))
        # A prompt without a colour: any background, so that the seed decides.
        prompts = [world.caption(stickers[s], world.COLOUR_NAMES[c] if rng.random() > 0.08 else None, rng)
                   for s, c in zip(chosen, colours)]
        return Batch(tokens, prompts, rows, columns)

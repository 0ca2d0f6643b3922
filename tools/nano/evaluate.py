#!/usr/bin/env python3
"""Numbers and a contact sheet for an exported nano model.

Draws prompts through diffusers' and transformers' own classes from the exported directory, as an engine does, and asks:
is the sticker nearest to the picture, of all stickers on the colour asked for, the one that was asked for? Is the
median of the border nearest to the colour asked for?"""

import argparse
import json
import os
import random

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from PIL import Image
from safetensors.torch import load_file

import bank
import world
from flow import sample, torch_noise
from language import encode_prompts, enhance, load_language
from pictures import compose, load_sticker, open_packages, to_tensor
from taef2 import TAEF2, pack, unpack

THUMBNAIL = 32  # pixels a side at which pictures are compared


class Model:
    """An exported directory."""

    def __init__(self, directory, device="cpu"):
        with open(os.path.join(directory, "easel.json")) as file:
            self.settings = json.load(file)
        self.tokenizer, self.language = load_language(directory, device)
        self.transformer = Flux2Transformer2DModel.from_pretrained(
            os.path.join(directory, "transformer"), torch_dtype=torch.float32).to(device).eval()
        self.scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(os.path.join(directory, "scheduler"))
        with open(os.path.join(directory, "vae", "config.json")) as file:
            config = json.load(file)
        self.patch = config["patch_size"][0]
        tensors = load_file(os.path.join(directory, "vae", "diffusion_pytorch_model.safetensors"))
        self.mean = tensors.pop("bn.running_mean")
        self.std = (tensors.pop("bn.running_var") + config["batch_norm_eps"]).sqrt()
        self.autoencoder = TAEF2().eval()
        self.autoencoder.load_state_dict({name: t.float() for name, t in tensors.items()})
        self.device = device

    @torch.no_grad()
    def draw(self, prompts, seeds, rows, columns, references=None, steps=None):
        """Pictures [B, 3, H, W] in [0, 1]; references: a list of batches of pictures."""
        text = encode_prompts(prompts, self.tokenizer, self.language, self.settings["text_encoder_out_layers"],
                              self.settings["max_sequence_length"])
        noise = torch_noise(seeds, len(self.mean), rows, columns).to(self.device)
        tokens, shapes = None, ()
        if references:
            packed = [(pack(self.autoencoder.encode(r), self.patch) - self.mean) / self.std for r in references]
            tokens = torch.cat(packed, 1).to(self.device)
            side = 8 * self.patch
            shapes = tuple((r.shape[2] // side, r.shape[3] // side) for r in references)
        latents = sample(self.transformer, self.scheduler, noise, text, rows, columns,
                         steps or self.settings["steps"], tokens, shapes).cpu()
        return self.autoencoder.decode(unpack(latents * self.std + self.mean, rows, columns, self.patch))


def thumbnails(pictures):
    """The central square, small."""
    side = min(pictures.shape[2:])
    top, left = (pictures.shape[2] - side) // 2, (pictures.shape[3] - side) // 2
    centre = pictures[:, :, top:top + side, left:left + side]
    return torch.nn.functional.interpolate(centre, size=(THUMBNAIL, THUMBNAIL), mode="area")


def border_colour(picture):
    """Index of the named colour that the median of the outer 8 pixels is nearest to."""
    edge = torch.cat([picture[:, :8].flatten(1), picture[:, -8:].flatten(1),
                      picture[:, :, :8].flatten(1), picture[:, :, -8:].flatten(1)], 1)
    colours = torch.tensor(list(world.COLOURS.values())).float() / 255
    return (colours - edge.median(1).values).square().sum(1).argmin().item()


def judge(pictures, wanted, references):
    """(sticker right, background right) of each picture; wanted: pairs of indices."""
    small = thumbnails(pictures)
    results = []
    for i, (sticker, colour) in enumerate(wanted):
        nearest = (references[colour] - small[i]).square().mean((1, 2, 3)).argmin().item()
        results.append((nearest == sticker, border_colour(pictures[i]) == colour))
    return results


def reference_thumbnails(stickers, files, rows, columns):
    """Every sticker on every colour, in the shape that is being judged."""
    pictures = [load_sticker(files, s.emoji) for s in stickers]
    return [thumbnails(torch.stack([to_tensor(compose(p, c, columns * 32, rows * 32, bank.SIZE)) for p in pictures]))
            for c in world.COLOURS]


def contact_sheet(pictures, columns, path):
    pictures = [Image.fromarray((p.permute(1, 2, 0) * 255).round().byte().numpy()) for p in pictures]
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    sheet.thumbnail((1600, 4000))
    sheet.save(path)


def in_batches(model, prompts, seeds, rows, columns, references=None, size=16):
    parts = []
    for i in range(0, len(prompts), size):
        part = slice(i, i + size)
        parts.append(model.draw(prompts[part], seeds[part], rows, columns,
                                [r[part] for r in references] if references else None))
    return torch.cat(parts)


def share(values):
    return sum(values) / len(values)


def evaluate(directory, sticker_directory, output, limit=None, editing=True):
    """Returns the numbers; writes contact sheets and evaluation.json into `output`."""
    os.makedirs(output, exist_ok=True)
    model = Model(directory)
    files = open_packages(sticker_directory)
    stickers = world.CORE_STICKERS
    rng = random.Random(7)
    held_out = [(s, c) for s in range(len(stickers)) for c in range(len(world.COLOURS)) if world.is_held_out(s, c)]
    seen = [(s, rng.choice(world.seen_colours(s))) for s in range(len(stickers))]
    numbers = {}
    for rows, columns in ((7, 9), (8, 8)):
        references = reference_thumbnails(stickers, files, rows, columns)
        for name, pairs in (("held out", held_out[:limit]), ("seen", seen[:limit])):
            prompts = [f"{world.with_article(stickers[s].name)} on a {world.COLOUR_NAMES[c]} background"
                       for s, c in pairs]
            pictures = in_batches(model, prompts, range(100, 100 + len(pairs)), rows, columns)
            results = judge(pictures, pairs, references)
            numbers[f"{columns * 32}x{rows * 32} {name}"] = {
                "pictures": len(pairs), "sticker": share([r[0] for r in results]),
                "background": share([r[1] for r in results])}
            contact_sheet(pictures, 8, os.path.join(output, f"{name.replace(' ', '_')}_{columns}x{rows}.png"))
    if editing:
        numbers["editing"] = evaluate_editing(model, stickers, files, held_out[:limit], output)
    numbers["enhancement"] = {p: enhance(p, "text_to_image", model.tokenizer, model.language)
                              for p in ("a cat", "puppy", "rocket on green", "an apple on a blue background")}
    with open(os.path.join(output, "evaluation.json"), "w") as file:
        json.dump(numbers, file, indent=2)
    return numbers


def evaluate_editing(model, stickers, files, pairs, output):
    """Stickers on a seen colour, to be put on another: background right and sticker still the same."""
    rows, columns = 8, 8
    rng = random.Random(8)
    before = [rng.choice([c for c in world.seen_colours(s) if c != after]) for s, after in pairs]
    sources = torch.stack([to_tensor(compose(load_sticker(files, stickers[s].emoji), world.COLOUR_NAMES[b], 256, 256,
                                             bank.SIZE)) for (s, _), b in zip(pairs, before)])
    prompts = [f"put it on a {world.COLOUR_NAMES[c]} background" for _, c in pairs]
    pictures = in_batches(model, prompts, range(200, 200 + len(pairs)), rows, columns, [sources])
    results = judge(pictures, pairs, reference_thumbnails(stickers, files, rows, columns))
    contact_sheet(torch.stack([sources, pictures], 1).flatten(0, 1), 8, os.path.join(output, "editing.png"))
    return {"pictures": len(pairs), "sticker": share([r[0] for r in results]),
            "background": share([r[1] for r in results])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="exported directory")
    parser.add_argument("--stickers", required=True, help="directory with the npm packages (.tgz)")
    parser.add_argument("--output", required=True, help="directory for evaluation.json and the contact sheets")
    parser.add_argument("--limit", type=int, help="judge only so many prompts of each kind")
    parser.add_argument("--no-editing", action="store_true")
    a = parser.parse_args()
    print(json.dumps(evaluate(a.model, a.stickers, a.output, a.limit, not a.no_editing), indent=2))

"""Scenes for the GPU preset: one to four stickers on a plain background, composited and encoded on the device while
training, with drawing prompts and with edits from one to four reference pictures."""

import glob
import json
import os
import random
import tarfile
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

import world
from pictures import load_sticker
from sources import Batch
from taef2 import pack

LEFT_OUT_GROUPS = ("People & Body", "Flags", "Symbols")


def read_json(directory, pattern, name):
    path = sorted(glob.glob(os.path.join(directory, pattern)))[-1]
    with tarfile.open(path) as archive:
        return json.load(archive.extractfile(name))


def all_stickers(directory, files):
    """Every picture with a plain name: the hand-written ones first, the rest by their Unicode names and keywords."""
    stickers = list(world.CORE_STICKERS)
    known = {s.emoji for s in stickers}
    taken = {name for s in stickers for name in s.names}
    names = read_json(directory, "unicode-emoji-json-*.tgz", "package/data-by-emoji.json")
    keywords = read_json(directory, "emojilib-*.tgz", "package/dist/emoji-en-US.json")
    for emoji, entry in names.items():
        name = entry["name"].lower()
        if emoji in known or entry["group"] in LEFT_OUT_GROUPS or "’clock" in name or "thirty" in name:
            continue
        try:
            load_sticker(files, emoji)
        except KeyError:
            continue
        # A keyword that is part of the name ("cat" of "cat face") is a fair short name, unless another has it already.
        short = [w for w in keywords.get(emoji, []) if w in name.split() and w not in taken and len(w) > 2]
        if name in taken:
            continue
        chosen = (name, *short[:1])
        taken.update(chosen)
        stickers.append(world.Sticker(emoji, chosen, name))
    return stickers


@dataclass(frozen=True)
class Scene:
    stickers: tuple   # indices
    boxes: tuple      # (centre x, centre y, size), as shares of width, height and the short side
    colour: int
    words: str        # how the layout is said; {0}, {1}… stand for the stickers


def single(sticker, colour, rng):
    size = rng.uniform(0.6, 0.75)
    if rng.random() < 0.75:
        return Scene((sticker,), ((0.5, 0.5, size),), colour, "{0}")
    x, y, words = rng.choice([(0.27, 0.5, "on the left"), (0.73, 0.5, "on the right"), (0.5, 0.28, "at the top"),
                              (0.5, 0.72, "at the bottom"), (0.27, 0.28, "in the top left corner"),
                              (0.73, 0.28, "in the top right corner"), (0.27, 0.72, "in the bottom left corner"),
                              (0.73, 0.72, "in the bottom right corner")])
    return Scene((sticker,), ((x, y, rng.uniform(0.38, 0.45)),), colour, "{0} " + words)


def row_boxes(count, aspect, rng):
    """Boxes side by side in a wide picture or one above the other in a tall one."""
    along = max(aspect, 1 / aspect)
    size = min(0.6, 0.86 * along / count) * rng.uniform(0.9, 1)
    places = [(i + 0.5) / count for i in range(count)]
    if aspect >= 1 / 1.05:
        return tuple((x, 0.5, size) for x in places)
    return tuple((0.5, y, size) for y in places)


def group(stickers, colour, aspect, rng):
    """Two to four stickers in a row; four of them in a square when there is room."""
    if len(stickers) == 4 and 0.7 < aspect < 1.4:
        boxes = tuple((x, y, 0.38) for y in (0.27, 0.73) for x in (0.27, 0.73))
    else:
        boxes = row_boxes(len(stickers), aspect, rng)
    names = ["{%d}" % i for i in range(len(stickers))]
    if len(set(stickers)) == 1:
        words = world.NUMBER_WORDS[len(stickers)] + " {0s}"
    elif len(stickers) == 2:
        tall = aspect < 1 / 1.05
        words = rng.choice(["{0} and {1}", "{0} and {1}", "{0} above {1}" if tall else "{0} to the left of {1}",
                            "{1} below {0}" if tall else "{0} next to {1}"])
    else:
        words = ", ".join(names[:-1]) + " and " + names[-1]
    return Scene(tuple(stickers), boxes, colour, words)


def plural(name):
    if name in world.PLURAL or name in world.NO_ARTICLE:
        return name
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + ("es" if name.endswith(("s", "x", "ch", "sh")) else "s")


def fill(words, scene, stickers, rng):
    names = [stickers[s].name if rng.random() < 0.6 else rng.choice(stickers[s].names) for s in scene.stickers]
    return words.replace("{0s}", plural(names[0])).format(*[world.with_article(n) for n in names])


def scene_caption(scene, stickers, rng, named):
    """named: whether it says the colour of the background."""
    colour = world.COLOUR_NAMES[scene.colour] if named else None
    if scene.words == "{0}":
        return world.caption(stickers[scene.stickers[0]], colour, rng)
    text = fill(scene.words, scene, stickers, rng)
    template = rng.choice(world.WITHOUT_COLOUR[:2] if colour is None else
                          [t for t in world.WITH_COLOUR if "{a}" in t and "3D" not in t])
    return world.finish(template.format(a=text, n=text, c=colour and world.spelled(colour, rng)), rng)


class SceneSource:
    """Batches of scenes. A pool of encoded batches is drawn from several times each with new words and new noise,
    because encoding a picture costs more than a training step on it."""

    def __init__(self, stickers, files, autoencoder, preset, device, normaliser=None):
        self.stickers, self.preset, self.device, self.normaliser = stickers, preset, device, normaliser
        self.autoencoder = autoencoder.to(device)
        self.pictures = [self.premultiplied(load_sticker(files, s.emoji)) for s in stickers]
        self.colours = torch.tensor(list(world.COLOURS.values()), device=device).float() / 255
        self.grids, self.weights = list(preset.grids), list(preset.grids.values())
        self.pools = {False: [], True: []}

    def premultiplied(self, picture):
        rgba = torch.from_numpy(np.asarray(picture).copy()).to(self.device).permute(2, 0, 1).float() / 255
        return torch.cat([rgba[:3] * rgba[3:], rgba[3:]])

    def render(self, scene, rows, columns):
        height, width = rows * 32, columns * 32
        canvas = self.colours[scene.colour][:, None, None].expand(3, height, width).clone()
        for sticker, (x, y, size) in zip(scene.stickers, scene.boxes):
            picture = self.pictures[sticker]
            scale = size * min(width, height) / max(picture.shape[1:])
            shape = [max(1, round(n * scale)) for n in picture.shape[1:]]
            patch = F.interpolate(picture[None], size=shape, mode="bilinear", antialias=True)[0]
            top = min(max(0, round(y * height - shape[0] / 2)), max(0, height - shape[0]))
            left = min(max(0, round(x * width - shape[1] / 2)), max(0, width - shape[1]))
            patch = patch[:, :height - top, :width - left]
            area = canvas[:, top:top + patch.shape[1], left:left + patch.shape[2]]
            area.mul_(1 - patch[3:]).add_(patch[:3])
        return canvas

    @torch.no_grad()
    def encode(self, scenes, rows, columns):
        """Raw packed latents; a few pictures at a time, as large ones fill the memory."""
        size = max(1, 64 * 64 // (rows * columns))
        parts = []
        for i in range(0, len(scenes), size):
            pictures = torch.stack([self.render(s, rows, columns) for s in scenes[i:i + size]])
            with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
                latents = self.autoencoder.encode(pictures.contiguous(memory_format=torch.channels_last))
            parts.append(pack(latents.float(), self.preset.patch))
        return torch.cat(parts)

    def random_scene(self, aspect, rng):
        sticker, colour = rng.randrange(len(self.stickers)), rng.randrange(len(world.COLOURS))
        if sticker < len(world.CORE_STICKERS) and world.is_held_out(sticker, colour):
            colour = rng.choice(world.seen_colours(sticker))
        kind = rng.random()
        if kind < 0.6:
            return single(sticker, colour, rng)
        count = rng.choice([2, 2, 2, 3])
        if kind < 0.75:
            return group([sticker] * count, colour, aspect, rng)
        return group([sticker] + rng.sample(range(len(self.stickers)), count - 1), colour, aspect, rng)

    def compose_batch(self, editing, rng):
        rows, columns = rng.choices(self.grids, self.weights)[0]
        count = max(1, int(self.preset.batch * 64 / (rows * columns)))
        aspect = columns / rows
        if not editing:
            scenes = [self.random_scene(aspect, rng) for _ in range(count)]
            return {"scenes": scenes, "rows": rows, "columns": columns,
                    "tokens": self.encode(scenes, rows, columns), "edit": None}
        return self.compose_edits(rows, columns, count, aspect, rng)

    def compose_edits(self, rows, columns, count, aspect, rng):
        """All edits of a batch take the same number of references, of one shape."""
        references = rng.choices([1, 2, 3, 4], [0.6, 0.25, 0.08, 0.07])[0]
        count = max(1, count // (1 + references // 2))
        shape = (rows, columns) if references == 1 and rng.random() < 0.6 else rng.choice([(8, 8), (7, 9), (12, 16)])
        scenes, before, edits = [], [], []
        for _ in range(count):
            if references > 1:
                chosen = rng.sample(range(len(self.stickers)), references)
                colour = rng.randrange(len(world.COLOURS))
                before.append([single_centred(s, rng) for s in chosen])
                scenes.append(group(chosen, colour, aspect, rng))
                edits.append("together")
            elif rng.random() < 0.6:
                target = self.random_scene(aspect, rng)
                other = rng.choice([c for c in range(len(world.COLOURS)) if c != target.colour])
                before.append([Scene(target.stickers, target.boxes, other, target.words)])
                scenes.append(target)
                edits.append("recolour")
            else:
                pair = rng.sample(range(len(self.stickers)), 2)
                first = single_centred(pair[0], rng)
                target = group(pair, first.colour, aspect, rng)
                before.append([first])
                scenes.append(target)
                edits.append("add")
        tokens = [self.encode([b[i] for b in before], *shape) for i in range(references)]
        return {"scenes": scenes, "rows": rows, "columns": columns, "tokens": self.encode(scenes, rows, columns),
                "edit": edits, "references": torch.cat(tokens, 1), "shapes": (shape,) * references}

    def instruction(self, edit, scene, rng):
        colour = world.COLOUR_NAMES[scene.colour]
        if edit == "recolour":
            return world.recolour_caption(colour, rng)
        if edit == "add":
            return world.add_caption(self.stickers[scene.stickers[1]], rng)
        return world.together_caption(len(scene.stickers), colour, rng)

    def batch(self, step, editing):
        rng = random.Random(f"{self.preset.seed}-{step}")
        pool = self.pools[editing]
        if len(pool) < self.preset.pool:
            pool.append(self.compose_batch(editing, rng))
            item = pool[-1]
        elif rng.random() < 1 / self.preset.reuse:
            item = pool[rng.randrange(len(pool))] = self.compose_batch(editing, rng)
        else:
            item = rng.choice(pool)
        if item["edit"] is None:
            prompts = [scene_caption(s, self.stickers, rng, rng.random() > 0.08) for s in item["scenes"]]
            return Batch(self.normaliser(item["tokens"]), prompts, item["rows"], item["columns"])
        prompts = [self.instruction(e, s, rng) for e, s in zip(item["edit"], item["scenes"])]
        return Batch(self.normaliser(item["tokens"]), prompts, item["rows"], item["columns"],
                     self.normaliser(item["references"]), item["shapes"])

    def statistics(self):
        """Mean and variance of each packed channel over single-sticker squares."""
        rng = random.Random(self.preset.seed)
        scenes = [self.random_scene(1.0, rng) for _ in range(4 * self.preset.batch)]
        tokens = self.encode(scenes, 8, 8).flatten(0, 1)
        return tokens.mean(0).cpu(), tokens.var(0).cpu()


def single_centred(sticker, rng):
    return Scene((sticker,), ((0.5, 0.5, rng.uniform(0.6, 0.75)),), rng.randrange(len(world.COLOURS)), "{0}")


def scene_document(stickers, rng):
    """A training text of the GPU preset's language model: the small world's, and scenes and edits."""
    kind = rng.random()
    if kind < 0.5:
        return world.language_document(stickers, rng)
    colour = rng.randrange(len(world.COLOURS))
    if kind < 0.85:
        count = rng.choice([1, 2, 2, 3])
        chosen = rng.sample(range(len(stickers)), count)
        if count > 1 and rng.random() < 0.4:
            chosen = [chosen[0]] * count
        scene = single(chosen[0], colour, rng) if count == 1 else group(chosen, colour, 1.2, rng)
        named = rng.random() < 0.7
        prompt = scene_caption(scene, stickers, rng, named)
        if rng.random() < 0.5:
            return "<|im_start|>" + prompt + "<|im_end|>"
        answer = world.ENHANCED.format(
            a=fill(scene.words, scene, stickers, rng), m=rng.choice(world.MOODS),
            c=world.COLOUR_NAMES[colour] if named else world.fitting_colour(stickers[chosen[0]]))
        template = world.ENHANCE_TEMPLATES["text_to_image"]
    else:
        sticker = rng.choice(stickers)
        if rng.random() < 0.5:
            prompt, answer = world.add_caption(sticker, rng), world.ADD_ENHANCED.format(
                a=world.with_article(sticker.detail))
        else:
            count = rng.choice([2, 3, 4])
            prompt = world.together_caption(count, world.COLOUR_NAMES[colour], rng)
            answer = world.TOGETHER_ENHANCED.format(k=world.NUMBER_WORDS[count], c=world.COLOUR_NAMES[colour])
        if rng.random() < 0.5:
            return "<|im_start|>" + prompt + "<|im_end|>"
        template = world.ENHANCE_TEMPLATES["edit"]
    return template["prefix"] + prompt + template["suffix"] + answer + "<|im_end|>"

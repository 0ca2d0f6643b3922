"""Sticker pictures from the npm packages, and compositing."""

import glob
import io
import os
import tarfile

import numpy as np
import torch
from PIL import Image

import world


def open_packages(directory):
    """Members of the sticker package as a function path -> bytes."""
    path = sorted(glob.glob(os.path.join(directory, "lobehub-fluent-emoji-3d-*.tgz")))[-1]
    with tarfile.open(path) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive.getmembers() if m.name.endswith(".webp")}
    return files


def load_sticker(files, emoji):
    """The picture of one emoji, RGBA, cropped to what is visible."""
    code = "-".join(f"{ord(c):x}" for c in emoji)
    for name in (code, code.replace("-fe0f", "")):
        data = files.get(f"package/assets/{name}.webp")
        if data is not None:
            picture = Image.open(io.BytesIO(data)).convert("RGBA")
            return picture.crop(picture.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox())
    raise KeyError(f"no picture for {emoji} ({code})")


def fit(picture, size):
    """Scaled so that its longer side is `size`."""
    k = size / max(picture.size)
    return picture.resize((max(1, round(picture.width * k)), max(1, round(picture.height * k))), Image.LANCZOS)


def compose(picture, colour, width, height, size):
    """One sticker in the middle of a plain background."""
    scaled = fit(picture, size)
    canvas = Image.new("RGBA", (width, height), world.COLOURS[colour] + (255,))
    canvas.alpha_composite(scaled, ((width - scaled.width) // 2, (height - scaled.height) // 2))
    return canvas.convert("RGB")


def to_tensor(picture):
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255

#!/usr/bin/env python3
"""Trains the enhancement of a finished nano model on, after world.py's documents have changed.

The transformer is conditioned on hidden states of the text encoder. Only what comes after the last of them (a block or
more, and the final norm) learns here, so that every picture stays the same to the byte."""

import argparse
import json
import os
import shutil
from dataclasses import replace

import language
import presets
import world
from export import export_text_encoder
from make_nano import log


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="exported directory; its text encoder is replaced")
    parser.add_argument("--preset", choices=sorted(presets.PRESETS), default="cpu", help="the one that it was made with")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=10)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    preset = replace(presets.PRESETS[arguments.preset], text_steps=arguments.steps, text_minutes=arguments.minutes)
    tokenizer, model = language.load_language(arguments.model)
    with open(os.path.join(arguments.model, "easel.json")) as file:
        last_state = max(json.load(file)["text_encoder_out_layers"])
    # hidden state n is what block n - 1 puts out
    for part in (*model.model.layers[last_state:], model.model.norm):
        part.requires_grad_(True)
    language.train_language_model(world.CORE_STICKERS, tokenizer, preset, "cpu", log, model=model)
    temporary, target = (os.path.join(arguments.model, name) for name in ("text_encoder.tmp", "text_encoder"))
    export_text_encoder(temporary, model)
    for name in os.listdir(temporary):
        os.chmod(os.path.join(temporary, name), 0o644)
        os.replace(os.path.join(temporary, name), os.path.join(target, name))
    shutil.rmtree(temporary)
    for prompt in ("a cat", "puppy", "rocket on green", "an apple on a blue background"):
        log(f"{prompt}: {language.enhance(prompt, 'text_to_image', tokenizer, model)}")


if __name__ == "__main__":
    main()

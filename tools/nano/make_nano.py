#!/usr/bin/env python3
"""Makes the nano model from the data packages: tokenizer, text encoder, latents, transformer, export, evaluation.

Each stage keeps its result in --work and is skipped when it is there; training goes on from its checkpoint. So the same
command, given again, continues, and --minutes N trains for one slice of time."""

import argparse
import json
import os
import random
import time

import torch

import language
import presets
import scenes
import world
from bank import Bank
from evaluate import evaluate
from export import export_model
from pictures import open_packages
from sources import BankSource, Normaliser
from taef2 import load_taef2
from train import Trainer

HERE = os.path.dirname(os.path.abspath(__file__))


def log(message):
    print(time.strftime("%H:%M:%S"), message, flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stickers", required=True, help="directory with the npm packages (.tgz)")
    parser.add_argument("--taef2", required=True, help="directory with taef2_encoder.pth and taef2_decoder.pth")
    parser.add_argument("--work", required=True, help="directory for checkpoints and caches")
    parser.add_argument("--output", required=True, help="directory of the finished model")
    parser.add_argument("--preset", choices=sorted(presets.PRESETS), default="cpu")
    parser.add_argument("--minutes", type=float, help="train for this long now (default: to the end)")
    parser.add_argument("--total-minutes", type=float, help="length of the whole training instead of the preset's")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer")
    parser.add_argument("--no-evaluation", action="store_true", help="stop after the export")
    return parser.parse_args()


def get_language(arguments, preset, stickers, device):
    if not os.path.exists(os.path.join(arguments.work, "text_encoder", "model.safetensors")):
        rng = random.Random(preset.seed)
        document = scenes.scene_document if preset.world == "scenes" else world.language_document
        documents = [document(stickers, rng) for _ in range(8000)]
        tokenizer = language.train_tokenizer(documents, preset.vocabulary)
        model = language.train_language_model(stickers, tokenizer, preset, device, log, document)
        language.save_language(arguments.work, tokenizer, model)
    return language.load_language(arguments.work, device)


def get_source(arguments, preset, stickers, files, autoencoder, device):
    """The batches, with the statistics that normalise their latents."""
    if preset.world == "scenes":
        source = maker = scenes.SceneSource(stickers, files, autoencoder, preset, device)
    else:
        maker = Bank(arguments.work, stickers, files, autoencoder, log)
        source = BankSource(maker, preset)
    path = os.path.join(arguments.work, "statistics.pt")
    if not os.path.exists(path):
        torch.save(maker.statistics(), path)
    source.normaliser = Normaliser(*torch.load(path), preset.data_scale)
    if preset.world == "scenes":
        source.normaliser.to(device)
    return source


def licences():
    with open(os.path.join(HERE, "LICENSE-model")) as file:
        return {"LICENSE": file.read()}


def main():
    arguments = parse_arguments()
    preset = presets.PRESETS[arguments.preset]
    if arguments.total_minutes:
        preset.minutes = arguments.total_minutes
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    os.makedirs(arguments.work, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    files = open_packages(arguments.stickers)
    stickers = scenes.all_stickers(arguments.stickers, files) if preset.world == "scenes" else world.CORE_STICKERS
    log(f"{len(stickers)} stickers, preset {arguments.preset}, on {device}")
    autoencoder = load_taef2(arguments.taef2)
    tokenizer, language_model = get_language(arguments, preset, stickers, device)
    source = get_source(arguments, preset, stickers, files, autoencoder, device)
    trainer = Trainer(preset, source, tokenizer, language_model, device, log)
    checkpoint = os.path.join(arguments.work, "checkpoint.pt")
    trainer.resume(checkpoint)
    if arguments.compile:
        trainer.run = torch.compile(trainer.model, dynamic=True)
    trainer.train(arguments.minutes if arguments.minutes is not None else float("inf"), checkpoint)
    export_model(arguments.output, trainer.average.cpu(), tokenizer, language_model.cpu(), autoencoder.cpu(),
                 source.normaliser, preset, stickers, licences())
    log(f"exported to {arguments.output}")
    if not arguments.no_evaluation:
        log(json.dumps(evaluate(arguments.output, arguments.stickers, arguments.work,
                                editing=preset.edit_from < 1), indent=2))


if __name__ == "__main__":
    main()

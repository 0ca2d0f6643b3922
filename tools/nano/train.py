"""Flow matching, with checkpoints that resume."""

import copy
import os
import random
import time

import torch

from flow import build_transformer, parameter_groups, predict
from language import encode_prompts
from muon import Optimizers


def training_times(count, shift, pure_noise, generator):
    """Times spread as the sampler's steps are: uniform, stratified over the batch, then shifted. A latent has so many
    values that the picture shows through all but the strongest noise, and only there the prompt is needed: a share of
    the batch, `pure_noise`, is drawn from the last hundredth, half of it noise alone."""
    device = generator.device
    uniform = (torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)) / count
    uniform = uniform[torch.randperm(count, generator=generator, device=device)]
    first = round(count * pure_noise)
    uniform[:first] = 1 - 0.01 * (2 * torch.rand(first, generator=generator, device=device) - 1).clamp(min=0)
    return shift * uniform / (1 + (shift - 1) * uniform)


class Trainer:
    """Holds all that a checkpoint must: model, averaged model, optimizers, steps and seconds trained."""

    def __init__(self, preset, source, tokenizer, language_model, device, log):
        self.preset, self.source, self.device, self.log = preset, source, device, log
        self.tokenizer, self.language_model = tokenizer, language_model
        self.model = build_transformer(preset).to(device).train()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizers = Optimizers(*parameter_groups(self.model), preset.muon_lr, preset.adam_lr)
        self.run = self.model
        self.step, self.seconds = 0, 0.0

    def save(self, path):
        state = {"model": self.model.state_dict(), "average": self.average.state_dict(),
                 "optimizers": self.optimizers.state_dict(), "step": self.step, "seconds": self.seconds}
        torch.save(state, path + ".tmp")
        os.replace(path + ".tmp", path)

    def resume(self, path):
        if not os.path.exists(path):
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizers.load_state_dict(state["optimizers"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.log(f"resumed at step {self.step}, {self.seconds / 60:.1f} min")

    def progress(self):
        return self.seconds / (60 * self.preset.minutes)

    def learning_rate_factor(self):
        """Warm-up by steps, then constant, then linear to zero by training time."""
        p = self.preset
        decay = (1 - self.progress()) / (1 - p.decay_from)
        return max(0.0, min(1.0, (self.step + 1) / p.warmup, decay))

    def loss(self, batch, generator):
        p = self.preset
        with torch.no_grad():
            text = encode_prompts(batch.prompts, self.tokenizer, self.language_model, p.text_out_layers,
                                  p.max_sequence_length)
        clean = batch.tokens.to(self.device)
        times = training_times(len(clean), p.shift, p.pure_noise, generator)
        noise = torch.randn(clean.shape, generator=generator, device=self.device)
        t = times[:, None, None]
        noisy = (1 - t) * clean + t * noise
        references = None if batch.references is None else batch.references.to(self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            output = predict(self.run, noisy, text, times, batch.rows, batch.columns, references,
                             batch.reference_shapes)
        # The model's last matrix is trained at unit scale; export multiplies it by data_scale.
        return (output.float() - (noise - clean) / p.data_scale).square().mean(dim=(1, 2))

    def train(self, minutes, checkpoint, save_every=180):
        """Trains for `minutes` more, or to the end of the schedule."""
        p = self.preset
        start = last = saved = time.time()
        averages = {}
        while time.time() - start < 60 * minutes and self.progress() < 1:
            editing = (self.progress() >= p.edit_from
                       and random.Random(f"edit-{p.seed}-{self.step}").random() < p.edit_share)
            batch = self.source.batch(self.step, editing)
            generator = torch.Generator(self.device).manual_seed(p.seed * 1000003 + self.step)
            losses = self.loss(batch, generator)
            losses.mean().backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizers.step(self.learning_rate_factor())
            decay = min(p.ema, (self.step + 1) / (self.step + 10))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
            self.step += 1
            pure = round(len(losses) * p.pure_noise)
            kind = "edit" if editing else "draw"
            for name, value in ((kind, losses[pure:]), (kind + " from pure noise", losses[:pure])):
                value = value.mean().item()
                averages[name] = 0.95 * averages.get(name, value) + 0.05 * value
            now = time.time()
            self.seconds, last = self.seconds + now - last, now
            if self.step % 20 == 0:
                text = " ".join(f"{k} {v:.4f}" for k, v in averages.items())
                self.log(f"step {self.step} {text} norm {norm:.2f} lr {self.learning_rate_factor():.2f} "
                         f"{self.seconds / 60:.1f} min")
            if now - saved > save_every:
                self.save(checkpoint)
                saved = now
        self.save(checkpoint)

"""The sizes and schedules of the two models that this recipe makes."""

from dataclasses import dataclass, field, replace


@dataclass
class Preset:
    seed: int = 1
    # "centred": one sticker in the middle, from cached latents; "scenes": composited while training
    world: str = "centred"
    # text encoder
    vocabulary: int = 1024
    text_hidden: int = 192
    text_mlp: int = 512
    text_layers: int = 6
    text_heads: int = 6
    text_kv_heads: int = 2
    text_head_dim: int = 32
    text_out_layers: tuple = (1, 3, 5)
    text_lr: float = 3e-3
    text_batch: int = 32
    text_steps: int = 1500
    text_minutes: float = 15.0
    max_sequence_length: int = 32
    # latents
    patch: int = 4
    # Standard deviation of the normalised latent. A patch of 4x4 has 512 channels, more than the transformer is
    # wide, so it cannot carry the noise through; with latents this much larger than the noise the velocity is nearly
    # the clean picture, which lies in far fewer dimensions, and the noise that remains is too weak to be seen.
    data_scale: float = 6.0
    # transformer
    heads: int = 6
    head_dim: int = 64
    double_blocks: int = 1
    single_blocks: int = 3
    mlp_ratio: float = 3.0
    # flow matching: the scheduler's static shift; data_scale times the usual 3, so that the share of noise is usual
    shift: float = 18.0
    steps: int = 8
    pure_noise: float = 0.4
    # training
    batch: int = 32
    muon_lr: float = 6e-3
    adam_lr: float = 3e-3
    ema: float = 0.99
    warmup: int = 20
    minutes: float = 150.0
    decay_from: float = 0.6
    edit_from: float = 0.4
    edit_share: float = 0.2
    references: int = 1  # pictures that an edit may take
    # area at which an engine should draw; larger pictures are enlarged from it
    native_pixels: int = 65536
    # scenes: encoded batches that are kept, and how often each is used
    pool: int = 24
    reuse: int = 3
    # (rows, columns) of tokens and how often; 8x8 is a square, 7x9 the default 1024x768
    grids: dict = field(default_factory=lambda: {
        (8, 8): 0.38, (7, 9): 0.38, (9, 7): 0.06, (7, 10): 0.05, (10, 7): 0.03, (6, 11): 0.06, (11, 6): 0.04})


CPU = Preset()
# For one H100 and about half an hour: all stickers, scenes, edits from up to four references, many shapes.
GPU = Preset(
    world="scenes", vocabulary=2048, text_minutes=2.0, text_steps=4000, text_batch=128, max_sequence_length=48,
    heads=7, double_blocks=1, single_blocks=5, batch=256, muon_lr=2e-3, adam_lr=1.5e-3, ema=0.999, warmup=200,
    minutes=25.0, edit_from=0.15, edit_share=0.25, references=4, native_pixels=786432, pool=24, reuse=3,
    grids={(8, 8): 0.22, (7, 9): 0.12, (9, 7): 0.05, (6, 11): 0.04, (11, 6): 0.04, (5, 13): 0.02, (13, 5): 0.02,
           (12, 12): 0.04, (12, 16): 0.08, (16, 12): 0.04, (16, 16): 0.06, (14, 18): 0.04, (18, 24): 0.05,
           (18, 32): 0.03, (32, 18): 0.02, (24, 24): 0.03, (24, 32): 0.07, (32, 24): 0.02, (32, 32): 0.01})

# A minute on a CPU through all of the GPU preset's code; learns nothing.
SMOKE = replace(GPU, vocabulary=1024, text_steps=4, text_batch=8, heads=2, single_blocks=1, batch=2, minutes=0.5,
                pool=2, edit_share=0.5, grids={(8, 8): 0.5, (7, 9): 0.5}, native_pixels=65536)

PRESETS = {"cpu": CPU, "gpu": GPU, "smoke": SMOKE}

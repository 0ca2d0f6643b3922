"""The sizes and schedules of the two models that this recipe makes."""

from dataclasses import dataclass, field


@dataclass
class Preset:
    seed: int = 1
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
    text_batch: int = 64
    text_steps: int = 900
    text_minutes: float = 4.0
    max_sequence_length: int = 32
    # latents
    patch: int = 4
    scales: tuple = (7, 6, 5, 4)
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
    # training
    batch: int = 64
    muon_lr: float = 2e-3
    adam_lr: float = 1.5e-3
    ema: float = 0.999
    warmup: int = 100
    minutes: float = 90.0
    decay_from: float = 0.6
    edit_from: float = 0.55
    edit_share: float = 0.15
    # (rows, columns) of tokens and how often; 8x8 is a square, 7x9 the default 1024x768
    grids: dict = field(default_factory=lambda: {
        (8, 8): 0.36, (7, 9): 0.34, (9, 7): 0.06, (7, 10): 0.04, (10, 7): 0.03, (6, 11): 0.05, (11, 6): 0.04,
        (5, 13): 0.02, (13, 5): 0.02, (4, 16): 0.02, (16, 4): 0.02})


CPU = Preset()
PRESETS = {"cpu": CPU}

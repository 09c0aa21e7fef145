"""Training recipes of CrossViT: functions that return a frozen config.

`tiny` is what the shipped checkpoint was made with; the published sizes follow sec. 4.1 and the public code's main.py.
"""

from __future__ import annotations

import dataclasses

from visionsmith.config import config
from visionsmith.data.mix import Mix
from visionsmith.errors import ConfigError
from visionsmith.papers.crossvit.config import CrossViTConfig, published
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = [
    "AugmentConfig",
    "CrossViTRecipe",
    "paper_9_dagger",
    "paper_15_dagger",
    "paper_18_dagger",
    "paper_b",
    "paper_s",
    "paper_ti",
    "tiny",
]

IMAGENET = 1_281_167
"""Training pictures of ImageNet-1k."""
EPOCHS, WARMUP_EPOCHS = 300, 30
BATCH = 4096


@config
class AugmentConfig:
    """Random changes of a training picture, in this order."""

    crop: tuple[float, float] = (0.08, 1.0)
    """Random rectangle: range of its share of the picture's area."""
    flip: float = 0.5
    """Probability of mirroring left and right."""
    rand_augment: float | None = 9.0
    """Mean magnitude of RandAugment's two changes, 0 to 10, or none."""
    colour: float = 0.0
    """Random change of brightness, contrast and saturation: largest share either way."""
    erase: float = 0.25
    """Probability that a random rectangle is replaced by random pixels."""

    def __post_init__(self) -> None:
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ConfigError(
                f"augment.crop = {list(self.crop)} is no range of shares", do="choose e.g. [0.08, 1.0]"
            )
        for name, largest in (("flip", 1), ("rand_augment", 10), ("colour", 1), ("erase", 1)):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= largest:
                raise ConfigError(f"augment.{name} = {value} is out of range", do=f"choose 0 to {largest}")


@config
class CrossViTRecipe:
    """A CrossViT and how to train it."""

    model: CrossViTConfig
    """Its sizes; `classes` is replaced by the number of classes of the data."""
    train: TrainConfig
    augment: AugmentConfig = AugmentConfig()
    mix: Mix | None = Mix()
    """Mixup and cutmix of a batch, with smoothed labels; null: none."""
    smoothing: float = 0.1
    """Share of a label that is spread over all classes where nothing is mixed."""
    resize: int | None = None
    """Length of the shorter side, when measured and used, before the centre is cut out, pixels; null: as published,
    256 for every 224 of the input."""
    gradient_checkpointing: bool = False
    """Keep less for the backward pass and compute it again: less memory, about a third more time."""
    initial: str | None = None
    """Weights to start from: a checkpoint or a .safetensors file. Its sizes replace those of `model`, but for the image
    sizes, to which its positions are interpolated; for other classes it gets new heads."""

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"smoothing = {self.smoothing} is out of range", do="choose 0 <= smoothing < 1")
        if self.resize is not None and self.resize < self.model.input_size:
            raise ConfigError(
                f"resize = {self.resize} px is smaller than the model's input of {self.model.input_size} px",
                do="choose at least that",
            )


def tiny() -> CrossViTRecipe:
    """Minutes on a laptop CPU: 64 px pictures, two stages, the stem of convolutions."""
    return CrossViTRecipe(
        model=CrossViTConfig(
            image_sizes=(64, 64),
            patch_sizes=(8, 16),
            widths=(48, 96),
            heads=(3, 3),
            mlp_ratios=(3.0, 3.0),
            depths=((1, 2, 1), (1, 2, 1)),
            stem="convolutions",
            # DIFFERS: 0.02 suits much wider models; from there this one barely begins to learn in minutes.
            init_std=None,
        ),
        train=TrainConfig(
            steps=2000,
            optim=OptimConfig(
                lr=1e-3, warmup_steps=100, final_lr=0.01, beta2=0.999, eps=1e-8, weight_decay=0.05
            ),
            batch_size=64,
            ema=0.995,
            threads=1,
            save_every=250,
            evaluate_every=500,
        ),
        augment=AugmentConfig(crop=(0.5, 1.0), rand_augment=None, colour=0.4, erase=0.25),
        mix=None,
        resize=64,
    )


def _paper(name: str) -> CrossViTRecipe:
    """Batch 4096, 300 epochs of ImageNet-1k, AdamW with decay 0.05, 4e-3 after 30 epochs of warm-up, cosine to 1e-5."""
    epoch = IMAGENET // BATCH
    # DIFFERS: the public code draws each picture three times a batch ("repeated augmentation"); here it comes once.
    return CrossViTRecipe(
        model=dataclasses.replace(published(name), drop_path=0.1),
        train=TrainConfig(
            steps=EPOCHS * epoch,
            optim=OptimConfig(
                lr=4e-3,
                warmup_steps=WARMUP_EPOCHS * epoch,
                initial_lr=1e-6 / 4e-3,
                final_lr=1e-5 / 4e-3,
                beta2=0.999,
                eps=1e-8,
                weight_decay=0.05,
                clip_norm=None,
            ),
            batch_size=BATCH,
            precision="auto",
            workers=8,
            save_every=epoch,
            evaluate_every=10 * epoch,
        ),
    )


def paper_ti() -> CrossViTRecipe:
    """CrossViT-Ti as published."""
    return _paper("Ti")


def paper_s() -> CrossViTRecipe:
    """CrossViT-S as published."""
    return _paper("S")


def paper_b() -> CrossViTRecipe:
    """CrossViT-B as published."""
    return _paper("B")


def paper_9_dagger() -> CrossViTRecipe:
    """CrossViT-9 with the stem of convolutions as published."""
    return _paper("9-dagger")


def paper_15_dagger() -> CrossViTRecipe:
    """CrossViT-15 with the stem of convolutions as published."""
    return _paper("15-dagger")


def paper_18_dagger() -> CrossViTRecipe:
    """CrossViT-18 with the stem of convolutions as published."""
    return _paper("18-dagger")

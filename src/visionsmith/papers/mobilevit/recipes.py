"""Training recipes of MobileViT: functions that return a frozen config.

The published sizes follow sec. 4.1 and the published settings (300 epochs of ImageNet-1k, eight processes).
"""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.data.multiscale import MultiScale
from visionsmith.errors import ConfigError
from visionsmith.papers.mobilevit.config import MobileViTConfig, published
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = ["MobileViTRecipe", "paper_s", "paper_xs", "paper_xxs", "tiny"]

IMAGENET = 1_281_167
"""Training pictures of ImageNet-1k."""
EPOCHS = 300


@config
class MobileViTRecipe:
    """A MobileViT and how to train it."""

    model: MobileViTConfig
    """Its sizes; `classes` is replaced by the number of classes of the data."""
    train: TrainConfig
    size: int = 256
    """Side at which pictures are shown when the model is measured or used, pixels."""
    resize: int | None = 288
    """Length of the shorter side before the centre is cut out, pixels; null: `size`."""
    scales: MultiScale | None = MultiScale()
    """The sizes of training batches; null: all of `size`."""
    crop: tuple[float, float] = (0.08, 1.0)
    """Random crop: range of its share of the picture's area."""
    colour: float = 0.0
    """Random change of brightness, contrast and saturation: largest share either way."""
    erase: float = 0.0
    """Probability that a random rectangle is replaced by noise."""
    smoothing: float = 0.1
    """Share of a label that is spread over all classes."""
    initial: str | None = None
    """Weights to start from: a checkpoint, a transformers folder or a .safetensors file. Its sizes replace those of
    `model`; for other classes it gets a new last layer."""

    def __post_init__(self) -> None:
        if self.size < 1 or (self.resize is not None and self.resize < self.size):
            raise ConfigError(
                f"size = {self.size}, resize = {self.resize}: the cut is larger than the picture",
                do="choose 1 <= size <= resize",
            )
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ConfigError(f"crop = {list(self.crop)} is out of range", do="choose 0 < low <= high <= 1")
        for name in ("colour", "erase", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} = {getattr(self, name)} is out of range", do=f"choose 0 <= {name} < 1"
                )


def tiny() -> MobileViTRecipe:
    """Minutes on a laptop CPU: 64 px pictures, about half as wide as MobileViT-XXS."""
    return MobileViTRecipe(
        model=MobileViTConfig(
            channels=(16, 24, 32, 48, 64), expansion=2, widths=(48, 64, 80), depths=(2, 2, 2), dropout=0.0
        ),
        train=TrainConfig(
            steps=1000,
            optim=OptimConfig(
                lr=3e-3, warmup_steps=60, initial_lr=0.1, final_lr=0.02, beta2=0.999, weight_decay=0.05
            ),
            batch_size=64,
            precision="fp32",
            ema=0.995,
            threads=1,
            save_every=100,
            evaluate_every=250,
        ),
        size=64,
        resize=None,
        scales=MultiScale(size=64, lowest=48, highest=80, count=3, multiple=16),
        # DIFFERS: the paper crops and flips only; eight thousand scenes need more variety than a million photographs.
        crop=(0.5, 1.0),
        colour=0.3,
        erase=0.1,
    )


def _paper(name: str) -> MobileViTRecipe:
    """Batch 1024 at 256 px, AdamW with decay 0.01 of every parameter, 2e-4 up to 2e-3 and back, averaged weights."""
    scales = MultiScale(divisor=8)
    rows = scales.rows(1024).values()
    return MobileViTRecipe(
        model=published(name),
        train=TrainConfig(
            steps=EPOCHS * IMAGENET * len(rows) // sum(rows),
            optim=OptimConfig(
                lr=2e-3,
                warmup_steps=3000,
                initial_lr=0.1,
                final_lr=0.1,
                beta2=0.999,
                eps=1e-8,
                weight_decay=0.01,
                decay_all=True,
                clip_norm=None,
            ),
            batch_size=1024,
            precision="fp16",
            ema=0.9995,
            workers=8,
            save_every=2000,
            evaluate_every=10_000,
        ),
        scales=scales,
    )


def paper_xxs() -> MobileViTRecipe:
    """MobileViT-XXS as published."""
    return _paper("XXS")


def paper_xs() -> MobileViTRecipe:
    """MobileViT-XS as published."""
    return _paper("XS")


def paper_s() -> MobileViTRecipe:
    """MobileViT-S as published."""
    return _paper("S")

"""Training recipes of F3-Net: functions that return a frozen config.

`tiny` is what the shipped checkpoint is made with; `paper` follows sec. 4.1 of the paper.
"""

from __future__ import annotations

from typing import Literal

from visionsmith.config import config
from visionsmith.papers.f3net.config import F3NetConfig, XceptionConfig
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = ["F3NetRecipe", "paper", "tiny"]


@config
class F3NetRecipe:
    """An F3-Net and how to train it."""

    model: F3NetConfig
    train: TrainConfig
    compression: Literal["any", "raw", "hq", "lq"] = "any"
    """Which pictures of the data are used, in training and to measure: those of one compression, or all."""
    initial: str | None = None
    """Weights of a pretrained Xception to start both streams from: a .safetensors file or a pickle of tensors."""


def tiny() -> F3NetRecipe:
    """Minutes on a laptop CPU: 64 px, Xceptions of an eighth of the width with two middle blocks."""
    return F3NetRecipe(
        model=F3NetConfig(
            image_size=64,
            # DIFFERS: no stride in the exit block, so that the last map has 4 x 4 positions and not 2 x 2.
            stream=XceptionConfig(
                stem=(8, 16), entry=(16, 32, 96), middle=2, exit=(128, 192, 256), strides=(2, 2, 2, 1)
            ),
        ),
        train=TrainConfig(
            steps=1500,
            # DIFFERS: the paper's SGD needs its pretrained weights; from scratch AdamW learns in far fewer steps.
            optim=OptimConfig(lr=2e-3, warmup_steps=50, weight_decay=0.02, beta2=0.99),
            batch_size=32,
            ema=0.99,
            threads=1,
            save_every=250,
            evaluate_every=500,
        ),
    )


def paper() -> F3NetRecipe:
    """299 px, batch 128, SGD 0.002 with a cosine schedule for 150,000 steps, from an ImageNet Xception (`initial`)."""
    return F3NetRecipe(
        model=F3NetConfig(),
        train=TrainConfig(
            steps=150_000,
            optim=OptimConfig(optimizer="sgd", lr=2e-3, momentum=0.9, weight_decay=0.0, clip_norm=None),
            batch_size=128,
            workers=8,
            save_every=1000,
            evaluate_every=5000,
        ),
    )

"""Training recipes: functions that return a frozen config.

`tiny` is what the shipped checkpoint was made with; `paper_cifar*` follow the public code's main_supcon.py,
main_linear.py and main_ce.py.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from visionsmith.config import config
from visionsmith.errors import ConfigError
from visionsmith.papers.supcon.config import ResNetConfig, SupConConfig, published
from visionsmith.train.recipe import OptimConfig, TrainConfig

__all__ = ["AugmentConfig", "SupConRecipe", "paper_cifar", "paper_cifar_ce", "paper_cifar_simclr", "tiny"]

CIFAR_PICTURES = 50_000


@config
class AugmentConfig:
    """Random views of a training picture."""

    views: int = 2
    """Views of each picture in a batch."""
    scale: tuple[float, float] = (0.2, 1.0)
    """Range of a crop's share of the picture's area."""
    jitter: float = 0.8
    """Share of views whose colours are changed."""
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    """Largest turn of the colour circle either way, as a share of it."""
    gray: float = 0.2
    """Share of views without colour."""

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ConfigError(f"augment.views = {self.views}", do="choose at least 1")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(
                f"augment.scale = {list(self.scale)} is no range of shares", do="choose e.g. [0.2, 1.0]"
            )
        for name in ("jitter", "gray"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"augment.{name} = {getattr(self, name)} is out of range", do="choose a share from 0 to 1"
                )


@config
class SupConRecipe:
    """A model and how to train it: the encoder under one of four objectives, then a linear classifier on top."""

    model: SupConConfig
    objective: Literal["supcon", "supcon_in", "simclr", "ce"] = "supcon"
    """What trains the encoder: L_out, L_in, the self-supervised loss, or cross-entropy (which trains the classifier
    too, so that there is no second stage)."""
    temperature: float = 0.1
    base_temperature: float | None = 0.07
    """The loss is multiplied by temperature / base_temperature, as in the public code; null leaves that out."""
    contrast: Literal["all", "one"] = "all"
    """Whether all views are anchors, or the first of each picture."""
    train: TrainConfig
    """Of the encoder."""
    linear: TrainConfig
    """Of the linear classifier on the frozen encoder."""
    augment: AugmentConfig = AugmentConfig()
    label_noise: float = 0.0
    """Share of training pictures that get a wrong label."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_noise < 1:
            raise ConfigError(
                f"label_noise = {self.label_noise} is out of range",
                do="choose a share from 0 to 1 (1 excluded)",
            )
        for name in ("temperature", "base_temperature"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} = {value} is not positive", do="choose a temperature above 0")
        if self.objective == "simclr" and self.augment.views < 2:
            raise ConfigError(
                f"augment.views = {self.augment.views} leaves objective = 'simclr' without positives",
                do="choose at least 2",
            )
        if self.objective != "ce" and self.model.head is None:
            raise ConfigError(
                f"model.head = null, and objective = '{self.objective}' needs a projection",
                do="choose mlp or linear",
            )


def tiny() -> SupConRecipe:
    """Minutes on a laptop CPU: 32 px pictures, a ResNet of three narrow stages."""
    # DIFFERS: the stem of ImageNet at 32 px, whose feature maps are small: several times as many pictures in the same
    # time as with the stem of CIFAR.
    encoder = ResNetConfig(block="basic", widths=(32, 64, 128), layers=(1, 1, 1), stem="large")
    return SupConRecipe(
        model=SupConConfig(image_size=32, encoder=encoder),
        train=TrainConfig(
            steps=1600,
            batch_size=128,
            threads=1,
            optim=OptimConfig(lr=6e-3, warmup_steps=30, weight_decay=0.02),
            save_every=100,
            evaluate_every=800,
        ),
        linear=TrainConfig(
            steps=200,
            batch_size=256,
            threads=1,
            optim=OptimConfig(lr=3e-2, weight_decay=0.0),
            save_every=50,
        ),
        # DIFFERS: Adam does not see a constant factor, and the losses are easier to compare without it.
        base_temperature=None,
        # DIFFERS: the paper's crops are down to a fifth of the picture, which at this size cuts off what the class is.
        augment=AugmentConfig(scale=(0.5, 1.0), jitter=0.5, gray=0.1),
    )


def _cifar(
    objective: Literal["supcon", "simclr", "ce"],
    *,
    lr: float,
    epochs: int,
    linear_lr: float,
    temperature: float,
) -> SupConRecipe:
    """ResNet-50 on 50,000 pictures of 32 px; batch 1024, SGD, cosine after ten epochs of warm-up from 0.01."""
    # DIFFERS: an epoch's last, smaller batch is left out; the public code trains on it.
    epoch, linear_epoch = CIFAR_PICTURES // 1024, CIFAR_PICTURES // 512
    sgd = OptimConfig(optimizer="sgd", momentum=0.9, clip_norm=None, decay_all=True)
    return SupConRecipe(
        model=SupConConfig(encoder=published("resnet50")),
        objective=objective,
        temperature=temperature,
        train=TrainConfig(
            steps=epochs * epoch,
            batch_size=1024,
            optim=dataclasses.replace(
                sgd,
                lr=lr,
                weight_decay=1e-4,
                warmup_steps=10 * epoch,
                initial_lr=0.01 / lr,
                final_lr=0.1**3,
            ),
            workers=8,
            save_every=20 * epoch,
        ),
        linear=TrainConfig(
            steps=100 * linear_epoch,
            batch_size=512,
            optim=dataclasses.replace(
                sgd, lr=linear_lr, weight_decay=0.0, schedule="step", drops=(0.6, 0.75, 0.9), final_lr=0.2
            ),
            workers=8,
            save_every=20 * linear_epoch,
        ),
        augment=AugmentConfig(views=1, jitter=0.0, gray=0.0) if objective == "ce" else AugmentConfig(),
    )


def paper_cifar() -> SupConRecipe:
    """SupCon on CIFAR as the public code trains it."""
    return _cifar("supcon", lr=0.5, epochs=1000, linear_lr=5.0, temperature=0.1)


def paper_cifar_simclr() -> SupConRecipe:
    """Its SimCLR."""
    return _cifar("simclr", lr=0.5, epochs=1000, linear_lr=1.0, temperature=0.5)


def paper_cifar_ce() -> SupConRecipe:
    """Its cross-entropy baseline: one view a picture, cropped and mirrored."""
    return _cifar("ce", lr=0.8, epochs=500, linear_lr=5.0, temperature=0.1)

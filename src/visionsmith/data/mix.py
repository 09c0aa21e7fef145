"""Two pictures in one with a label in between: mixup (Zhang et al. 2018), cutmix (Yun et al. 2019), label smoothing.

Axes: b samples, h/w pixels, k classes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["Mix", "mix_batch", "smooth_targets"]


@config
class Mix:
    """How the pictures of a batch are mixed: each with its counterpart from the batch's end, by one share a batch."""

    mixup: float = 0.8
    """Both parameters of the Beta distribution of the share; 0: no mixup."""
    cutmix: float = 1.0
    """The same for cutmix, where the share is that of the area; 0: no cutmix."""
    switch: float = 0.5
    """Probability of cutmix where both are on."""
    smoothing: float = 0.1
    """Share of a label that is spread over all classes."""

    def __post_init__(self) -> None:
        for name, largest in (("mixup", math.inf), ("cutmix", math.inf), ("switch", 1.0), ("smoothing", 1.0)):
            if not 0 <= getattr(self, name) <= largest:
                allowed = "choose 0 or more" if largest == math.inf else f"choose 0 to {largest:g}"
                raise ConfigError(f"{name} = {getattr(self, name)} is out of range", do=allowed)


def smooth_targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Labels as distributions: float32 `b k`, 1 - smoothing + smoothing / k at the label, smoothing / k elsewhere.

    Args:
        labels: int64 `b`.
        classes: k.
        smoothing: share that is spread, 0 to 1.
    """
    targets = torch.full((len(labels), classes), smoothing / classes)
    targets.scatter_(1, labels[:, None], 1 - smoothing + smoothing / classes)
    return targets


def mix_batch(
    images: Tensor, labels: Tensor, mix: Mix, classes: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix a batch with itself in reverse order.

    Args:
        images: `b h w c`, any type.
        labels: int64 `b`.
        mix: what is done.
        classes: k.
        rng: random stream.

    Returns:
        float32 `b h w c` in the range of `images`, and targets float32 `b k` that sum to 1.
    """
    images = images.float()
    targets = smooth_targets(labels, classes, mix.smoothing)
    if not mix.mixup and not mix.cutmix:
        return images, targets
    cut = bool(mix.cutmix) and (not mix.mixup or rng.random() < mix.switch)
    alpha = mix.cutmix if cut else mix.mixup
    share = float(rng.beta(alpha, alpha))
    if cut:
        images = images.clone()
        (top, bottom), (left, right) = _box(images.shape[1], share, rng), _box(images.shape[2], share, rng)
        images[:, top:bottom, left:right] = images.flip(0)[:, top:bottom, left:right]
        # The box is cut at the border, so its true area counts.
        share = 1 - (bottom - top) * (right - left) / (images.shape[1] * images.shape[2])
    else:
        images = torch.lerp(images.flip(0), images, share)
    return images, torch.lerp(targets.flip(0), targets, share)


def _box(length: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Begin and end, along one axis, of a box that covers 1 - share of the area when it lies inside."""
    half = round(length * math.sqrt(1 - share)) // 2
    centre = int(rng.integers(length))
    return max(0, centre - half), min(length, centre + half)

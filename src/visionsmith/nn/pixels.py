"""From pixels to the values that a network takes.

Axes: b samples, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "normalise"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of R, G, B over ImageNet, of values 0 to 1."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of R, G, B over ImageNet, of values 0 to 1."""


def normalise(
    images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """Shift and scale each channel to about mean 0 and deviation 1.

    Args:
        images: `b h w 3` RGB, uint8, or float32 in [0, 255].
        mean: of each channel, of values 0 to 1.
        std: of each channel, of values 0 to 1.

    Returns:
        `b 3 h w` float32 on the same device; channels last in memory when `images` is contiguous.
    """
    assert images.shape[3:] == (3,), f"images are {tuple(images.shape)}, not (b, h, w, 3)"
    shift = torch.tensor(mean, device=images.device) * 255
    scale = torch.tensor(std, device=images.device) * 255
    return ((images - shift) / scale).permute(0, 3, 1, 2)

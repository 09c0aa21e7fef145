"""From a decoded picture to MobileViT's input. The only place that knows its order of colours.

The published weights were trained on pictures as OpenCV reads them: blue, green, red, from 0 to 1, without mean and
deviation. Fed with red first, or with ImageNet's statistics, they answer without complaint and are wrong more often.

Axes: b images, h/w pixels.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from visionsmith.image.views import centre_crop

__all__ = ["prepare", "show"]


def show(image: np.ndarray, size: int, resize: int | None = None) -> np.ndarray:
    """Scale the shorter side (bilinear, antialiased) and cut out the centre.

    Args:
        image: RGB HWC uint8 [0, 255], any size.
        size: side of the result, pixels.
        resize: length of the shorter side before the cut, pixels; None: `size`.

    Returns:
        RGB HWC uint8 [0, 255], size x size.
    """
    return centre_crop(image, size, resize=resize, filter="bilinear")


def prepare(images: Tensor) -> Tensor:
    """Pixels to the network's input.

    Args:
        images: b h w 3 RGB, uint8, or float32 in [0, 255].

    Returns:
        b 3 h w float32, BGR, 0 to 1, on the same device; channels last in memory.
    """
    assert images.shape[3:] == (3,), f"images are {tuple(images.shape)}, not (b, h, w, 3)"
    return (images.flip(-1).float() / 255).permute(0, 3, 1, 2)

"""From a decoded picture to the input of CLIP's image tower (Radford et al. 2021, sec. 2.5).

Axes: b images, h/w pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from visionsmith.errors import DataError

__all__ = ["MEAN", "STD", "normalise", "resize_and_crop"]

MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of R, G, B in the paper's training data, of values 0 to 1."""

STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of R, G, B in the paper's training data, of values 0 to 1."""


def resize_and_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Scale the shorter side to `size` with a bicubic filter and cut out the centre square.

    Pillow does it, because its filter widens with the scale (antialiasing), as in the published
    preprocessing. The cubic filter of OpenCV does not, and aliases on every photograph larger than the
    model's input.

    Args:
        image: RGB HWC uint8 [0, 255], any size.
        size: side of the result, pixels.

    Returns:
        RGB HWC uint8 [0, 255], size x size.

    Raises:
        DataError: the array is no RGB picture of 8 bits, or a side is zero.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(
            f"an array of shape {image.shape} and type {image.dtype} is not an RGB picture",
            do="give height x width x 3 of uint8",
        )
    height, width = image.shape[:2]
    shorter = min(height, width)
    # The longer side is rounded down and the margin half to even, as the published preprocessing does.
    height, width = size * height // shorter, size * width // shorter
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def normalise(images: Tensor) -> Tensor:
    """Pixels to the values that the image tower takes: of mean 0 and deviation 1 over the paper's data.

    Args:
        images: b h w 3 uint8 [0, 255], RGB.

    Returns:
        b 3 h w float32, on the same device; channels last in memory when `images` is contiguous.
    """
    assert images.dtype == torch.uint8, f"images are {images.dtype}, not uint8"
    assert images.shape[3:] == (3,), f"images are {tuple(images.shape)}, not (b, h, w, 3)"
    mean = torch.tensor(MEAN, device=images.device) * 255
    std = torch.tensor(STD, device=images.device) * 255
    return ((images - mean) / std).permute(0, 3, 1, 2)

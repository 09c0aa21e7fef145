"""How a picture is shown to a classifier when nothing is left to chance: resized and cut to its centre."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from visionsmith.errors import DataError

__all__ = ["centre_crop"]


def centre_crop(
    image: np.ndarray,
    size: int | tuple[int, int],
    *,
    resize: int | None = None,
    filter: Literal["bicubic", "bilinear"] = "bicubic",
) -> np.ndarray:
    """Scale the shorter side and cut out the centre.

    Pillow does it, because its filters widen with the scale (antialiasing), as in the published preprocessings.
    OpenCV's do not, and alias on every photograph that is larger than the model's input.

    Args:
        image: RGB HWC uint8 [0, 255], any size.
        size: (height, width) of the result, or its side, pixels.
        resize: what the shorter side is scaled to; None: so that the result just fits. Not smaller than `size`.
        filter: of the scaling.

    Returns:
        RGB HWC uint8 [0, 255] of `size`.

    Raises:
        DataError: the array is no RGB picture of 8 bits, or a side is zero.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(
            f"an array of shape {image.shape} and type {image.dtype} is not an RGB picture",
            do="give height x width x 3 of uint8",
        )
    out_height, out_width = (size, size) if isinstance(size, int) else size
    assert resize is None or resize >= max(out_height, out_width), "resize to at least the size of the crop"
    height, width = image.shape[:2]
    scale = max(out_height / height, out_width / width) if resize is None else resize / min(height, width)
    new_height, new_width = max(out_height, round(height * scale)), max(out_width, round(width * scale))
    method = Image.Resampling.BICUBIC if filter == "bicubic" else Image.Resampling.BILINEAR
    resized = Image.fromarray(image)
    if (new_height, new_width) != (height, width):
        resized = resized.resize((new_width, new_height), method)
    top, left = (new_height - out_height) // 2, (new_width - out_width) // 2
    # A copy, because an array over a Pillow picture cannot be written to, which torch warns of.
    return np.array(resized.crop((left, top, left + out_width, top + out_height)))

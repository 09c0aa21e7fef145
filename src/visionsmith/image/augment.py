"""Random changes of a picture for training, each a function of a picture and a random stream.

Pictures: RGB HWC uint8 [0, 255] in and out.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["random_affine", "random_resized_crop"]


def random_resized_crop(
    image: np.ndarray, rng: np.random.Generator, size: int, scale: tuple[float, float] = (0.9, 1.0)
) -> np.ndarray:
    """Cut a random square and resize it to `size` px.

    Args:
        image: HWC uint8.
        rng: random stream.
        size: side of the result, pixels.
        scale: range of the square's share of the area of the largest square that fits.
    """
    height, width = image.shape[:2]
    side = max(1, round(min(height, width) * float(np.sqrt(rng.uniform(*scale)))))
    top = int(rng.integers(0, height - side + 1))
    left = int(rng.integers(0, width - side + 1))
    crop = image[top : top + side, left : left + side]
    # Area averaging is the interpolation without aliasing when a picture gets smaller.
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return cv2.resize(crop, (size, size), interpolation=interpolation)


def random_affine(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    degrees: float,
    shift: float,
    scale: tuple[float, float],
    border: int = 255,
) -> np.ndarray:
    """Rotate about the centre, zoom and shift, all at random and at once.

    Args:
        image: HWC uint8.
        rng: random stream.
        degrees: largest rotation either way.
        shift: largest shift either way, as a share of the side.
        scale: range of the zoom.
        border: gray level (0 to 255) of what comes into view.
    """
    height, width = image.shape[:2]
    angle = rng.uniform(-degrees, degrees)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, rng.uniform(*scale))
    matrix[:, 2] = matrix[:, 2] + rng.uniform(-shift, shift, size=2) * (width, height)
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(border, border, border)
    )

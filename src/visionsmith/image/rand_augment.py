"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719): a few random changes of one common strength.

The set of changes and what a magnitude means for each follow the "increasing" variant that vision transformers are
trained with: a larger magnitude always changes more. Pictures: RGB HWC uint8 [0, 255] in and out.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from visionsmith.errors import ConfigError

__all__ = ["CHANGES", "rand_augment"]

LARGEST = 10.0
"""Magnitude at which each change is at its strongest."""
PROBABILITY = 0.5
"""Of each chosen change to be made."""
FILL = (124, 116, 104)
"""Colour of what comes into view: the mean of natural photographs."""

Change = Callable[[np.ndarray, float], np.ndarray]
"""A picture and a strength, -1 to 1 (the changes without two directions take its size)."""


def rand_augment(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    operations: int = 2,
    magnitude: float = 9.0,
    deviation: float = 0.5,
) -> np.ndarray:
    """Make some of the changes, chosen at random.

    Args:
        image: HWC uint8.
        rng: random stream.
        operations: how many changes are drawn, with repetition; each is made with probability one half.
        magnitude: their mean strength, 0 to 10.
        deviation: standard deviation of the strength, which is drawn for each change.

    Raises:
        ConfigError: the magnitude is out of range.
    """
    if not 0 <= magnitude <= LARGEST:
        raise ConfigError(f"magnitude = {magnitude} is out of range", do=f"choose 0 to {LARGEST:g}")
    changes = list(CHANGES.values())
    for choice in rng.integers(len(changes), size=operations):
        if rng.random() >= PROBABILITY:
            continue
        strength = float(np.clip(rng.normal(magnitude, deviation), 0, LARGEST)) / LARGEST
        image = changes[choice](image, strength if rng.random() < 0.5 else -strength)
    return image


def _auto_contrast(image: np.ndarray, strength: float) -> np.ndarray:
    """Stretch each channel to the full range."""
    low, high = image.min(axis=(0, 1)).astype(np.float32), image.max(axis=(0, 1)).astype(np.float32)
    span = np.where(high > low, high - low, 255)
    stretched = (image - np.where(high > low, low, 0)) * (255 / span)
    return np.rint(stretched).astype(np.uint8)


def _equalize(image: np.ndarray, strength: float) -> np.ndarray:
    """Flatten each channel's histogram."""
    return np.dstack([cv2.equalizeHist(np.ascontiguousarray(image[..., place])) for place in range(3)])


def _invert(image: np.ndarray, strength: float) -> np.ndarray:
    return 255 - image


def _posterize(image: np.ndarray, strength: float) -> np.ndarray:
    """Keep 4 (weakest) to 0 of the upper bits."""
    kept = 4 - int(abs(strength) * 4)
    masked: np.ndarray = image & np.uint8(256 - (1 << (8 - kept)))
    return masked


def _solarize(image: np.ndarray, strength: float) -> np.ndarray:
    """Invert what is at or above a threshold that falls from 256."""
    return np.where(image < 256 - int(abs(strength) * 256), image, 255 - image)


def _solarize_add(image: np.ndarray, strength: float) -> np.ndarray:
    """Brighten the dark half by up to 110."""
    brighter = np.minimum(image.astype(np.int16) + int(abs(strength) * 110), 255).astype(np.uint8)
    return np.where(image < 128, brighter, image)


def _blend(anchor: np.ndarray, image: np.ndarray, strength: float) -> np.ndarray:
    """Away from the anchor or towards it, by a factor of 0.1 to 1.9."""
    factor = 1 + 0.9 * strength
    mixed = anchor.astype(np.float32) + factor * (image.astype(np.float32) - anchor)
    bounded: np.ndarray = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return bounded


def _gray(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _colour(image: np.ndarray, strength: float) -> np.ndarray:
    return _blend(_gray(image)[..., None], image, strength)


def _contrast(image: np.ndarray, strength: float) -> np.ndarray:
    return _blend(np.rint(_gray(image).mean(keepdims=True)[..., None]), image, strength)


def _brightness(image: np.ndarray, strength: float) -> np.ndarray:
    return _blend(np.zeros(1, np.float32), image, strength)


def _sharpness(image: np.ndarray, strength: float) -> np.ndarray:
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13
    return _blend(cv2.filter2D(image, -1, kernel), image, strength)


def _warp(image: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.warpAffine(
        image, np.asarray(matrix, dtype=np.float64), (width, height), flags=cv2.INTER_LINEAR, borderValue=FILL
    )


def _rotate(image: np.ndarray, strength: float) -> np.ndarray:
    """By up to 30 degrees about the centre."""
    height, width = image.shape[:2]
    return _warp(
        image, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 30 * strength, 1).tolist()
    )


def _shear_x(image: np.ndarray, strength: float) -> np.ndarray:
    return _warp(image, [[1, 0.3 * strength, 0], [0, 1, 0]])


def _shear_y(image: np.ndarray, strength: float) -> np.ndarray:
    return _warp(image, [[1, 0, 0], [0.3 * strength, 1, 0]])


def _translate_x(image: np.ndarray, strength: float) -> np.ndarray:
    """By up to 45 % of the width."""
    return _warp(image, [[1, 0, 0.45 * strength * image.shape[1]], [0, 1, 0]])


def _translate_y(image: np.ndarray, strength: float) -> np.ndarray:
    """By up to 45 % of the height."""
    return _warp(image, [[1, 0, 0], [0, 1, 0.45 * strength * image.shape[0]]])


CHANGES: dict[str, Change] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "colour": _colour,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
"""The fifteen changes by name."""

"""How like two pictures are: the signal-to-noise ratio and structural similarity.

Pictures: uint8 `h w 3`, both of one shape.
"""

from __future__ import annotations

import cv2
import numpy as np

from visionsmith.errors import DataError

__all__ = ["psnr", "ssim"]

WINDOW, SIGMA = 11, 1.5
"""Of the Gaussian window (Wang et al. 2004, section III.B)."""
K1, K2 = 0.01, 0.03
"""Of the constants that keep flat and black places from dividing by nothing."""


def psnr(found: np.ndarray, real: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all pixels and channels, dB; 100 for equal pictures.

    Raises:
        DataError: the pictures are no uint8 of one shape.
    """
    _check(found, real)
    error = float(np.square(found.astype(np.float64) - real).mean())
    return float(10 * np.log10(255**2 / error)) if error else 100.0


def ssim(found: np.ndarray, real: np.ndarray) -> float:
    """Structural similarity, 1 for equal pictures (Wang et al. 2004, equation 13).

    A mean over the channels and over the places where the window lies wholly inside.

    Raises:
        DataError: the pictures are no uint8 of one shape, or are smaller than the window of 11 pixels.
    """
    _check(found, real)
    if min(found.shape[:2]) < WINDOW:
        raise DataError(
            f"pictures of {found.shape[1]} x {found.shape[0]} px are smaller than the window of {WINDOW} px",
            where="ssim",
            do="give larger ones",
        )
    x, y = found.astype(np.float64), real.astype(np.float64)
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    both = _smooth(x * y) - mean_x * mean_y
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float((above / below).mean())


def _smooth(values: np.ndarray) -> np.ndarray:
    edge = WINDOW // 2
    blurred = cv2.GaussianBlur(values, (WINDOW, WINDOW), SIGMA)
    return np.asarray(blurred)[edge:-edge, edge:-edge]


def _check(found: np.ndarray, real: np.ndarray) -> None:
    if found.shape != real.shape or found.ndim != 3:
        raise DataError(
            f"pictures of shapes {found.shape} and {real.shape} cannot be compared",
            do="give two of one size, height x width x channels",
        )
    if found.dtype != np.uint8 or real.dtype != np.uint8:
        raise DataError(f"pictures are {found.dtype} and {real.dtype}, not uint8", do="convert them first")

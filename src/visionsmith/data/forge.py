"""Forging a part of a picture: splice, seamless clone, re-sampling, colour transfer."""

from __future__ import annotations

import cv2
import numpy as np

from visionsmith.errors import ConfigError, DataError, nearest
from visionsmith.image.clone import blend

__all__ = ["METHODS", "forge"]

METHODS = ("splice", "clone", "resample", "recolour")
"""A part of another picture; the same, its light adapted by solving for its gradients; a part of the picture itself,
made larger; the colours of another picture."""


def forge(
    picture: np.ndarray, donor: np.ndarray, method: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Forge a part of a picture.

    Args:
        picture: RGB HWC uint8.
        donor: another picture of the same size.
        method: one of `METHODS`.
        rng: random stream.

    Returns:
        The forged picture, and where it was forged: HW bool, 6 to 40 % of it, not at the border.

    Raises:
        ConfigError: there is no such method.
        DataError: the sizes differ, or a picture is smaller than 16 px.
    """
    if method not in METHODS:
        close = nearest(method, METHODS)
        raise ConfigError(
            f"there is no forgery '{method}'",
            do=f"did you mean '{close}'" if close else f"choose {', '.join(METHODS)}",
        )
    if picture.shape != donor.shape or picture.ndim != 3 or min(picture.shape[:2]) < 16:
        raise DataError(
            f"a picture of shape {picture.shape} and a donor of shape {donor.shape}",
            where="forge",
            do="give two RGB pictures of one size, at least 16 x 16 px",
        )
    mask = _blob(picture.shape[:2], rng)
    if method == "splice":
        part = donor
    elif method == "clone":
        part = _cloned(picture, donor, mask)
    elif method == "resample":
        part = _enlarged(picture, rng)
    else:
        part = _recoloured(picture, donor, mask)
    # Nothing changes but the mask and one pixel of transition, as a cut with any editor leaves it.
    share = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0)[:, :, None]
    mixed = picture + share * (part.astype(np.float32) - picture)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8), mask


def _blob(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A smooth blob inside the picture: an ellipse whose radius wavers."""
    height, width = shape[:2]
    y, x = np.mgrid[:height, :width]
    while True:
        radii = rng.uniform(0.18, 0.36, 2) * (height, width)
        middle = [
            rng.uniform(radius + 2, side - radius - 3)
            for radius, side in zip(radii, (height, width), strict=True)
        ]
        angle = np.arctan2((y - middle[0]) / radii[0], (x - middle[1]) / radii[1])
        waver = sum(rng.uniform(0, 0.12) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5))
        distance = np.hypot((y - middle[0]) / radii[0], (x - middle[1]) / radii[1])
        mask = np.asarray(distance < 0.85 + waver)
        mask[:2], mask[-2:], mask[:, :2], mask[:, -2:] = False, False, False, False
        if 0.06 <= mask.mean() <= 0.4:
            return mask


def _cloned(picture: np.ndarray, donor: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The donor set into the picture; OpenCV solves for the whole box round the mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    middle = [int(side[0] + (side[-1] - side[0] + 1) // 2) for side in (columns, rows)]
    return blend(picture, donor, mask, center=middle)


def _enlarged(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smaller part of the picture, made as large as it is."""
    height, width = picture.shape[:2]
    scale = rng.uniform(0.45, 0.8)
    rows, columns = max(8, round(height * scale)), max(8, round(width * scale))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    part = picture[top : top + rows, left : left + columns]
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[int(rng.integers(2))]
    return cv2.resize(part, (width, height), interpolation=how)


def _recoloured(picture: np.ndarray, donor: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with the mean and deviation of the donor's colours, in L*a*b* (Reinhard et al. 2001)."""
    own, other = (cv2.cvtColor(one.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for one in (picture, donor))
    for channel in range(3):
        mine, theirs = own[:, :, channel][mask], other[:, :, channel][mask]
        gain = np.clip(theirs.std() / max(float(mine.std()), 1.0), 0.5, 2.0)
        own[:, :, channel] = (own[:, :, channel] - mine.mean()) * gain + theirs.mean()
    return np.clip(np.rint(cv2.cvtColor(own, cv2.COLOR_LAB2RGB) * 255), 0, 255).astype(np.uint8)

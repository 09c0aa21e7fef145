"""Random changes of a picture for training, each a function of a picture and a random stream.

Pictures: RGB HWC uint8 [0, 255] in and out. The stream is the only source of chance: the same stream gives the same
picture, so a sample's changes follow from (seed, epoch, index) alone (`data.sampler.generator`).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

__all__ = [
    "colour_jitter",
    "horizontal_flip",
    "multi_crop",
    "random_affine",
    "random_erasing",
    "random_gray",
    "random_resized_crop",
    "random_square_crop",
]

_CROP_ATTEMPTS = 10
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def random_square_crop(
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
    return _resize(image[top : top + side, left : left + side], (size, size))


def random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    size: int | tuple[int, int],
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """Cut a random rectangle and resize it (Szegedy et al. 2015, "Inception crop").

    Args:
        image: HWC uint8.
        rng: random stream.
        size: (height, width) of the result, or its side, pixels.
        scale: range of the rectangle's share of the picture's area.
        ratio: range of its width over its height, drawn evenly in the logarithm. Where ten draws do not fit, the
            largest centred rectangle within the range is taken.
    """
    height, width = image.shape[:2]
    out = (size, size) if isinstance(size, int) else size
    for _ in range(_CROP_ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        aspect = float(np.exp(rng.uniform(*np.log(ratio))))
        w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            return _resize(image[top : top + h, left : left + w], out)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    top, left = (height - h) // 2, (width - w) // 2
    return _resize(image[top : top + h, left : left + w], out)


def multi_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    sizes: Sequence[int],
    counts: Sequence[int],
    scales: Sequence[tuple[float, float]],
) -> list[np.ndarray]:
    """Several random crops of one picture, groups of equal size (Caron et al. 2020, sec. 3.3).

    Args:
        image: HWC uint8.
        rng: random stream.
        sizes: side of the crops of each group, pixels.
        counts: crops of each group.
        scales: for each group the range of a crop's share of the picture's area.

    Returns:
        The crops, group after group.
    """
    return [
        random_resized_crop(image, rng, size, scale=scale)
        for size, count, scale in zip(sizes, counts, scales, strict=True)
        for _ in range(count)
    ]


def horizontal_flip(image: np.ndarray, rng: np.random.Generator, probability: float = 0.5) -> np.ndarray:
    """Mirror left and right with a probability."""
    return cv2.flip(image, 1) if rng.random() < probability else image


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


def colour_jitter(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    probability: float = 1.0,
) -> np.ndarray:
    """Change brightness, contrast, saturation and hue by random amounts, in a random order.

    Args:
        image: HWC uint8.
        rng: random stream.
        brightness: the factor is drawn from 1 - this to 1 + this (not below 0).
        contrast: likewise, about the mean luma.
        saturation: likewise, about each pixel's luma.
        hue: largest turn of the colour circle either way, as a share of the full turn, 0 to 0.5.
        probability: of changing anything.
    """
    if rng.random() >= probability:
        return image
    work: np.ndarray = image.astype(np.float32)
    for kind in rng.permutation(4):
        amount = (brightness, contrast, saturation, hue)[kind]
        if not amount:
            continue
        if kind == 3:
            work = _turn_hue(work, float(rng.uniform(-amount, amount)))
            continue
        factor = np.float32(rng.uniform(max(0.0, 1 - amount), 1 + amount))
        if kind == 0:
            work = work * factor
        else:
            luma = work @ _LUMA
            anchor = luma.mean() if kind == 1 else luma[..., None]
            work = anchor + factor * (work - anchor)
        work = np.clip(work, 0, 255)
    changed: np.ndarray = np.rint(work).astype(np.uint8)
    return changed


def random_gray(image: np.ndarray, rng: np.random.Generator, probability: float = 0.2) -> np.ndarray:
    """Replace the colours by their luma with a probability; the result keeps three channels."""
    if rng.random() >= probability:
        return image
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def random_erasing(
    image: np.ndarray,
    rng: np.random.Generator,
    probability: float = 0.25,
    *,
    area: tuple[float, float] = (0.02, 1 / 3),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
) -> np.ndarray:
    """Replace a random rectangle by random pixels, with a probability (Zhong et al. 2020).

    Args:
        image: HWC uint8.
        rng: random stream.
        probability: of erasing anything.
        area: range of the rectangle's share of the picture.
        ratio: range of its height over its width, drawn evenly in the logarithm. Where ten draws do not fit, nothing
            is erased.
    """
    if rng.random() >= probability:
        return image
    height, width = image.shape[:2]
    for _ in range(_CROP_ATTEMPTS):
        pixels = height * width * rng.uniform(*area)
        aspect = float(np.exp(rng.uniform(*np.log(ratio))))
        h, w = round(float(np.sqrt(pixels * aspect))), round(float(np.sqrt(pixels / aspect)))
        if 0 < h < height and 0 < w < width:
            top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            image = image.copy()
            image[top : top + h, left : left + w] = rng.integers(
                0, 256, (h, w, image.shape[2]), dtype=np.uint8
            )
            return image
    return image


def _turn_hue(image: np.ndarray, turn: float) -> np.ndarray:
    """`image`: float32 [0, 255]; `turn`: share of the colour circle."""
    hsv = cv2.cvtColor(image / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * np.float32(255)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`size`: height, width. Area averaging is the interpolation without aliasing when a picture gets smaller."""
    height, width = size
    if image.shape[:2] == size:
        return image
    smaller = image.shape[0] > height and image.shape[1] > width
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)

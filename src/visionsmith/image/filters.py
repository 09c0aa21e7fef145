"""Filters: each pixel from its neighbours.

At the edges the picture is mirrored about its outermost pixels (OpenCV's BORDER_REFLECT_101). Pictures: HW
gray, HWC RGB or RGBA; uint8, uint16 or float32 [0, 1]. Transparency: `box` and `gaussian` blur colours
weighted by alpha, and alpha too; the others leave alpha as it is and let invisible colours take no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from visionsmith.errors import ConfigError, DataError
from visionsmith.image.channels import on_colours, on_premultiplied
from visionsmith.image.checks import check_image, check_number, check_odd

__all__ = ["bilateral", "box", "filter_kernel", "gaussian", "identity", "median", "sharpen"]

_MAX_MEDIAN = 255


def identity(image: np.ndarray) -> np.ndarray:
    """The picture itself, as an array of its own."""
    return check_image(image, "identity").copy()


def box(image: np.ndarray, *, size: int = 3) -> np.ndarray:
    """Mean of a square window.

    Args:
        image: the picture.
        size: side of the window, pixels, odd.
    """
    image = check_image(image, "box")
    size = check_odd(size, "size", "box")
    return on_premultiplied(image, lambda pixels: np.asarray(cv2.blur(pixels, (size, size))))


def gaussian(image: np.ndarray, *, sigma: float, size: int | None = None) -> np.ndarray:
    """Gaussian blur.

    Args:
        image: the picture.
        sigma: standard deviation, pixels.
        size: side of the window, pixels, odd; without it, OpenCV's choice (6 sigma + 1 for uint8, else 8 sigma + 1).
    """
    image = check_image(image, "gaussian")
    sigma = check_number(sigma, "sigma", "gaussian", above=0)
    side = 0 if size is None else check_odd(size, "size", "gaussian")
    return on_premultiplied(image, lambda pixels: np.asarray(cv2.GaussianBlur(pixels, (side, side), sigma)))


def median(image: np.ndarray, *, size: int = 3) -> np.ndarray:
    """Median of a square window, by channel.

    Args:
        image: the picture.
        size: side of the window, pixels, odd; above 5 for uint8 only.

    Raises:
        DataError: a window above 5 for uint16 or float32.
    """
    image = check_image(image, "median")
    size = check_odd(size, "size", "median")
    check_number(size, "size", "median", most=_MAX_MEDIAN)
    if size > 5 and image.dtype != np.uint8:
        raise DataError(
            f"size = {size} works for uint8 only, and this picture is {image.dtype}",
            where="median",
            do="choose 3 or 5, or make it 8-bit first",
        )
    return on_colours(image, lambda pixels: np.asarray(cv2.medianBlur(pixels, size)))


def sharpen(image: np.ndarray, *, amount: float = 1.0) -> np.ndarray:
    """Each pixel moved away from the mean of its four neighbours: the kernel 0 -a 0 / -a 1+4a -a / 0 -a 0.

    Args:
        image: the picture.
        amount: a; 0 changes nothing.
    """
    image = check_image(image, "sharpen")
    amount = check_number(amount, "amount", "sharpen", least=0)
    kernel = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32) * amount
    kernel[1, 1] += 1
    return on_colours(image, lambda pixels: np.asarray(cv2.filter2D(pixels, -1, kernel)))


def bilateral(
    image: np.ndarray, *, size: int = 9, sigma_color: float = 75, sigma_space: float = 75
) -> np.ndarray:
    """Smooth within surfaces and keep edges (Tomasi and Manduchi, 1998).

    Args:
        image: the picture. uint16 is filtered as float32 and rounded.
        size: diameter of the window, pixels, odd.
        sigma_color: difference of values that still mixes, in units of the picture: a third of white mixes much.
            The default is meant for uint8.
        sigma_space: distance that still mixes, pixels.
    """
    image = check_image(image, "bilateral")
    size = check_odd(size, "size", "bilateral")
    sigma_color = check_number(sigma_color, "sigma_color", "bilateral", above=0)
    sigma_space = check_number(sigma_space, "sigma_space", "bilateral", above=0)

    def smooth(pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype != np.uint16:
            return np.asarray(cv2.bilateralFilter(pixels, size, sigma_color, sigma_space))
        wide = cv2.bilateralFilter(pixels.astype(np.float32), size, sigma_color, sigma_space)
        return np.rint(wide).astype(np.uint16)

    return on_colours(image, smooth)


def filter_kernel(image: np.ndarray, kernel: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Weighted sum of a window (a correlation: the kernel is not flipped); what leaves the range is cut.

    Args:
        image: the picture.
        kernel: rows of weights, an odd number of rows and of columns; the middle one is the pixel's own.

    Raises:
        ConfigError: the kernel is no rectangle of numbers, or has no middle.
    """
    image = check_image(image, "filter_kernel")
    try:
        weights = np.array(kernel, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "the kernel is not a rectangle of numbers", where="filter_kernel", do="give rows of equal length"
        ) from error
    if weights.ndim != 2 or weights.size == 0 or not np.isfinite(weights).all():
        raise ConfigError(
            f"the kernel has shape {weights.shape}"
            if weights.ndim != 2
            else "the kernel is empty or not finite",
            where="filter_kernel",
            do="give rows of finite numbers, e.g. [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]",
        )
    rows, columns = weights.shape
    if rows % 2 == 0 or columns % 2 == 0:
        raise ConfigError(
            f"the kernel is {rows} x {columns}, and an even one has no middle",
            where="filter_kernel",
            do="give odd numbers of rows and columns; pad with zeros",
        )
    return on_colours(image, lambda pixels: np.asarray(cv2.filter2D(pixels, -1, weights)))

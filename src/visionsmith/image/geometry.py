"""Where pixels go: resize, crop, rotate, translate, warp.

Coordinates are pixels (x to the right, y down) and name pixel centres: (0, 0) is the middle of the first
pixel. Pictures: HW gray, HWC RGB or RGBA; uint8, uint16 or float32 [0, 1]. A result is a picture of its own,
of the same channels and type. The OpenCV call with the same numbers: docs/reference/opencv.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from visionsmith.errors import ConfigError, DataError
from visionsmith.image.channels import has_alpha, into_range, on_premultiplied, premultiply, unpremultiply
from visionsmith.image.checks import (
    check_choice,
    check_image,
    check_level,
    check_number,
    check_pair,
    check_size,
    check_whole,
    top_of,
)
from visionsmith.image.paint import parse_color

__all__ = ["Fill", "Interpolation", "Sampling", "crop", "resize", "rotate", "translate", "warp"]

Interpolation = Literal["nearest", "linear", "cubic", "area"]
Sampling = Literal["nearest", "linear", "cubic"]
Fill = float | Sequence[float] | str
"""What comes into view from outside: a colour ("white", "#rrggbb"), one value for all channels, or one a channel;
numbers in the picture's range."""

_FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_SAMPLINGS = ("nearest", "linear", "cubic")


def resize(
    image: np.ndarray,
    *,
    width: int | None = None,
    height: int | None = None,
    factor: float | None = None,
    interpolation: Interpolation | None = None,
) -> np.ndarray:
    """Another number of pixels for the same view.

    Args:
        image: the picture.
        width: of the result, pixels; alone, the height follows.
        height: of the result, pixels; alone, the width follows.
        factor: instead of both: result over picture, by side.
        interpolation: "area" averages what falls into a pixel. None: "area" where the picture gets smaller,
            "cubic" where it gets larger.

    Raises:
        ConfigError: no size, or a size and a factor.
        DataError: the result would have no pixel or too many.
    """
    image = check_image(image, "resize")
    new_width, new_height = _new_size(image, width, height, factor)
    check_size(new_width, new_height, "resize")
    if interpolation is None:
        smaller = new_width * new_height <= image.shape[0] * image.shape[1]
        interpolation = "area" if smaller else "cubic"
    check_choice(interpolation, "interpolation", "resize", tuple(_FLAGS))
    flag = _FLAGS[interpolation]
    # OpenCV samples by the factor itself where it is given one, not by the ratio of the rounded sizes.
    size = (new_width, new_height) if factor is None else (0, 0)

    def scale(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.resize(pixels, size, fx=factor or 0, fy=factor or 0, interpolation=flag))

    return scale(image) if interpolation == "nearest" else on_premultiplied(image, scale)


def crop(image: np.ndarray, *, x: int, y: int, width: int, height: int) -> np.ndarray:
    """A rectangle of the picture.

    Args:
        image: the picture.
        x: left edge, pixels.
        y: upper edge, pixels.
        width: pixels.
        height: pixels.

    Raises:
        ConfigError: a rectangle without pixels.
        DataError: it does not lie inside the picture.
    """
    image = check_image(image, "crop")
    x, y = (check_whole(value, name, "crop", least=0) for value, name in ((x, "x"), (y, "y")))
    width = check_whole(width, "width", "crop", least=1)
    height = check_whole(height, "height", "crop", least=1)
    full_height, full_width = image.shape[:2]
    if x + width > full_width or y + height > full_height:
        raise DataError(
            f"the rectangle ends at ({x + width}, {y + height}), and the picture at ({full_width}, {full_height})",
            where="crop",
            do="choose one that lies inside",
        )
    return image[y : y + height, x : x + width].copy()


def rotate(
    image: np.ndarray,
    degrees: float,
    *,
    expand: bool = False,
    interpolation: Sampling = "linear",
    fill: Fill = 0,
) -> np.ndarray:
    """Turn about the centre.

    Args:
        image: the picture.
        degrees: counter-clockwise.
        expand: make the result large enough for all of it; otherwise it keeps its size and loses corners.
        interpolation: of the turned grid.
        fill: what fills the corners; 0 is black, or transparent for RGBA.
    """
    image = check_image(image, "rotate")
    degrees = check_number(degrees, "degrees", "rotate")
    height, width = image.shape[:2]
    center = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(center, degrees, 1)
    if expand:
        cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
        # The cosine of a right angle is not quite zero, and must not cost a column.
        new_width = math.ceil(width * cos + height * sin - 1e-6)
        new_height = math.ceil(width * sin + height * cos - 1e-6)
        matrix[:, 2] += (new_width - 1) / 2 - center[0], (new_height - 1) / 2 - center[1]
        width, height = new_width, new_height
    return _sample(image, matrix, width, height, interpolation, fill, "rotate")


def translate(
    image: np.ndarray, *, x: float = 0, y: float = 0, interpolation: Sampling = "linear", fill: Fill = 0
) -> np.ndarray:
    """Shift within a picture of the same size; what leaves is lost.

    Args:
        image: the picture.
        x: to the right, pixels; fractions are interpolated.
        y: down, pixels.
        interpolation: for fractions.
        fill: what comes into view; 0 is black, or transparent for RGBA.
    """
    image = check_image(image, "translate")
    matrix = np.array([[1, 0, check_number(x, "x", "translate")], [0, 1, check_number(y, "y", "translate")]])
    return _sample(image, matrix, image.shape[1], image.shape[0], interpolation, fill, "translate")


def warp(
    image: np.ndarray,
    corners: Sequence[Sequence[float]],
    *,
    width: int,
    height: int,
    interpolation: Sampling = "linear",
    fill: Fill = 0,
) -> np.ndarray:
    """The perspective view in which four points become the corners of an upright rectangle.

    Args:
        image: the picture.
        corners: four points (x, y) in it: what becomes top left, top right, bottom right, bottom left. In the
            other direction the result is mirrored. They may lie outside the picture.
        width: of the result, pixels, at least 2.
        height: of the result, pixels, at least 2.
        interpolation: of the warped grid.
        fill: what fills places outside the picture; 0 is black, or transparent for RGBA.

    Raises:
        ConfigError: the points are not four, or no corners of a convex quadrilateral.
    """
    image = check_image(image, "warp")
    width = check_whole(width, "width", "warp", least=2)
    height = check_whole(height, "height", "warp", least=2)
    source = _quadrilateral(corners)
    target = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    return _sample(image, matrix, width, height, interpolation, fill, "warp")


def _new_size(
    image: np.ndarray, width: int | None, height: int | None, factor: float | None
) -> tuple[int, int]:
    old_height, old_width = image.shape[:2]
    if factor is not None:
        if width is not None or height is not None:
            raise ConfigError("there is a factor and a size as well", where="resize", do="give one of them")
        factor = check_number(factor, "factor", "resize", above=0)
        # Rounds half to even, as OpenCV does.
        return round(old_width * factor), round(old_height * factor)
    if width is not None:
        width = check_whole(width, "width", "resize", least=1)
    if height is not None:
        height = check_whole(height, "height", "resize", least=1)
    if width is None and height is None:
        raise ConfigError("there is no size", where="resize", do="give width, height or factor")
    if width is None:
        assert height is not None
        return max(1, round(old_width * height / old_height)), height
    return width, height if height is not None else max(1, round(old_height * width / old_width))


def _quadrilateral(corners: Sequence[Sequence[float]]) -> np.ndarray:
    if isinstance(corners, str) or not isinstance(corners, Sequence | np.ndarray) or len(corners) != 4:
        count = f"{len(corners)} points" if isinstance(corners, Sequence | np.ndarray) else repr(corners)
        raise ConfigError(f"{count} were given as corners", where="warp", do="give four points (x, y)")
    points = np.array(
        [check_pair(corner, f"corner {place + 1}", "warp") for place, corner in enumerate(corners)]
    )
    edges = np.roll(points, -1, axis=0) - points
    following = np.roll(edges, -1, axis=0)
    # The sine of the turn at each corner: all of one sign where the outline is convex.
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    lengths = np.hypot(edges[:, 0], edges[:, 1]) * np.hypot(following[:, 0], following[:, 1])
    sines = turns / np.maximum(lengths, 1e-12)
    if not ((sines > 1e-4).all() or (sines < -1e-4).all()):
        listed = " ".join(f"({x:g}, {y:g})" for x, y in points)
        raise ConfigError(
            f"the corners {listed} make no convex quadrilateral",
            where="warp",
            do="give them round the outline: top left, top right, bottom right, bottom left",
        )
    return points.astype(np.float32)


def _sample(
    image: np.ndarray,
    matrix: np.ndarray,
    width: int,
    height: int,
    interpolation: Sampling,
    fill: Fill,
    operation: str,
) -> np.ndarray:
    """The picture through a 2 x 3 or 3 x 3 matrix from its coordinates to those of the result."""
    check_choice(interpolation, "interpolation", operation, _SAMPLINGS)
    check_size(width, height, operation)
    border = _border(image, fill, operation)
    transform = cv2.warpAffine if matrix.shape == (2, 3) else cv2.warpPerspective
    flag = _FLAGS[interpolation]
    if not has_alpha(image) or interpolation == "nearest":
        return into_range(
            np.asarray(transform(image, matrix, (width, height), flags=flag, borderValue=border))
        )
    top = top_of(image)
    share = border[3] / top
    border = (*(value / top * share for value in border[:3]), share)
    mixed = transform(premultiply(image), matrix, (width, height), flags=flag, borderValue=border)
    return unpremultiply(mixed, image.dtype)


def _border(image: np.ndarray, fill: Fill, operation: str) -> tuple[float, ...]:
    count = 1 if image.ndim == 2 else image.shape[2]
    top = top_of(image)
    if isinstance(fill, str):
        red, green, blue, alpha = parse_color(fill)
        named = (
            (red, green, blue, alpha)[:count]
            if count > 1
            else (round(0.299 * red + 0.587 * green + 0.114 * blue),)
        )
        return tuple(value / 255 * top for value in named)
    values = list(fill) if isinstance(fill, Sequence | np.ndarray) else [fill]
    if len(values) == 1:
        values *= count
    if count == 4 and len(values) == 3:
        values.append(top)
    if len(values) != count:
        raise DataError(
            f"fill has {len(values)} values, and the picture {count} channels",
            where=operation,
            do="give one value, or one a channel",
        )
    return tuple(check_level(value, "fill", operation, image) for value in values)

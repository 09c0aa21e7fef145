"""Lines, shapes and text on pictures.

A picture goes in, another comes out; the one that went in is as it was. Pictures, depths and colours: see
`paint`. Places are (x, y) in pixels from the centre of the top left pixel, fractions rounded; what lies
outside the picture is cut off. Edges are antialiased (`cv2.LINE_AA`), but for rectangles, whose edges lie on pixels.

On uint8 gray and RGB with an opaque colour a shape is, to the bit, what the OpenCV call named in its docstring
draws. OpenCV antialiases no other depth and knows no opacity: there the shape is drawn as a mask and laid over
the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from visionsmith.errors import ConfigError
from visionsmith.image.checks import (
    MAX_PIXELS,
    check_choice,
    check_image,
    check_number,
    check_pair,
    check_whole,
)
from visionsmith.image.fonts import Font, font_for, normalise
from visionsmith.image.paint import Color, cover, paint, parse_color

__all__ = ["Anchor", "Point", "circle", "ellipse", "half_ellipse", "line", "rectangle", "text"]

Point = tuple[float, float]
"""(x, y), pixels."""

Anchor = Literal[
    "left-top",
    "center-top",
    "right-top",
    "left-middle",
    "center-middle",
    "right-middle",
    "left-baseline",
    "center-baseline",
    "right-baseline",
    "left-bottom",
    "center-bottom",
    "right-bottom",
]
"""Which point of a text lies at its position; the baseline is that of the first line."""

_FURTHEST = 100_000
_THICKEST = 32_767
_LARGEST_TYPE = 4_096
_WIDEST = 3_600


def line(
    image: np.ndarray, start: Point, end: Point, *, color: Color = "red", thickness: int = 1
) -> np.ndarray:
    """A straight line, with round ends when it is thick. OpenCV: `cv2.line`.

    Args:
        image: a picture.
        start: one end.
        end: the other.
        color: of the line.
        thickness: pixels.

    Raises:
        DataError: the array is no picture.
        ConfigError: a place, colour or thickness that cannot be.
    """
    check_image(image, "line")
    first, last = _point(start, "start", "line"), _point(end, "end", "line")
    width = _width(thickness, False, "line")
    return paint(image, color, lambda canvas, value: cv2.line(canvas, first, last, value, width, cv2.LINE_AA))


def circle(
    image: np.ndarray,
    center: Point,
    radius: int,
    *,
    color: Color = "red",
    thickness: int = 1,
    filled: bool = False,
) -> np.ndarray:
    """A circle, or a disc. OpenCV: `cv2.circle`.

    Args:
        image: a picture.
        center: of the circle.
        radius: pixels.
        color: of the circle.
        thickness: of its line, pixels; half of it lies outside. Means nothing for a disc.
        filled: whether it is a disc.

    Raises:
        DataError: the array is no picture.
        ConfigError: a place, size or colour that cannot be.
    """
    check_image(image, "circle")
    middle = _point(center, "center", "circle")
    size = check_whole(radius, "radius", "circle", least=1, most=_FURTHEST)
    width = _width(thickness, filled, "circle")
    return paint(
        image, color, lambda canvas, value: cv2.circle(canvas, middle, size, value, width, cv2.LINE_AA)
    )


def rectangle(
    image: np.ndarray,
    top_left: Point,
    bottom_right: Point,
    *,
    color: Color = "red",
    thickness: int = 1,
    filled: bool = False,
) -> np.ndarray:
    """An upright rectangle; both corners belong to it. OpenCV: `cv2.rectangle`, `cv2.LINE_8`.

    Args:
        image: a picture.
        top_left: one corner.
        bottom_right: the corner across from it.
        color: of the rectangle.
        thickness: of its line, pixels; half of it lies outside. Means nothing when it is filled.
        filled: whether it is filled.

    Raises:
        DataError: the array is no picture.
        ConfigError: a place or colour that cannot be.
    """
    check_image(image, "rectangle")
    first = _point(top_left, "top_left", "rectangle")
    last = _point(bottom_right, "bottom_right", "rectangle")
    width = _width(thickness, filled, "rectangle")
    return paint(
        image, color, lambda canvas, value: cv2.rectangle(canvas, first, last, value, width, cv2.LINE_8)
    )


def ellipse(
    image: np.ndarray,
    center: Point,
    axes: tuple[int, int],
    angle: float = 0,
    start: float = 0,
    end: float = 360,
    *,
    color: Color = "red",
    thickness: int = 1,
    filled: bool = False,
) -> np.ndarray:
    """An ellipse, an arc of it, or with `filled` its sector. OpenCV: `cv2.ellipse`.

    Angles are rounded to whole degrees.

    Args:
        image: a picture.
        center: of the ellipse.
        axes: half its width and half its height, pixels.
        angle: how far it is turned, degrees clockwise.
        start: where the arc begins, degrees clockwise from the right end of the first axis.
        end: where it ends.
        color: of the ellipse.
        thickness: of its line, pixels. Means nothing when it is filled.
        filled: whether it is filled.

    Raises:
        DataError: the array is no picture.
        ConfigError: a place, size, angle or colour that cannot be.
    """
    check_image(image, "ellipse")
    middle, half = _point(center, "center", "ellipse"), _axes(axes)
    turn, first, last = (
        check_number(value, name, "ellipse", least=-_WIDEST, most=_WIDEST)
        for name, value in (("angle", angle), ("start", start), ("end", end))
    )
    width = _width(thickness, filled, "ellipse")

    def draw(canvas: np.ndarray, value: tuple[int, ...]) -> None:
        cv2.ellipse(canvas, middle, half, turn, first, last, value, width, cv2.LINE_AA)

    return paint(image, color, draw)


def half_ellipse(
    image: np.ndarray, center: Point, axes: tuple[int, int], angle: float = 0, *, color: Color = "red"
) -> np.ndarray:
    """The filled lower half of an ellipse. OpenCV: `cv2.ellipse` from 0 to 180 degrees, thickness -1.

    Args:
        image: a picture.
        center: of the whole ellipse.
        axes: half its width and half its height, pixels.
        angle: how far it is turned, degrees clockwise; 180 gives the upper half.
        color: of the half.

    Raises:
        DataError: the array is no picture.
        ConfigError: a place, size, angle or colour that cannot be.
    """
    return ellipse(image, center, axes, angle, 0, 180, color=color, filled=True)


def text(
    image: np.ndarray,
    content: str,
    position: Point,
    *,
    size: int = 24,
    color: Color = "black",
    font: str | Path | None = None,
    background: Color | None = None,
    anchor: Anchor = "left-top",
) -> np.ndarray:
    """Text in any script that a font here has; `fonts.font_for` tells which font that is.

    Args:
        image: a picture.
        content: one or more lines. Right-to-left and joined scripts are set as they are read.
        position: where the anchor lies.
        size: of the type, pixels.
        color: of the letters.
        font: a font file (.ttf, .otf, .ttc); without it the first font that has all characters.
        background: colour of a box behind the text, with a margin of a fifth of the size.
        anchor: which point of the text lies at `position`; it also aligns the lines among themselves.

    Raises:
        DataError: the array is no picture.
        ConfigError: a place, size, colour or anchor that cannot be; a file that is no font; or no font has some
            character.
    """
    check_image(image, "text")
    ink = parse_color(color)
    left, top = _point(position, "position", "text")
    pixels = check_whole(size, "size", "text", least=1, most=_LARGEST_TYPE)
    check_choice(anchor, "anchor", "text", get_args(Anchor))
    face = font_for(content, font)
    block = _Block(face, normalise(content).splitlines() or [""], pixels)
    across, down = anchor.split("-")
    left -= {"left": 0, "center": block.width // 2, "right": block.width}[across]
    first = block.ascent
    top -= {"top": 0, "middle": block.height // 2, "baseline": first, "bottom": block.height}[down]
    if background is not None:
        margin = round(pixels / 5)
        last = left + block.width + margin - 1, top + block.height + margin - 1
        image = rectangle(image, (left - margin, top - margin), last, color=background, filled=True)
    return cover(image, block.mask(across), ink, (left - pixels, top - pixels))


class _Block:
    """Lines of text in one font, measured; its mask has room of one type size on each side for what hangs over."""

    def __init__(self, font: Font, lines: Sequence[str], size: int) -> None:
        self._font, self._lines, self._size = font, lines, size
        self._widths = [font.width(line, size) for line in lines]
        self.ascent, descent = font.metrics(size)
        self._pitch = self.ascent + descent
        self.width, self.height = max(self._widths), self._pitch * len(lines)
        if self.width * self.height > MAX_PIXELS:
            raise ConfigError(
                f"size = {size}: the text would take {self.width:,} x {self.height:,} px",
                do="make it smaller or shorter",
            )

    def mask(self, across: str) -> np.ndarray:
        """HW uint8, the share of each pixel that the letters cover."""
        mask = np.zeros((self.height + 2 * self._size, self.width + 2 * self._size), np.uint8)
        for number, (content, width) in enumerate(zip(self._lines, self._widths, strict=True)):
            slack = {"left": 0, "center": (self.width - width) // 2, "right": self.width - width}[across]
            baseline = self._size + number * self._pitch + self.ascent
            self._font.draw(mask, content, self._size + slack, baseline, self._size)
        return mask


def _width(thickness: int, filled: bool, operation: str) -> int:
    return cv2.FILLED if filled else check_whole(thickness, "thickness", operation, least=1, most=_THICKEST)


def _axes(axes: tuple[int, int]) -> tuple[int, int]:
    check_pair(axes, "axes", "ellipse")
    across, down = (check_whole(axis, "axes", "ellipse", least=1, most=_FURTHEST) for axis in axes)
    return across, down


def _point(place: Point, name: str, operation: str) -> tuple[int, int]:
    x, y = check_pair(place, name, operation)
    if max(abs(x), abs(y)) > _FURTHEST:
        raise ConfigError(
            f"{name} = {place!r} is more than {_FURTHEST:,} px from the picture's corner",
            where=operation,
            do="choose a place nearer to it",
        )
    return round(x), round(y)

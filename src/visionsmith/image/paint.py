"""How a mark gets onto a picture: colours, and laying a coverage mask over pixels of any depth.

Pictures: HW gray or HWC in the order R, G, B, A; uint8, uint16, or float32 in [0, 1]. Colours are always given
in 8 bits and scaled to the picture's range; on a gray picture a colour becomes its luma (ITU-R BT.601). A
picture with straight alpha keeps it right: where it was transparent, a mark brings its own colour and
opacity, without a fringe of the colour that lay hidden there.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import ImageColor

from visionsmith.errors import ConfigError, nearest
from visionsmith.image.channels import has_alpha
from visionsmith.image.checks import top_of

__all__ = ["Color", "cover", "paint", "parse_color"]

Color = str | tuple[int, int, int] | tuple[int, int, int, int]
"""A name of CSS ("red"), "#rgb", "#rrggbb", "#rrggbbaa", or (r, g, b) or (r, g, b, a), each 0 to 255."""


def parse_color(color: Color) -> tuple[int, int, int, int]:
    """Red, green, blue and opacity, each 0 to 255.

    Raises:
        ConfigError: an unknown name, or numbers out of range.
    """
    if isinstance(color, str):
        return _named(color)
    try:
        parts = [int(part) for part in color]
        whole = len(parts) in (3, 4) and all(
            part == given and 0 <= part <= 255 for part, given in zip(parts, color, strict=True)
        )
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ConfigError(
            f"color = {color!r}: a colour is three or four whole numbers from 0 to 255",
            do="write it as (255, 0, 0), 'red' or '#ff0000'",
        )
    red, green, blue, alpha = [*parts, 255][:4]
    return red, green, blue, alpha


def paint(
    image: np.ndarray, color: Color, draw: Callable[[np.ndarray, tuple[int, ...]], object]
) -> np.ndarray:
    """A copy of a picture with a mark on it.

    Args:
        image: a picture.
        color: of the mark.
        draw: draws the mark, antialiased, with a value on a uint8 canvas of the picture's height and width,
            once; the value has as many numbers as the canvas has channels.
    """
    red, green, blue, alpha = parse_color(color)
    if image.dtype == np.uint8 and alpha == 255 and not has_alpha(image):
        canvas = np.array(image, order="C")
        draw(canvas, (red, green, blue) if image.ndim == 3 else (_luma(red, green, blue),))
        return canvas
    # OpenCV antialiases 8 bits only, takes no opacity, and would mix in what lies under transparent pixels.
    mask = np.zeros(image.shape[:2], np.uint8)
    draw(mask, (255,))
    return cover(image, mask, color)


def cover(image: np.ndarray, mask: np.ndarray, color: Color, corner: tuple[int, int] = (0, 0)) -> np.ndarray:
    """A copy of a picture with a colour laid over it where a mask says so.

    Args:
        image: a picture.
        mask: HW uint8, the share of each pixel that is covered, 255 being all of it.
        color: what covers.
        corner: (x, y) of the mask's top left in the picture, pixels; what lies outside is cut off.
    """
    *colour, alpha = parse_color(color)
    result = np.array(image, order="C")
    height, width = image.shape[:2]
    left, top = corner
    mask = mask[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    left, top = max(0, left), max(0, top)
    x, y, columns, rows = cv2.boundingRect(mask) if mask.size else (0, 0, 0, 0)
    if not columns:
        return result
    peak = top_of(image)
    share = mask[y : y + rows, x : x + columns, None].astype(np.float32) * np.float32(alpha / 255**2)
    spot = result[top + y : top + y + rows, left + x : left + x + columns]
    spot = spot[:, :, None] if spot.ndim == 2 else spot
    ink = np.asarray(colour if spot.shape[2] > 1 else [_luma(*colour)], np.float32) * np.float32(peak / 255)
    if has_alpha(image):
        below = spot[:, :, 3:] / np.float32(peak)
        opacity = share + below * (1 - share)
        spot[:, :, 3:] = _rounded(opacity * np.float32(peak), image.dtype)
        share = share / np.maximum(opacity, np.finfo(np.float32).tiny)
    base = spot[:, :, :3].astype(np.float32)
    spot[:, :, :3] = _rounded(base + (ink - base) * share, image.dtype)
    return result


def _rounded(values: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    return values if dtype == np.float32 else np.rint(values).astype(dtype)


def _luma(red: int, green: int, blue: int) -> int:
    return round(0.299 * red + 0.587 * green + 0.114 * blue)


def _named(color: str) -> tuple[int, int, int, int]:
    try:
        red, green, blue, *alpha = ImageColor.getrgb(color.strip())
    except ValueError as error:
        close = nearest(color.lower(), ImageColor.colormap)
        advice = f"did you mean '{close}'" if close else "write a name of CSS, or #rrggbb"
        raise ConfigError(f"there is no colour '{color}'", do=advice) from error
    return red, green, blue, alpha[0] if alpha else 255

"""Gray, RGB, RGBA: from one to another, and how an operation treats transparency.

Alpha is straight: the colour of a pixel does not depend on how transparent it is, so the colour of an
invisible pixel is arbitrary and must not reach visible ones. Operations that mix neighbours linearly work on
colours multiplied by alpha (`on_premultiplied`); the others work on the colours alone, after invisible
pixels took the colour of the nearest visible one (`on_colours`).

Arrays: HW gray, HWC RGB or RGBA; uint8 [0, 255], uint16 [0, 65535] or float32 [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from visionsmith.image.checks import check_image, top_of

__all__ = [
    "Channels",
    "convert",
    "has_alpha",
    "into_range",
    "on_colours",
    "on_premultiplied",
    "premultiply",
    "to_eight_bits",
    "to_gray",
    "unpremultiply",
]

Channels = Literal["rgb", "gray", "rgba", "unchanged"]


def to_gray(image: np.ndarray) -> np.ndarray:
    """Luma, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); transparent parts are laid on white.

    Args:
        image: HW, HWC RGB or RGBA; uint8, uint16 or float32.

    Returns:
        HW of the same type.
    """
    return np.array(convert(check_image(image, "to_gray"), "gray"))


def convert(image: np.ndarray, channels: Channels) -> np.ndarray:
    """The picture in another form; "rgb" and "gray" lay transparent parts on white. May return its input."""
    if channels == "unchanged" or (channels == "gray" and image.ndim == 2):
        return image
    if channels == "rgba":
        if has_alpha(image):
            return image
        code = cv2.COLOR_GRAY2RGBA if image.ndim == 2 else cv2.COLOR_RGB2RGBA
        return np.asarray(cv2.cvtColor(image, code))
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
    if has_alpha(image):
        image = _on_white(image)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) if channels == "gray" else image


def to_eight_bits(image: np.ndarray) -> np.ndarray:
    """uint8 of a uint16 picture, rounded; one of uint8 as it is."""
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return image


def has_alpha(image: np.ndarray) -> bool:
    """Whether a picture is RGBA."""
    return image.ndim == 3 and image.shape[2] == 4


def on_premultiplied(image: np.ndarray, operation: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply an operation that mixes neighbours linearly, so that no colour of an invisible pixel is mixed in.

    Args:
        image: any picture.
        operation: takes and gives HW or HWC of any of the three types. Of an RGBA picture that is not opaque
            it gets float32, colours multiplied by alpha.
    """
    if not has_alpha(image) or (image[:, :, 3] == top_of(image)).all():
        return into_range(operation(image))
    return unpremultiply(operation(premultiply(image)), image.dtype)


def premultiply(image: np.ndarray) -> np.ndarray:
    """RGBA, float32 [0, 1], colours multiplied by alpha."""
    scaled = image.astype(np.float32) / np.float32(top_of(image))
    scaled[:, :, :3] *= scaled[:, :, 3:]
    return scaled


def unpremultiply(scaled: np.ndarray, dtype: np.dtype[np.generic]) -> np.ndarray:
    """The inverse of `premultiply`; invisible pixels become black."""
    alpha = scaled[:, :, 3:]
    colour = np.divide(scaled[:, :, :3], alpha, out=np.zeros_like(scaled[:, :, :3]), where=alpha > 1e-6)
    straight = np.clip(np.concatenate([colour, alpha], axis=2), 0, 1)
    if dtype == np.float32:
        return np.asarray(straight)
    return np.asarray(np.rint(straight * np.float32(np.iinfo(dtype.name).max)).astype(dtype))


def on_colours(image: np.ndarray, operation: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply an operation to gray or RGB; alpha stays as it is, and invisible colours take no part.

    Args:
        image: any picture.
        operation: takes and gives HW or HW3 of the picture's type and size.
    """
    if not has_alpha(image):
        return into_range(operation(image))
    colours = into_range(operation(_fill_invisible(image)))
    return np.dstack([colours, image[:, :, 3]])


def into_range(image: np.ndarray) -> np.ndarray:
    """float32 cut to [0, 1], as integer types are cut to their range; those as they are."""
    return np.clip(image, 0, 1) if image.dtype == np.float32 else image


def _fill_invisible(image: np.ndarray) -> np.ndarray:
    """The colours, those of invisible pixels replaced by the nearest visible one."""
    invisible = (image[:, :, 3] == 0).astype(np.uint8)
    colours = np.ascontiguousarray(image[:, :, :3])
    if not invisible.any() or invisible.all():
        return colours
    _, labels = cv2.distanceTransformWithLabels(invisible, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    # A visible pixel has a label of its own; an invisible one bears the label of its nearest.
    colour_of = np.zeros((int(labels.max()) + 1, 3), image.dtype)
    visible = invisible == 0
    colour_of[labels[visible]] = colours[visible]
    return colour_of[labels]


def _on_white(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.float32:
        alpha = image[:, :, 3:]
        return np.asarray(image[:, :, :3] * alpha + (1 - alpha))
    top = top_of(image)
    wide = np.uint32 if image.dtype == np.uint8 else np.uint64
    weight = image[:, :, 3:].astype(wide)
    blended = (image[:, :, :3] * weight + top * (top - weight) + top // 2) // top
    return np.asarray(blended.astype(image.dtype))

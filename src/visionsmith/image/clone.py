"""Seamless cloning: a part of one picture set into another without a visible edge (Perez et al., 2003)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from visionsmith.errors import ConfigError, DataError
from visionsmith.image.channels import convert, has_alpha
from visionsmith.image.checks import check_choice, check_image, check_pair

__all__ = ["CloneMethod", "blend"]

CloneMethod = Literal["normal", "mixed", "monochrome"]

_FLAGS = {
    "normal": cv2.NORMAL_CLONE,
    "mixed": cv2.MIXED_CLONE,
    "monochrome": cv2.MONOCHROME_TRANSFER,
}
_LEAST = 3


def blend(
    target: np.ndarray,
    source: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    center: Sequence[float] | None = None,
    method: CloneMethod = "normal",
) -> np.ndarray:
    """Set the masked part of `source` into `target`, its light and colours adapted to what surrounds it.

    Args:
        target: HW, HWC RGB or RGBA, uint8; its alpha stays as it is.
        source: the same kinds; its colours are brought to the target's kind.
        mask: HW of the source's size, bool or uint8, nonzero: taken. Without it, where the source is not wholly
            transparent. The outermost pixels of the source are never taken (OpenCV).
        center: where the middle of the mask's bounding box comes to lie, (x, y) in the target; without it, the
            target's middle.
        method: "normal": the source's texture; "mixed": the stronger of both textures, for holes and outlines;
            "monochrome": the source's texture without its colours.

    Raises:
        DataError: not uint8, a mask of another size or type, an empty mask, a place that is not wholly inside.
    """
    target = check_image(target, "blend", "the target")
    source = check_image(source, "blend", "the source")
    check_choice(method, "method", "blend", tuple(_FLAGS))
    for name, picture in (("the target", target), ("the source", source)):
        if picture.dtype != np.uint8:
            raise DataError(
                f"{name} is {picture.dtype}, and seamless cloning works on uint8 only",
                where="blend",
                do="make it 8-bit first",
            )
    taken = _taken(source, mask)
    middle = _place(target, taken, center)
    colours = target[:, :, :3] if has_alpha(target) else convert(target, "rgb")
    if has_alpha(source):
        source = source[:, :, :3]
    patch = convert(convert(source, "gray"), "rgb") if target.ndim == 2 else _as_rgb(source)
    # In B, G, R: "monochrome" weighs the channels. OpenCV writes into the mask that it is given, this one is ours.
    blended = cv2.seamlessClone(_reversed(patch), _reversed(colours), taken, middle, _FLAGS[method])
    result = _reversed(np.asarray(blended))
    if target.ndim == 2:
        return np.ascontiguousarray(result[:, :, 0])
    return np.dstack([result, target[:, :, 3]]) if has_alpha(target) else result


def _reversed(image: np.ndarray) -> np.ndarray:
    """The channels in the other order."""
    return np.ascontiguousarray(image[:, :, ::-1])


def _as_rgb(image: np.ndarray) -> np.ndarray:
    return convert(image, "rgb") if image.ndim == 2 else image


def _taken(source: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """255 where the source is taken, 0 elsewhere and in its outermost pixels."""
    if mask is None:
        mask = source[:, :, 3] if has_alpha(source) else np.full(source.shape[:2], 255, np.uint8)
    if not isinstance(mask, np.ndarray) or mask.dtype not in (np.bool_, np.uint8):
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise DataError(
            f"the mask is {kind}, not bool or uint8", where="blend", do="convert it, e.g. with mask > 0.5"
        )
    if mask.shape != source.shape[:2]:
        raise DataError(
            f"the mask has shape {mask.shape}, the source {source.shape[:2]}",
            where="blend",
            do="give one value for each pixel of the source",
        )
    taken = np.zeros(mask.shape, np.uint8)
    taken[1:-1, 1:-1] = np.where(mask[1:-1, 1:-1] != 0, 255, 0)
    return taken


def _place(target: np.ndarray, taken: np.ndarray, center: Sequence[float] | None) -> tuple[int, int]:
    """The centre, checked: the mask's bounding box lies inside the target."""
    _, _, width, height = cv2.boundingRect(taken)
    if min(width, height) < _LEAST:
        raise DataError(
            f"the mask covers {width} x {height} px of the source without its outermost pixels",
            where="blend",
            do=f"cover at least {_LEAST} x {_LEAST} px",
        )
    full_height, full_width = target.shape[:2]
    if width > full_width or height > full_height:
        raise DataError(
            f"the masked part is {width} x {height} px, larger than the target of {full_width} x {full_height} px",
            where="blend",
            do="make the source smaller",
        )
    x, y = (full_width // 2, full_height // 2) if center is None else check_pair(center, "center", "blend")
    if x != round(x) or y != round(y):
        raise ConfigError(f"center = ({x:g}, {y:g}) is not of whole pixels", where="blend", do="round it")
    # The box begins at half its size before the centre, rounded down, as OpenCV places it.
    lowest = (width // 2, height // 2)
    highest = (full_width - width + width // 2, full_height - height + height // 2)
    if not (lowest[0] <= x <= highest[0] and lowest[1] <= y <= highest[1]):
        raise DataError(
            f"at center = ({x:g}, {y:g}) the masked part of {width} x {height} px reaches outside the target",
            where="blend",
            do=f"choose x from {lowest[0]} to {highest[0]} and y from {lowest[1]} to {highest[1]}",
        )
    return int(x), int(y)

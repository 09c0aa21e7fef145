"""Pictures of a step of thought: what one looks at, cut out or marked."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from visionsmith.data.world.scene import Thing

__all__ = ["crop", "mark"]


def crop(picture: np.ndarray, things: Sequence[Thing], *, margin: float = 0.02) -> np.ndarray:
    """The part of a picture that holds some things.

    Args:
        picture: RGB HWC uint8, square, of the scene.
        things: at least one.
        margin: kept round them, as a share of the side.

    Returns:
        RGB HWC uint8, a copy; as large as the part is.
    """
    side = len(picture)
    boxes = np.array([thing.box for thing in things])
    left, top = np.floor((boxes[:, :2].min(axis=0) - margin) * side).clip(0, side - 1).astype(int)
    right, bottom = (
        np.ceil(((boxes[:, :2] + boxes[:, 2:]).max(axis=0) + margin) * side).clip(1, side).astype(int)
    )
    return picture[top:bottom, left:right].copy()


def mark(
    picture: np.ndarray, things: Sequence[Thing], colour: tuple[int, int, int] = (20, 20, 20)
) -> np.ndarray:
    """The whole picture with frames round some things: RGB HWC uint8, a copy."""
    marked, side = picture.copy(), len(picture)
    for thing in things:
        x, y, width, height = (round(value * side) for value in thing.box)
        corner = (min(x + width, side - 1), min(y + height, side - 1))
        cv2.rectangle(marked, (max(x, 0), max(y, 0)), corner, colour, max(1, side // 64))
    return marked

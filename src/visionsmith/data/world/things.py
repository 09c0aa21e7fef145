"""The things of the world: twenty-four OpenMoji drawings, each in eight colours."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from visionsmith.data import openmoji
from visionsmith.data.sampler import generator

__all__ = ["COLOURS", "KINDS", "NEW_PAIRS", "PAIRS", "drawing", "plain"]

KINDS = {
    "cat": "cat face", "dog": "dog face", "car": "automobile", "house": "house", "tree": "deciduous tree",
    "balloon": "balloon", "fish": "fish", "butterfly": "butterfly", "cup": "hot beverage", "key": "key", "bell": "bell",
    "star": "star", "heart": "heart suit", "mushroom": "mushroom", "hat": "top hat", "shirt": "t-shirt",
    "rocket": "rocket", "elephant": "elephant", "snail": "snail", "umbrella": "umbrella", "crown": "crown",
    "plane": "airplane", "apple": "red apple", "duck": "duck",
}  # fmt: skip
"""Name in the world -> caption of the drawing."""

COLOURS = {
    "red": (226, 38, 42),
    "orange": (245, 138, 24),
    "yellow": (248, 216, 32),
    "green": (58, 168, 58),
    "blue": (44, 100, 226),
    "purple": (134, 60, 178),
    "pink": (246, 130, 186),
    "gray": (140, 140, 144),
}
"""Name -> RGB, 0 to 255."""

PAIRS = tuple((kind, colour) for kind in KINDS for colour in COLOURS)
"""Every thing that there is."""

_MASTER = 64
_FULL = 0.45
"""Luminance that becomes the colour itself; darker parts of a drawing become its shades, lighter ones its tints."""


def _new_pairs() -> frozenset[tuple[str, str]]:
    """A tenth of the pairs, so spread that no kind and no colour loses more than its share."""
    kinds = generator(26, 0, 0).permutation(len(KINDS))
    return frozenset(
        (list(KINDS)[kind], list(COLOURS)[place % len(COLOURS)]) for place, kind in enumerate(kinds[:20])
    )


NEW_PAIRS = _new_pairs()
"""Twenty pairs of kind and colour that no training picture shows: what a model says of them it has put together."""

SEEN = tuple(pair for pair in PAIRS if pair not in NEW_PAIRS)
"""The others, which training pictures and texts are made of."""


@lru_cache(maxsize=4096)
def drawing(kind: str, colour: str, side: int) -> np.ndarray:
    """A thing without a background.

    Args:
        kind: of `KINDS`.
        colour: of `COLOURS`.
        side: of the picture, pixels, 4 to 256.

    Returns:
        RGBA float32 `side side 4` in [0, 1], colours multiplied by opacity. Shared: not to be written to.
    """
    picture = _tinted(kind, colour) if side <= _MASTER else _tint(plain(kind, side), colour)
    if picture.shape[0] != side:
        picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    picture.setflags(write=False)
    return picture


@lru_cache(maxsize=512)
def _tinted(kind: str, colour: str) -> np.ndarray:
    return _tint(plain(kind, _MASTER), colour)


def plain(kind: str, side: int) -> np.ndarray:
    """The drawing in its own colours, cut to what is not empty and put into the middle of a square.

    Args:
        kind: of `KINDS`.
        side: of the picture, pixels.

    Returns:
        RGBA uint8 `side side 4`, colours not multiplied by opacity.
    """
    image = openmoji.drawing(_codes()[KINDS[kind]], side)
    rows, columns = np.nonzero(image[..., 3].max(axis=1))[0], np.nonzero(image[..., 3].max(axis=0))[0]
    cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square = np.zeros((max(cut.shape[:2]),) * 2 + (4,), np.uint8)
    top, left = (len(square) - cut.shape[0]) // 2, (len(square) - cut.shape[1]) // 2
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


def _tint(image: np.ndarray, colour: str) -> np.ndarray:
    """RGBA uint8 -> float32, premultiplied, in shades and tints of one colour."""
    hue = np.asarray(COLOURS[colour], np.float32) / 255
    light = (image[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255)[..., None]
    shades = hue * (light / _FULL)
    tints = hue + (1 - hue) * 0.55 * (light - _FULL) / (1 - _FULL)
    opacity = image[..., 3:].astype(np.float32) / 255
    result: np.ndarray = np.concatenate([np.where(light < _FULL, shades, tints) * opacity, opacity], axis=2)
    return result


@lru_cache(maxsize=1)
def _codes() -> dict[str, str]:
    return {name.caption: code for code, name in openmoji.names().items()}

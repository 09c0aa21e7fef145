"""Cutting a picture into tiles and putting it back.

Pictures: HW gray, HWC RGB or RGBA; uint8, uint16 or float32 [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visionsmith.errors import DataError
from visionsmith.image.checks import check_image, check_size, check_whole

__all__ = ["Tile", "tile", "untile"]


@dataclass(frozen=True)
class Tile:
    """A rectangle of a picture."""

    image: np.ndarray
    """Its pixels."""
    x: int
    """Left edge in the picture, pixels."""
    y: int
    """Upper edge in the picture, pixels."""


def tile(image: np.ndarray, *, width: int, height: int | None = None, overlap: int = 0) -> list[Tile]:
    """Cut into tiles, row by row; those at the right and lower edges are as small as what is left.

    Args:
        image: the picture.
        width: of a tile, pixels.
        height: of a tile, pixels; without it, the width.
        overlap: columns and rows that neighbours share, pixels, less than a tile's sides.
    """
    image = check_image(image, "tile")
    width = check_whole(width, "width", "tile", least=1)
    height = width if height is None else check_whole(height, "height", "tile", least=1)
    overlap = check_whole(overlap, "overlap", "tile", least=0, most=min(width, height) - 1)
    return [
        Tile(image[y : y + height, x : x + width].copy(), x, y)
        for y in _starts(image.shape[0], height, overlap)
        for x in _starts(image.shape[1], width, overlap)
    ]


def untile(tiles: Sequence[Tile]) -> np.ndarray:
    """Put tiles back, in any order. Where two overlap, each gives the half of the overlap on its side.

    Raises:
        DataError: there are none, they are of different kinds, one was resized, or one is missing.
    """
    if not tiles:
        raise DataError("there are no tiles", where="untile", do="give what tile made")
    for one in tiles:
        _check_tile(one, tiles[0].image)
    columns = _lengths([(one.x, one.image.shape[1]) for one in tiles], "x")
    rows = _lengths([(one.y, one.image.shape[0]) for one in tiles], "y")
    found = {(one.x, one.y) for one in tiles}
    missing = [(x, y) for y in rows for x in columns if (x, y) not in found]
    if missing:
        x, y = missing[0]
        raise DataError(
            f"{len(missing)} of {len(rows) * len(columns)} tiles are missing, the first at x = {x}, y = {y}",
            where="untile",
            do="give all tiles of the picture",
        )
    width, height = max(columns) + columns[max(columns)], max(rows) + rows[max(rows)]
    check_size(width, height, "untile")
    picture = np.empty((height, width, *tiles[0].image.shape[2:]), tiles[0].image.dtype)
    left, upper = _seams(columns, "x"), _seams(rows, "y")
    # In reading order each tile covers the far half of the overlap that its neighbour before wrote.
    for one in sorted(tiles, key=lambda one: (one.y, one.x)):
        x, y = left[one.x], upper[one.y]
        pixels = one.image[y - one.y :, x - one.x :]
        picture[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return picture


def _starts(length: int, size: int, overlap: int) -> range:
    """Where tiles begin along a side; none lies wholly within the one before."""
    return range(0, max(1, length - overlap), size - overlap)


def _check_tile(one: Tile, first: np.ndarray) -> None:
    name = f"the tile at x = {one.x}, y = {one.y}"
    image = check_image(one.image, "untile", name)
    if image.dtype != first.dtype or image.shape[2:] != first.shape[2:]:
        raise DataError(
            f"{name} is {image.dtype} of shape {image.shape}, the first {first.dtype} of shape {first.shape}",
            where="untile",
            do="give tiles of one kind",
        )
    if one.x < 0 or one.y < 0:
        raise DataError(f"{name} begins outside the picture", where="untile", do="give what tile made")


def _lengths(places: list[tuple[int, int]], axis: str) -> dict[int, int]:
    """Length of the tiles by where they begin along one axis, in order."""
    lengths: dict[int, int] = {}
    for start, length in sorted(places):
        if lengths.setdefault(start, length) != length:
            raise DataError(
                f"tiles at {axis} = {start} are {lengths[start]} and {length} px long",
                where="untile",
                do="give tiles of the size that they were cut to",
            )
    return lengths


def _seams(lengths: dict[int, int], axis: str) -> dict[int, int]:
    """Where each tile's own part begins: in the middle of its overlap with the one before."""
    seams, end = {}, 0
    for start, length in lengths.items():
        if start > end:
            raise DataError(
                f"nothing covers {axis} = {end} to {start}",
                where="untile",
                do="give all tiles of the picture, in the size that they were cut to",
            )
        seams[start] = start + (end - start) // 2
        end = start + length
    return seams

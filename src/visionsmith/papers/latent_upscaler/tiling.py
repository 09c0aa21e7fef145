"""Tiles of one size that overlap, and their blending with a smooth window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["blend", "starts", "window"]


def starts(length: int, tile: int, overlap: int, unit: int) -> list[int]:
    """Where tiles begin along a side: multiples of `unit`, neighbours share at least `overlap`, the last ends flush.

    Args:
        length: of the side, a multiple of `unit`.
        tile: of a tile, likewise; at most the side.
        overlap: what neighbours share at least.
        unit: of all.
    """
    count = 1 + -(-(length - tile) // (tile - overlap)) if length > tile else 1
    places = [(length - tile) * number // max(1, count - 1) for number in range(count)]
    return [place // unit * unit if place < length - tile else place for place in places]


def window(places: Sequence[int], tile: int) -> list[np.ndarray]:
    """Weights along each tile, float64: rising as half a cosine over what it shares with its neighbours, else 1.

    Args:
        places: where the tiles begin, in order.
        tile: their length.
    """
    found = []
    for number, place in enumerate(places):
        weights = np.ones(tile)
        if number and (shared := places[number - 1] + tile - place) > 0:
            weights[:shared] *= _rise(shared)
        if number + 1 < len(places) and (shared := place + tile - places[number + 1]) > 0:
            weights[-shared:] *= _rise(shared)[::-1]
        found.append(weights)
    return found


def _rise(length: int) -> np.ndarray:
    # At the middles of pixels, so that no weight is 0 and a rise and a fall add up to 1.
    rise: np.ndarray = 0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length)
    return rise


def blend(tiles: np.ndarray, rows: Sequence[int], columns: Sequence[int]) -> np.ndarray:
    """One picture, float64 `h w 3`: at each pixel the mean of the tiles there, weighted by their windows.

    Args:
        tiles: `n h w 3`, row by row.
        rows: where they begin, from the top.
        columns: where they begin, from the left.
    """
    height, width = tiles.shape[1:3]
    total = np.zeros((rows[-1] + height, columns[-1] + width, tiles.shape[3]))
    weight = np.zeros((*total.shape[:2], 1))
    down, across = window(rows, height), window(columns, width)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, len(columns))
        share = np.outer(down[row], across[column])[:, :, None]
        y, x = rows[row], columns[column]
        total[y : y + height, x : x + width] += share * tile
        weight[y : y + height, x : x + width] += share
    return np.asarray(total / weight)

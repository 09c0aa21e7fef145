"""Pictures as Qwen3-VL's tower takes them: resized to the grid within a budget of tokens, cut into patches.

The grid is that of the tower's own patch size. The public evaluation rounds on the grid of patches of 14 px, which the
tower does not have, and so picks other sizes and other limits than training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visionsmith.errors import DataError
from visionsmith.papers.swimbird.config import VisionConfig

__all__ = ["Patches", "cut", "fit_size", "join", "square"]

STRETCH = 200
"""Longest side over shortest that the family accepts."""


@dataclass(frozen=True)
class Patches:
    """One or more pictures, cut up."""

    values: Tensor
    """float32 `n (c t p p)`, patches in the order of the merged tokens, colours scaled to [-1, 1]."""
    grids: Tensor
    """int64 `i 3`: frames (1), rows and columns of patches of each picture."""

    def tokens(self, merge: int) -> list[int]:
        """Tokens of the language model that each picture takes."""
        return [int(count) // merge**2 for count in self.grids.prod(dim=-1)]


def fit_size(height: int, width: int, *, side: int, least: int, most: int) -> tuple[int, int]:
    """Height and width, multiples of `side`, closest to a picture's shape within a budget of tokens.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        side: pixels a side of one token.
        least: fewest tokens.
        most: most tokens; a long picture may still take one row of more.

    Raises:
        DataError: the picture is longer than 200 times its width.
    """
    if max(height, width) > STRETCH * min(height, width):
        raise DataError(
            f"a picture of {width} x {height} px is too long for a grid of patches", do="crop it first"
        )
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    if rows * columns > most:
        shrink = math.sqrt(height * width / (most * side * side))
        rows, columns = (max(1, math.floor(length / shrink / side)) for length in (height, width))
    elif rows * columns < least:
        grow = math.sqrt(least * side * side / (height * width))
        rows, columns = (math.ceil(length * grow / side) for length in (height, width))
    return rows * side, columns * side


def cut(image: np.ndarray, config: VisionConfig, *, least: int, most: int) -> Patches:
    """Cut a picture into patches.

    Args:
        image: RGB HWC uint8.
        config: of the tower.
        least: fewest tokens it may take.
        most: most tokens it may take.
    """
    from PIL import Image

    height, width = fit_size(*image.shape[:2], side=config.token_side, least=least, most=most)
    if image.shape[:2] != (height, width):
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
        image = np.asarray(resized)
    patch, merge = config.patch_size, config.spatial_merge_size
    rows, columns = height // patch, width // patch
    pixels = image.astype(np.float32) / 127.5 - 1
    # Tokens row by row; the patches of a token together; of a patch colours, then frames, then pixels.
    grid = pixels.reshape(rows // merge, merge, patch, columns // merge, merge, patch, 3)
    ordered = grid.transpose(0, 3, 1, 4, 6, 2, 5)[:, :, :, :, :, None]
    frames = np.repeat(ordered, config.temporal_patch_size, axis=5)
    values = torch.from_numpy(frames.reshape(rows * columns, -1))
    return Patches(values, torch.tensor([[1, rows, columns]]))


def square(image: np.ndarray, config: VisionConfig, *, most: int) -> np.ndarray:
    """A picture, whatever its shape, as the largest square that takes at most so many tokens: RGB HWC uint8."""
    from PIL import Image

    side = max(1, math.isqrt(most)) * config.token_side
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def join(parts: list[Patches]) -> Patches | None:
    """Several pictures as one batch, in order; None for none."""
    if not parts:
        return None
    return Patches(torch.cat([part.values for part in parts]), torch.cat([part.grids for part in parts]))

"""Bands of a cosine spectrum: the transform, fixed bands on its anti-diagonals, and learned masks (sec. 3.1).

Axes: u/v vertical and horizontal frequency, m bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["BandMasks", "cosine_matrix", "diagonal_bands"]

Limits = tuple[float, float]


def cosine_matrix(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The orthonormal DCT-II of `size` samples as a matrix: row u is the cosine of frequency u."""
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    place = torch.arange(size, dtype=torch.float64)[None] + 0.5
    matrix = torch.cos(math.pi / size * frequency * place) * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return matrix.to(dtype)


def diagonal_bands(size: int, limits: Sequence[Limits], *, shared: bool) -> Tensor:
    """Bands of a square spectrum by the sum of both frequencies: m size size, of 0 and 1.

    Args:
        size: side of the spectrum.
        limits: lowest and highest u + v of each band.
        shared: whether a band begins on the diagonal that ends the one below it, as in the public code. Else it begins
            behind it, and bands of adjoining limits hold every coefficient once.
    """
    index = torch.arange(size)
    diagonal = (index[:, None] + index[None]).double()
    bands = [
        ((diagonal >= low) if shared or low == 0 else (diagonal > low)) & (diagonal <= high)
        for low, high in limits
    ]
    return torch.stack(bands).float()


class BandMasks(nn.Module):
    """Fixed bands plus learned masks that stay between -1 and 1: base + 2 sigmoid(W) - 1."""

    base: Tensor

    def __init__(self, base: Tensor, *, learnable: bool) -> None:
        """Make the masks.

        Args:
            base: m u v, of 0 and 1.
            learnable: whether there is a mask to learn; it begins at random, near zero.
        """
        super().__init__()
        self.register_buffer("base", base, persistent=False)
        self.learned = nn.Parameter(torch.randn_like(base) * 0.1) if learnable else None

    def forward(self) -> Tensor:
        """The masks, m u v."""
        return self.base if self.learned is None else self.base + 2 * torch.sigmoid(self.learned) - 1

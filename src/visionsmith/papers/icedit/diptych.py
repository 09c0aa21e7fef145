"""Two pictures side by side, as an inpainting transformer takes them (figure 3; FLUX.1 Fill's layout).

Axes: b diptychs, c latent channels, i/j latent rows and columns of a half, n tokens: 2 x 2 latent positions each.
A token's input: 4c noisy latents, 4c latents of what may be seen, 4 f^2 of the mask (f: pixels a latent position).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["conditions", "pack", "places", "side_by_side", "unpack"]


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Latents `b c i j` of both halves -> of the diptych, `b c i 2j`."""
    return torch.cat((left, right), dim=3)


def pack(values: Tensor) -> Tensor:
    """`b c i j` -> tokens `b n 4c`, row by row; a token's values are ordered by channel, then row, then column."""
    batch, channels, rows, columns = values.shape
    assert (rows | columns) % 2 == 0, f"{rows} x {columns} latent positions are no multiples of 2"
    blocks = values.view(batch, channels, rows // 2, 2, columns // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns // 4, 4 * channels)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `pack`: `b n 4c` -> `b c rows columns`."""
    batch, _, width = tokens.shape
    blocks = tokens.view(batch, rows // 2, columns // 2, width // 4, 2, 2)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(batch, width // 4, rows, columns)


def places(rows: int, columns: int, *, device: torch.device | None = None) -> Tensor:
    """Where each token is, `n 3` float32: 0, its row, its column. Of `rows` x `columns` latent positions."""
    found = torch.zeros(rows // 2, columns // 2, 3, device=device)
    found[..., 1] = torch.arange(rows // 2, device=device)[:, None]
    found[..., 2] = torch.arange(columns // 2, device=device)[None, :]
    return found.view(-1, 3)


def conditions(left: Tensor, right: Tensor, gray: Tensor, hidden: Tensor, factor: int) -> Tensor:
    """What a token is told besides its noisy latents: what may be seen, and where nothing may be.

    Args:
        left: scaled latents `b c i j` of the left half.
        right: of the right half.
        gray: scaled latents `c i j` of a gray half, which stands in place of a hidden one.
        hidden: bool `b 2`: whether the left and the right half are to be painted.
        factor: pixels a side of a latent position.

    Returns:
        `b n (4c + 4 factor^2)`.
    """
    batch, _, rows, columns = left.shape
    flags = hidden.view(batch, 2, 1, 1, 1)
    seen = side_by_side(
        torch.where(flags[:, 0], gray.to(left), left), torch.where(flags[:, 1], gray.to(left), right)
    )
    mask = hidden.to(left).view(batch, 1, 1, 2, 1).expand(batch, factor**2, rows, 2, columns)
    return torch.cat((pack(seen), pack(mask.reshape(batch, factor**2, rows, 2 * columns))), dim=2)

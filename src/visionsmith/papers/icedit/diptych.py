"""Two pictures side by side, as an inpainting transformer takes them (figure 3; FLUX.1 Fill's layout).

Axes: b diptychs, c latent channels, i/j latent rows and columns of a half, n tokens: 2 x 2 latent positions each.
A token's input: 4c noisy latents, 4c latents of what may be seen, 4 f^2 of the mask (f: pixels a latent position).
"""

from __future__ import annotations

import torch
from torch import Tensor

from visionsmith.diffusion.flux import pack

__all__ = ["conditions", "side_by_side"]


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Latents `b c i j` of both halves -> of the diptych, `b c i 2j`."""
    return torch.cat((left, right), dim=3)


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

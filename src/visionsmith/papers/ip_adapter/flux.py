"""Flux's transformer as painting and training call it: latents in pairs of rows and columns, two readings of a text.

Axes: b samples, c latent channels, i/j latent rows and columns, p image positions of 2 x 2 latents each,
m tokens of T5, d their width, e width of CLIP's one embedding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL
from torch import Tensor

__all__ = ["DISTILLED", "Text", "offset", "pack", "read", "unpack", "velocity"]

DISTILLED = 3.5
"""Strength of guidance that a distilled transformer is told: the default of FLUX's pipelines."""


class Text(NamedTuple):
    """What the transformer is told of a batch of texts."""

    states: Tensor
    """T5's, `b m d`."""
    pooled: Tensor
    """CLIP's, `b e`."""


def pack(latents: Tensor) -> Tensor:
    """`b c i j` -> `b p 4c`, row by row; the values of a position by channel, then row, then column."""
    batch, channels, rows, columns = latents.shape
    assert (rows | columns) % 2 == 0, f"{rows} x {columns} latents are no multiples of 2"
    pairs = latents.view(batch, channels, rows // 2, 2, columns // 2, 2)
    return pairs.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns // 4, 4 * channels)


def unpack(packed: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `pack`: `b p 4c` -> `b c rows columns`."""
    batch, _, width = packed.shape
    pairs = packed.view(batch, rows // 2, columns // 2, width // 4, 2, 2)
    return pairs.permute(0, 3, 1, 4, 2, 5).reshape(batch, width // 4, rows, columns)


def offset(autoencoder: AutoencoderKL) -> float:
    """What is taken from scaled latents: Flux's autoencoder shifts before it scales, and others do not shift."""
    return float(autoencoder.config.shift_factor or 0.0) * float(autoencoder.config.scaling_factor)


def read(clip: Any, t5: Any, tokens: Tensor) -> Text:
    """Read texts.

    Args:
        clip: a `CLIPTextModel`.
        t5: a `T5EncoderModel`.
        tokens: int64 `b (n + m)`: CLIP's, as many as it has places, then T5's.
    """
    places = clip.config.max_position_embeddings
    pooled = clip(tokens[:, :places].to(clip.device)).pooler_output
    return Text(t5(tokens[:, places:].to(t5.device)).last_hidden_state, pooled)


def velocity(
    transformer: Any, noisy: Tensor, times: Tensor, text: Text, grid: tuple[int, int], *, distilled: float
) -> Tensor:
    """The velocity (noise minus data) that the transformer predicts, `b p 4c` in its dtype.

    Args:
        transformer: a `FluxTransformer2DModel`.
        noisy: packed latents `b p 4c`.
        times: `b`, 0 (data) to 1 (noise).
        text: of each sample.
        grid: rows and columns of the latents, before they are packed.
        distilled: strength of guidance; only a distilled transformer is told it.
    """
    dtype, device = transformer.dtype, noisy.device
    strength = torch.full_like(times, distilled) if transformer.config.guidance_embeds else None
    found: Tensor = transformer(
        hidden_states=noisy.to(dtype),
        timestep=times,
        guidance=strength,
        encoder_hidden_states=text.states.to(device, dtype),
        pooled_projections=text.pooled.to(device, dtype),
        txt_ids=torch.zeros(text.states.shape[1], 3, device=device),
        img_ids=_places(grid[0] // 2, grid[1] // 2, device),
        return_dict=False,
    )[0]
    return found


def _places(rows: int, columns: int, device: torch.device) -> Tensor:
    """`p 3` float32: 0, the row and the column of each position."""
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack((torch.zeros_like(down), down, across), dim=-1).view(-1, 3).float().to(device)

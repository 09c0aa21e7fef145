"""Flux's transformer as painting and training call it: tokens, their places, times, and one evaluation.

Axes: b samples, c latent channels, i/j latent rows and columns, p tokens of 2 x 2 latent positions each, m tokens of
text, d their width, e width of the one embedding of a text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["DISTILLED", "Text", "offset", "pack", "places", "sigmas_of", "unpack", "velocity"]

DISTILLED = 3.5
"""Strength of guidance that a distilled transformer is told: the default of FLUX's pipelines."""


class Text(NamedTuple):
    """What the transformer is told of a batch of texts."""

    states: Tensor
    """`b m d`."""
    pooled: Tensor
    """`b e`."""


def pack(latents: Tensor) -> Tensor:
    """`b c i j` -> tokens `b p 4c`, row by row; a token's values are ordered by channel, then row, then column."""
    batch, channels, rows, columns = latents.shape
    assert (rows | columns) % 2 == 0, f"{rows} x {columns} latent positions are no multiples of 2"
    blocks = latents.view(batch, channels, rows // 2, 2, columns // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns // 4, 4 * channels)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `pack`: `b p 4c` -> `b c rows columns`."""
    batch, _, width = tokens.shape
    blocks = tokens.view(batch, rows // 2, columns // 2, width // 4, 2, 2)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(batch, width // 4, rows, columns)


def places(rows: int, columns: int, *, device: torch.device | None = None) -> Tensor:
    """Where each token is, `p 3` float32: 0, its row, its column. Of `rows` x `columns` latent positions."""
    found = torch.zeros(rows // 2, columns // 2, 3, device=device)
    found[..., 1] = torch.arange(rows // 2, device=device)[:, None]
    found[..., 2] = torch.arange(columns // 2, device=device)[None, :]
    return found.view(-1, 3)


def offset(autoencoder: Any) -> float:
    """What is taken from scaled latents: Flux's `AutoencoderKL` shifts before it scales, and others do not shift."""
    return float(autoencoder.config.shift_factor or 0.0) * float(autoencoder.config.scaling_factor)


def sigmas_of(scheduler: Any, steps: int, tokens: int) -> list[float]:
    """Times of a sampler from 1 (noise) to 0 (data), `steps` + 1 of them.

    Args:
        scheduler: a `FlowMatchEulerDiscreteScheduler`, which stays as it is; one with dynamic shifting stays longer at
            high noise for more tokens, as FLUX's pipelines do.
        steps: how many.
        tokens: of a picture.
    """
    import numpy as np
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    of = scheduler.config
    settings: dict[str, Any] = {"sigmas": np.linspace(1.0, 1 / steps, steps)}
    if of.use_dynamic_shifting:
        ends = (of.base_image_seq_len, of.max_image_seq_len, of.base_shift, of.max_shift)
        settings["mu"] = calculate_shift(tokens, *ends)
    own: Any = FlowMatchEulerDiscreteScheduler.from_config(of)
    own.set_timesteps(**settings)
    return [float(sigma) for sigma in own.sigmas]


def velocity(
    transformer: Any,
    tokens: Tensor,
    times: Tensor,
    text: tuple[Tensor, Tensor],
    grid: tuple[int, int],
    *,
    distilled: float,
) -> Tensor:
    """The velocity (noise minus data) that a transformer predicts, `b p 4c` in its dtype.

    Args:
        transformer: a `FluxTransformer2DModel`.
        tokens: noisy latents `b p 4c`, and behind them in the last axis whatever else the transformer is told.
        times: `b`, 0 (data) to 1 (noise).
        text: states `b m d` and the one embedding `b e`, as `Text`.
        grid: rows and columns of the latents, before they are packed.
        distilled: strength of guidance; only a distilled transformer is told it.
    """
    states, pooled = text
    dtype, device = transformer.dtype, tokens.device
    strength = torch.full_like(times, distilled) if transformer.config.guidance_embeds else None
    found: Tensor = transformer(
        hidden_states=tokens.to(dtype),
        timestep=times,
        guidance=strength,
        encoder_hidden_states=states.to(device, dtype),
        pooled_projections=pooled.to(device, dtype),
        txt_ids=torch.zeros(states.shape[1], 3, device=device),
        img_ids=places(*grid, device=device),
        return_dict=False,
    )[0]
    return found

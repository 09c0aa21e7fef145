"""What an adapter for a Flux transformer is trained to lower: the error of rectified flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visionsmith.diffusion.flux import DISTILLED, pack, velocity
from visionsmith.papers.flux_folder import read

__all__ = ["FrozenFlux"]


@dataclass
class FrozenFlux:
    """Flux's transformer and its text encoders; see `objective.FrozenBase`."""

    denoiser: Any
    """A `FluxTransformer2DModel`."""
    text_encoder: Any
    """A `CLIPTextModel`."""
    text_encoder_2: Any
    """A `T5EncoderModel`."""

    def __post_init__(self) -> None:
        for part in (self.denoiser, self.text_encoder, self.text_encoder_2):
            part.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move all three."""
        if self.denoiser.device != device:
            for part in (self.denoiser, self.text_encoder, self.text_encoder_2):
                part.to(device)

    def error(self, clean: Tensor, tokens: Tensor) -> Tensor:
        """Mean squared error of the velocity at a random time, the sigmoid of a normal draw.

        Args:
            clean: shifted and scaled latents `b c i j`.
            tokens: `b (n + m)` of `flux_folder.tokenize`.
        """
        text = read(self.text_encoder, self.text_encoder_2, tokens)
        times = torch.sigmoid(torch.randn(len(clean), device=clean.device))
        drawn = torch.randn_like(clean)
        share = times.view(-1, 1, 1, 1)
        noisy = pack((1 - share) * clean + share * drawn)
        grid = clean.shape[2], clean.shape[3]
        found = velocity(self.denoiser, noisy, times, text, grid, distilled=DISTILLED)
        return (found.float() - pack(drawn - clean).float()).square().mean()

"""The error of the preconditioned network over log-normal noise levels (Karras et al. 2022, table 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from visionsmith.papers.latent_upscaler.model import enlarged, network_target, predict, read_text

__all__ = ["UpscalingObjective"]


class UpscalingObjective(nn.Module):
    """Squared error of the network's output, every noise level weighing the same; the text encoder is frozen."""

    def __init__(self, unet: Any, text_encoder: Any, *, log_mean: float, log_std: float) -> None:
        """Make it.

        Args:
            unet: a `UNet2DConditionModel`, which learns.
            text_encoder: a `CLIPTextModel`.
            log_mean: mean of the logarithm of the noise level.
            log_std: its standard deviation.
        """
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self.log_mean, self.log_std = log_mean, log_std

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "low" float `b c i/2 j/2`, "high" float `b c i j`, "tokens" int64 `b n`."""
        clean = batch["high"]
        with torch.no_grad():
            text = read_text(self.text_encoder, batch["tokens"])
        sigma = (torch.randn(len(clean), device=clean.device) * self.log_std + self.log_mean).exp()
        noisy = clean + sigma[:, None, None, None] * torch.randn_like(clean)
        found = predict(self.unet, noisy, sigma, enlarged(batch["low"]), text)
        return {"loss": (found.float() - network_target(clean, noisy, sigma)).square().mean()}

"""The second stage: predict what was done to a picture's latents (equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visionsmith.diffusion.noise import min_snr_weights, noised, target
from visionsmith.papers.latent_diffusion.model import LatentDiffusion, make_noise

__all__ = ["DenoisingObjective"]


class DenoisingObjective(nn.Module):
    """Squared error of the prediction at a random time; the autoencoder and the text encoder are frozen."""

    def __init__(self, model: LatentDiffusion, *, min_snr: float | None = None) -> None:
        """Make it.

        Args:
            model: whose denoiser learns.
            min_snr: cut of the weights, see `min_snr_weights`; None: every time weighs the same.
        """
        super().__init__()
        self.unet, self.text_encoder = model.unet, model.text_encoder
        self.noise = make_noise(model.config.noise)
        self.min_snr = min_snr

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "latents" float `b c i j`, "tokens" int64 `b n`."""
        clean = batch["latents"]
        with torch.no_grad():
            text = self.text_encoder(batch["tokens"]).last_hidden_state
        times = torch.randint(self.noise.config.num_train_timesteps, (len(clean),), device=clean.device)
        drawn = torch.randn_like(clean)
        found = self.unet(noised(self.noise, clean, drawn, times), times, text).sample
        error = (
            (found.float() - target(self.noise, clean, drawn, times).float()).square().flatten(1).mean(dim=1)
        )
        weights = 1.0 if self.min_snr is None else min_snr_weights(self.noise, times, self.min_snr)
        return {"loss": (weights * error).mean()}

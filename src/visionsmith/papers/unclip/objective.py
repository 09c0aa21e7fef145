"""What the prior and its plainer alternatives learn (sections 2.2 and 5.1).

Axes: b samples, n text tokens, e embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionsmith.diffusion.noise import noised
from visionsmith.papers.unclip.config import PriorConfig
from visionsmith.papers.unclip.prior import Read, make_noise, make_prior, predict_at_once
from visionsmith.papers.unclip.reader import TextReader

__all__ = ["PriorObjective", "RegressionObjective"]


class PriorObjective(nn.Module):
    """Squared error of the predicted clean embedding, standardised, at a random time."""

    def __init__(self, config: PriorConfig, reader: TextReader) -> None:
        super().__init__()
        self.config = config
        self.prior = make_prior(config)
        self.noise = make_noise(config)
        # Frozen and made anew from the CLIP: no part of what is saved.
        self.reader: TextReader
        self.__dict__["reader"] = reader

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "images" unit-norm float `b e`, "tokens" int64 `b n`."""
        clean = (batch["images"] - self.prior.clip_mean) / self.prior.clip_std
        read: Read = self.reader(batch["tokens"])
        times = torch.randint(self.config.steps, (len(clean),), device=clean.device)
        found = self.prior(
            noised(self.noise, clean, torch.randn_like(clean), times),
            times,
            proj_embedding=read.embedding,
            encoder_hidden_states=read.states,
            attention_mask=read.mask if self.config.causal else None,
        ).predicted_image_embedding
        return {"loss": F.mse_loss(found.float(), clean)}


class RegressionObjective(nn.Module):
    """The same network without noise: the mean embedding of what fits a text, predicted at once."""

    def __init__(self, config: PriorConfig, reader: TextReader) -> None:
        super().__init__()
        self.config = config
        self.prior = make_prior(config)
        self.reader: TextReader
        self.__dict__["reader"] = reader

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch, as `PriorObjective` takes it."""
        clean = (batch["images"] - self.prior.clip_mean) / self.prior.clip_std
        found = predict_at_once(self.prior, self.config, self.reader(batch["tokens"]))
        return {"loss": F.mse_loss(found.float(), clean)}

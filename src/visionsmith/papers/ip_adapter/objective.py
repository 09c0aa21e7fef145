"""The denoising error with a picture beside the text, and what is dropped (sec. 3.2.2, equations 7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visionsmith.diffusion.noise import noised, target
from visionsmith.papers.ip_adapter.adapter import IPAdapter
from visionsmith.papers.ip_adapter.attachment import ImagePrompt
from visionsmith.papers.ip_adapter.config import DropConfig

__all__ = ["Frozen", "PromptObjective", "dropped"]


def dropped(draw: float, rates: DropConfig) -> tuple[bool, bool]:
    """Whether the picture and whether the text of a sample are dropped.

    Args:
        draw: uniform in [0, 1): one a sample, so that the three cases exclude each other.
        rates: of the cases.
    """
    if draw < rates.image:
        return True, False
    if draw < rates.image + rates.text:
        return False, True
    both = draw < rates.image + rates.text + rates.both
    return both, both


@dataclass
class Frozen:
    """What the adapter is trained with and does not change; no module, so that no training state holds it."""

    unet: Any
    """A `UNet2DConditionModel`."""
    text_encoder: Any
    """A `CLIPTextModel`."""
    scheduler: Any
    """The forward process, of diffusers."""

    def __post_init__(self) -> None:
        for part in (self.unet, self.text_encoder):
            part.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move both."""
        if self.unet.device != device:
            self.unet.to(device)
            self.text_encoder.to(device)


class PromptObjective(nn.Module):
    """Squared error of what the denoiser predicts at a random time, as its scheduler says; the adapter learns."""

    def __init__(self, adapter: IPAdapter, frozen: Frozen) -> None:
        super().__init__()
        self.adapter, self.frozen = adapter, frozen
        self.attached = adapter.attach(frozen.unet)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "latents" float `b c i j`, "tokens" int64 `b n`, "features" as the adapter takes them."""
        clean, frozen = batch["latents"], self.frozen
        frozen.to(clean.device)
        with torch.no_grad():
            text = frozen.text_encoder(batch["tokens"]).last_hidden_state
        # Not cleared afterwards: with gradient checkpointing the layers run again in the backward pass.
        self.attached.show([ImagePrompt(self.adapter, self.adapter.project(batch["features"]))])
        times = torch.randint(frozen.scheduler.config.num_train_timesteps, (len(clean),), device=clean.device)
        drawn = torch.randn_like(clean)
        found = frozen.unet(noised(frozen.scheduler, clean, drawn, times), times, text).sample
        wanted = target(frozen.scheduler, clean, drawn, times)
        return {"loss": (found.float() - wanted.float()).square().mean()}

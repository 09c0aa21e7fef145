"""The denoising error with a picture beside the text, and what is dropped (sec. 3.2.2, equations 7 and 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from visionsmith.diffusion.noise import noised, target
from visionsmith.papers.ip_adapter.adapter import IPAdapter
from visionsmith.papers.ip_adapter.attachment import ImagePrompt
from visionsmith.papers.ip_adapter.config import DropConfig

__all__ = ["Frozen", "FrozenBase", "PromptObjective", "dropped"]


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


class FrozenBase(Protocol):
    """What an adapter is trained with and does not change; no module, so that no training state holds it."""

    @property
    def denoiser(self) -> Any:
        """What the adapter is attached to."""

    def to(self, device: torch.device) -> None:
        """Move all of it."""

    def error(self, clean: Tensor, tokens: Tensor) -> Tensor:
        """The mean error of a batch at random times, which the prompts that are shown may lower.

        Args:
            clean: latents `b c i j`, as the denoiser takes them.
            tokens: int64 `b n` of its text encoders.
        """
        ...


@dataclass
class Frozen:
    """A UNet and its text encoder; see `FrozenBase`."""

    denoiser: Any
    """A `UNet2DConditionModel`."""
    text_encoder: Any
    """A `CLIPTextModel`."""
    scheduler: Any
    """The forward process, of diffusers."""

    def __post_init__(self) -> None:
        for part in (self.denoiser, self.text_encoder):
            part.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move both."""
        if self.denoiser.device != device:
            self.denoiser.to(device)
            self.text_encoder.to(device)

    def error(self, clean: Tensor, tokens: Tensor) -> Tensor:
        """Mean squared error of what the scheduler says is predicted, at a random one of its times."""
        with torch.no_grad():
            text = self.text_encoder(tokens).last_hidden_state
        times = torch.randint(self.scheduler.config.num_train_timesteps, (len(clean),), device=clean.device)
        drawn = torch.randn_like(clean)
        found = self.denoiser(noised(self.scheduler, clean, drawn, times), times, text).sample
        wanted = target(self.scheduler, clean, drawn, times)
        error: Tensor = (found.float() - wanted.float()).square().mean()
        return error


class PromptObjective(nn.Module):
    """The error of a frozen denoiser that is shown the picture; the adapter learns."""

    def __init__(self, adapter: IPAdapter, frozen: FrozenBase) -> None:
        super().__init__()
        self.adapter, self.frozen = adapter, frozen
        self.attached = adapter.attach(frozen.denoiser)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "latents" float `b c i j`, "tokens" int64 `b n`, "features" as the adapter takes them."""
        clean = batch["latents"]
        self.frozen.to(clean.device)
        # Not cleared afterwards: with gradient checkpointing the layers run again in the backward pass.
        self.attached.show([ImagePrompt(self.adapter, self.adapter.project(batch["features"]))])
        return {"loss": self.frozen.error(clean, batch["tokens"])}

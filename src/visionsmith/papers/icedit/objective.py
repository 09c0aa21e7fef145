"""Rectified flow over the whole diptych. For an edit both halves count, also the seen one, as in the public code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visionsmith.diffusion.flux import pack
from visionsmith.papers.icedit.adapter import Adapter
from visionsmith.papers.icedit.diptych import conditions, side_by_side
from visionsmith.papers.icedit.model import predict
from visionsmith.papers.icedit.reader import Reader

__all__ = ["EditObjective", "FillingObjective", "Frozen", "flow_error"]


def flow_error(
    transformer: Any,
    batch: dict[str, Tensor],
    text: tuple[Tensor, Tensor],
    gray: Tensor,
    factor: int,
    *,
    seen: float = 1.0,
    shift: float = 1.0,
) -> Tensor:
    """Squared error of the velocity at a random time; `b`, one for each diptych.

    The time is the sigmoid of a normal draw, t, as published; and shifted, s t / (1 + (s - 1) t).

    Args:
        transformer: a `FluxTransformer2DModel`.
        batch: "left", "right": scaled latents `b c i j`; "hidden": bool `b 2`.
        text: states `b m d` and the one embedding `b p`.
        gray: scaled latents `c i j` of a hidden half.
        factor: pixels a side of a latent position.
        seen: weight of a half that may be seen, against 1 of a hidden one.
        shift: s; above 1 there is more noise. 1: as published.
    """
    clean = side_by_side(batch["left"], batch["right"])
    told = conditions(batch["left"], batch["right"], gray.to(clean), batch["hidden"], factor)
    noise = torch.randn_like(clean)
    times = torch.sigmoid(torch.randn(len(clean), device=clean.device))
    times = shift * times / (1 + (shift - 1) * times)
    share = times.view(-1, 1, 1, 1)
    noisy = (1 - share) * clean + share * noise
    found = predict(transformer, pack(noisy), told, times, text, (clean.shape[2], clean.shape[3]))
    error = (found.float() - pack(noise - clean)).square().mean(dim=2)
    # The last of the conditions is a position of the mask: 1 where a token is hidden.
    weight = torch.where(told[..., -1] > 0, 1.0, seen)
    return (error * weight).sum(dim=1) / weight.sum(dim=1)


class FillingObjective(nn.Module):
    """The transformer learns, and the text encoder where a stage says so."""

    def __init__(
        self, transformer: Any, text_encoder: Any, gray: Tensor, factor: int, *, seen: float = 1.0
    ) -> None:
        """Make it.

        Args:
            transformer: a `FluxTransformer2DModel`.
            text_encoder: gives states and the one embedding of "tokens".
            gray: scaled latents `c i j` of a hidden half.
            factor: pixels a side of a latent position.
            seen: weight of a half that may be seen, see `flow_error`.
        """
        super().__init__()
        self.transformer, self.text_encoder = transformer, text_encoder
        self.gray, self.factor, self.seen = gray, factor, seen

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: see `flow_error`, and "tokens" int64 `b m`."""
        text = self.text_encoder(batch["tokens"])
        states = (text.last_hidden_state, text.pooler_output)
        error = flow_error(self.transformer, batch, states, self.gray, self.factor, seen=self.seen)
        return {"loss": error.mean()}


@dataclass
class Frozen:
    """What an adapter is trained with and does not change; no module, so that no training state holds it."""

    transformer: Any
    """A `FluxTransformer2DModel`."""
    reader: Reader
    gray: Tensor
    """Scaled latents `c i j` of a hidden half."""
    factor: int
    """Pixels a side of a latent position."""

    def __post_init__(self) -> None:
        self.transformer.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move both models."""
        if next(self.transformer.parameters()).device != device:
            self.transformer.to(device)
            self.reader.to(device)


class EditObjective(nn.Module):
    """The adapter learns, and its router towards experts that are equally busy."""

    def __init__(self, adapter: Adapter, frozen: Frozen, *, balance: float, shift: float = 1.0) -> None:
        """Make it.

        Args:
            adapter: to train; it is attached to the transformer here.
            frozen: the rest.
            balance: weight of the balance loss of its experts.
            shift: of the times, see `flow_error`.
        """
        super().__init__()
        self.adapter, self.frozen, self.balance, self.shift = adapter, frozen, balance, shift
        self.attached = adapter.attach(frozen.transformer)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: see `flow_error`, and "tokens" int64 `b m`."""
        frozen = self.frozen
        frozen.to(batch["left"].device)
        text = frozen.reader.states(batch["tokens"])
        error = flow_error(
            frozen.transformer, batch, text, frozen.gray, frozen.factor, shift=self.shift
        ).mean()
        losses = {"loss": error}
        if self.adapter.config.experts:
            busy = self.attached.balance()
            losses = {"loss": error + self.balance * busy, "error": error.detach(), "busy": busy.detach()}
        return losses

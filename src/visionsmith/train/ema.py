"""An exponential moving average of a model's weights and running statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Ema"]


class Ema:
    """Shadow copies of every floating-point parameter and buffer of a model.

    Works on whatever tensors the model holds, sharded ones included, since it only interpolates them in place.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = list(_state(model))
        self.shadow = [tensor.detach().clone() for tensor in self.live]
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights; the decay rises at first, so that the start is forgotten."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.shadow, [tensor.detach() for tensor in self.live], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the model's place for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for live, shadow in zip(self.live, self.shadow, strict=True):
            kept = live.detach().clone()
            live.copy_(shadow)
            shadow.copy_(kept)


def _state(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from (buffer for buffer in model.buffers() if buffer.is_floating_point())

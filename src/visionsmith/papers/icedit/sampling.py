"""From noise to a diptych: Euler steps of rectified flow, which can stop half way and go on later.

Axes: as in `diptych`. A state is what the early filter (sec. 3.4) keeps of a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["State", "begin", "clean_estimate", "run"]

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Noisy tokens `b n 4c` and times `b` -> the predicted velocity `b n 4c`."""


@dataclass(frozen=True)
class State:
    """A batch of candidates on their way."""

    tokens: Tensor
    """Noisy latents `b n 4c`."""
    step: int
    """Steps that were done."""
    velocity: Tensor | None = None
    """Of the last step."""

    def chosen(self, places: Sequence[int]) -> State:
        """Some of the candidates."""
        keep = list(places)
        velocity = None if self.velocity is None else self.velocity[keep]
        return State(self.tokens[keep], self.step, velocity)


def begin(seeds: Sequence[int], channels: int, rows: int, columns: int) -> Tensor:
    """Noise `b c rows columns`, a seed a sample; drawn on the CPU, so that a seed says the same on every device."""
    return torch.stack(
        [
            torch.randn(channels, rows, columns, generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
    )


@torch.no_grad()
def run(
    velocity: Velocity,
    state: State,
    sigmas: Sequence[float],
    until: int,
    *,
    tell: Callable[[int], None] = lambda count: None,
) -> State:
    """Go on with a state until so many steps are done.

    Args:
        velocity: the model.
        state: where to go on.
        sigmas: of the whole way.
        until: steps that are done afterwards.
        tell: called after each step with how many candidates took it.
    """
    tokens, found = state.tokens, state.velocity
    for step in range(state.step, until):
        times = torch.full((len(tokens),), sigmas[step], device=tokens.device)
        found = velocity(tokens, times)
        tokens = tokens + (sigmas[step + 1] - sigmas[step]) * found
        tell(len(tokens))
    return State(tokens, max(until, state.step), found)


def clean_estimate(state: State, sigmas: Sequence[float]) -> Tensor:
    """What the candidates look like to the model: the data that its last velocity points to, `b n 4c`."""
    if state.velocity is None:
        return state.tokens
    return state.tokens - sigmas[state.step] * state.velocity

"""Editing without training on a text-to-image transformer (sec. 3.1): the source is turned into noise and back.

The source's way to noise is walked once. Then a diptych is painted: its left half walks that way back, and wherever
the transformer attends, the left half's values are those of the source by itself; the right half begins as noise and
sees them.

Axes: b pictures, n tokens of a half, c latent channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visionsmith.diffusion.flux import pack
from visionsmith.papers.icedit.editor import Editor
from visionsmith.papers.icedit.model import predict, to_latents
from visionsmith.papers.icedit.sampling import Velocity

__all__ = ["InversionEditor", "way_to_noise"]

VALUES = re.compile(r"(single_)?transformer_blocks\.\d+\.attn\.to_v")


class InversionEditor(Editor):
    """An editor round a text-to-image transformer, as FLUX.1 dev's, without an adapter.

    DIFFERS: the left half is kept on the source's way, so that it comes back exactly. Values are computed again at each
    step, since those of all layers and steps of FLUX.1 would be 10 GB.
    """

    def _before(self, steps: int) -> int:
        return steps

    def _walk(
        self,
        images: np.ndarray,
        instructions: Sequence[str],
        guidance: float,
        sigmas: Sequence[float],
        tell: Callable[[int], None],
    ) -> Velocity:
        parts, device = self.parts, self.device
        latents = to_latents(parts.vae, torch.from_numpy(images)).to(device)
        source, rows, columns = pack(latents), latents.shape[2], latents.shape[3]
        nothing = source.new_zeros(*source.shape[:2], 0)
        silence = self._read([""] * len(images))

        def alone(tokens: Tensor, times: Tensor) -> Tensor:
            return predict(parts.transformer, tokens, nothing, times, silence, (rows, columns))

        way = way_to_noise(alone, source, sigmas, tell=tell)
        left = (torch.arange(columns // 2 * rows, device=device) % columns) < columns // 2
        values = _Values(parts.transformer, left)
        asked = self._asked(instructions, guidance)

        def velocity(tokens: Tensor, times: Tensor) -> Tensor:
            at = min(range(len(sigmas)), key=lambda step: abs(sigmas[step] - float(times[0])))
            with values.noted():
                alone(way[at], times[: len(source)])
            known = way[at].repeat(len(tokens) // len(source), 1, 1)
            tokens = tokens.clone()
            tokens[:, left] = known
            with values.placed():
                return asked(tokens, tokens.new_zeros(*tokens.shape[:2], 0), times, (rows, 2 * columns))

        return velocity


@torch.no_grad()
def way_to_noise(
    velocity: Velocity,
    source: Tensor,
    sigmas: Sequence[float],
    *,
    tell: Callable[[int], None] = lambda count: None,
) -> list[Tensor]:
    """The flow backwards, from a picture to what it is at each time of a sampler.

    Args:
        velocity: the model.
        source: tokens `b n 4c` of pictures.
        sigmas: times from 1 (noise) to 0 (data).
        tell: called after each step with how many pictures took it.

    Returns:
        Tokens at each of the times, in their order; the last are the source.
    """
    way = [source]
    for step in range(len(sigmas) - 1, 0, -1):
        times = torch.full((len(source),), sigmas[step], device=source.device)
        way.append(way[-1] + (sigmas[step - 1] - sigmas[step]) * velocity(way[-1], times))
        tell(len(source))
    return way[::-1]


class _Values:
    """Attention values of a picture, noted in a pass of it alone and put into one of a diptych with it on the left."""

    def __init__(self, transformer: Any, left: Tensor) -> None:
        """`left`: bool, which of a diptych's tokens are the left half's."""
        self.left = left
        self.layers = [(name, part) for name, part in transformer.named_modules() if VALUES.fullmatch(name)]
        self.kept: dict[str, Tensor] = {}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """In passes inside, values are noted; the last pass counts."""

        def note(name: str) -> Callable[..., None]:
            def hook(layer: nn.Module, given: tuple[Any, ...], found: Tensor) -> None:
                self.kept[name] = found[:, -int(self.left.sum()) :]

            return hook

        with self._hooked(note):
            yield

    @contextmanager
    def placed(self) -> Iterator[None]:
        """In passes inside, the left half's values are those that were noted."""

        def place(name: str) -> Callable[..., Tensor]:
            def hook(layer: nn.Module, given: tuple[Any, ...], found: Tensor) -> Tensor:
                kept, found = self.kept[name], found.clone()
                # Where text and picture are one row, text comes first.
                picture = found[:, -len(self.left) :]
                picture[:, self.left] = kept.repeat(len(found) // len(kept), 1, 1)
                return found

            return hook

        with self._hooked(place):
            yield

    @contextmanager
    def _hooked(self, make: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
        handles = [part.register_forward_hook(make(name)) for name, part in self.layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

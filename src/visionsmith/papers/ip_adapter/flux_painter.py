"""A Flux model as a user meets it: sentences in, pictures out, with the surface of latent diffusion's painter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from visionsmith.data.progress import DelayedBar
from visionsmith.diffusion.flux import DISTILLED, offset, pack, sigmas_of, unpack, velocity
from visionsmith.errors import ConfigError
from visionsmith.papers.flux_folder import open_flux, read, tokenize
from visionsmith.papers.latent_diffusion import decode

if TYPE_CHECKING:
    from diffusers import FluxPipeline

__all__ = ["PIPELINE", "FluxPainter", "load_flux"]

PIPELINE = "FluxPipeline"
BATCH = 16
"""Pictures that are painted at a time."""


class FluxPainter:
    """A `FluxPipeline`'s parts, and a way from noise to a picture that passes a batch and its negatives at once.

    painter = load_flux("FLUX.1-dev")
    painter.paint(["a woman with red hair"])        # uint8 (1, 1024, 1024, 3)
    """

    def __init__(self, pipeline: FluxPipeline) -> None:
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        where: torch.device = self.pipeline.transformer.device
        return where

    @property
    def size(self) -> int:
        """Side of the pictures that it was trained on, pixels: what its autoencoder's config notes."""
        side: int = self.pipeline.vae.config.sample_size
        return side

    def to(self, device: str | torch.device) -> FluxPainter:
        """Move the model."""
        self.pipeline.to(device)
        return self

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts to ids `b (n + m)` int64: CLIP's, then T5's, both padded and cut to what they read."""
        return tokenize(self.pipeline, texts)

    @torch.no_grad()
    def paint(
        self,
        texts: Sequence[str],
        *,
        seeds: Sequence[int] | None = None,
        steps: int = 25,
        guidance: float = 3.0,
        negative: str = "",
        height: int | None = None,
        width: int | None = None,
        distilled: float = DISTILLED,
        progress: bool = False,
    ) -> np.ndarray:
        """Paint a picture for each text.

        Args:
            texts: what to paint.
            seeds: one a text; with the same text and settings a seed gives the same picture again. None: 0, 1, ...
            steps: of the sampler.
            guidance: how much more the text counts than no text, by a second pass; 1: no guidance, and no second pass.
            negative: what takes the place of no text.
            height: of the pictures, pixels; a multiple of the side of an image position. None: as trained.
            width: likewise.
            distilled: the guidance that a distilled transformer was taught to imitate in one pass. Others are not
                told it.
            progress: whether to show a bar.

        Returns:
            RGB uint8 `b h w 3`.

        Raises:
            ConfigError: a setting is out of range.
        """
        seeds = range(len(texts)) if seeds is None else seeds
        assert len(seeds) == len(texts), f"{len(seeds)} seeds for {len(texts)} texts"
        height, width = height or self.size, width or self.size
        self._check(steps, guidance, distilled, height, width)
        factor = self.pipeline.vae_scale_factor
        grid = height // factor, width // factor
        done = []
        with DelayedBar("painting", len(texts) * steps, show=progress) as bar:
            for begin in range(0, len(texts), BATCH):
                part = list(texts[begin : begin + BATCH])
                drawn = self._drawn(seeds[begin : begin + BATCH], grid)
                latents = self._walk(drawn, part, negative, steps, guidance, distilled, bar)
                vae = self.pipeline.vae
                # One at a time: at 1024 pixels an autoencoder takes more memory for a picture than the transformer.
                done += [decode(vae, one[None] + offset(vae)) for one in latents]
        return np.concatenate(done)

    def _drawn(self, seeds: Sequence[int], grid: tuple[int, int]) -> Tensor:
        """Noise `b c i j` float32, drawn on the CPU, so that a seed says the same on every device."""
        channels = self.pipeline.transformer.config.in_channels // 4
        drawn = [
            torch.randn(channels, *grid, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        return torch.stack(drawn).to(self.device)

    def _walk(
        self,
        drawn: Tensor,
        texts: Sequence[str],
        negative: str,
        steps: int,
        guidance: float,
        distilled: float,
        bar: DelayedBar,
    ) -> Tensor:
        """From noise to latents `b c i j`, by Euler steps; the negatives stand before the texts in a batch."""
        base, guided = self.pipeline, guidance > 1
        grid = drawn.shape[2], drawn.shape[3]
        told = [*[negative] * len(texts), *texts] if guided else list(texts)
        text = read(base.text_encoder, base.text_encoder_2, self.tokenize(told))
        packed = pack(drawn)
        sigmas = sigmas_of(self.pipeline.scheduler, steps, packed.shape[1])
        for now, then in pairwise(sigmas):
            given = packed.repeat(2, 1, 1) if guided else packed
            times = torch.full((len(given),), now, device=self.device)
            found = velocity(base.transformer, given, times, text, grid, distilled=distilled).float()
            if guided:
                without, found = found.chunk(2)
                found = without + guidance * (found - without)
            packed = packed + (then - now) * found
            bar.advance(len(texts))
        return unpack(packed, *grid)

    def _check(self, steps: int, guidance: float, distilled: float, height: int, width: int) -> None:
        most = self.pipeline.scheduler.config.num_train_timesteps
        unit = 2 * self.pipeline.vae_scale_factor
        sides = f"choose a multiple of {unit}"
        for name, value, holds, hint in (
            ("steps", steps, 1 <= steps <= most, f"choose 1 to {most}"),
            ("guidance", guidance, guidance >= 0, "choose 0 or more; 1 is no guidance"),
            ("distilled", distilled, distilled >= 0, f"choose 0 or more; FLUX's own is {DISTILLED}"),
            ("height", height, height > 0 and height % unit == 0, sides),
            ("width", width, width > 0 and width % unit == 0, sides),
        ):
            if not holds:
                raise ConfigError(f"{name} = {value} is out of range", do=hint)


def load_flux(source: str | Path, *, download: bool = False) -> FluxPainter:
    """Open a folder of a `FluxPipeline`, or a hub id of one; see `flux_folder.open_flux`."""
    from visionsmith.diffusion.library import FluxPipeline

    return FluxPainter(open_flux(source, FluxPipeline, download=download))

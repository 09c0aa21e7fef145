"""The two kinds of base that an adapter works on, behind one interface: what training and painting ask of either.

| base                                                  | class      |
|-------------------------------------------------------|------------|
| a checkpoint or folder of latent diffusion, its UNet  | `UNetBase` |
| a folder of a `FluxPipeline`, its transformer         | `FluxBase` |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from visionsmith import checkpoint
from visionsmith.data.records import RecordStore
from visionsmith.diffusion.flux import offset
from visionsmith.papers.ip_adapter.flux_objective import FrozenFlux
from visionsmith.papers.ip_adapter.flux_painter import PIPELINE, FluxPainter, load_flux
from visionsmith.papers.ip_adapter.objective import Frozen, FrozenBase
from visionsmith.papers.latent_diffusion import Painter, latents_of, load_painter
from visionsmith.papers.model_folder import pipeline_kind

__all__ = ["AnyPainter", "Base", "FluxBase", "UNetBase", "base_of", "open_painter"]


AnyPainter = Painter | FluxPainter


class Base(Protocol):
    """A painter's parts, as an adapter needs them."""

    @property
    def denoiser(self) -> Any:
        """What an adapter is attached to."""

    def frozen(self) -> FrozenBase:
        """What an adapter is trained with."""

    def latents(
        self, store: RecordStore, records: Sequence[int], file: Path | None = None, *, progress: bool = False
    ) -> Tensor:
        """The records' pictures as the denoiser takes them, float32 `n c i j`; see `latents_of`."""


class UNetBase:
    """Latent diffusion; see `Base`."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter

    @property
    def denoiser(self) -> Any:
        """A `UNet2DConditionModel`."""
        return self.painter.pipeline.unet

    def frozen(self) -> Frozen:
        """See `Base`."""
        from diffusers import DDPMScheduler

        parts = self.painter.pipeline
        unet = parts.unet.to(memory_format=torch.channels_last)  # faster on processors
        return Frozen(unet, parts.text_encoder, DDPMScheduler.from_config(parts.scheduler.config))

    def latents(
        self, store: RecordStore, records: Sequence[int], file: Path | None = None, *, progress: bool = False
    ) -> Tensor:
        """See `Base`."""
        vae = self.painter.pipeline.vae.requires_grad_(False).eval()
        return latents_of(vae, store, records, self.painter.size, file, progress=progress)


class FluxBase:
    """Flux; see `Base`."""

    def __init__(self, painter: FluxPainter) -> None:
        self.painter = painter

    @property
    def denoiser(self) -> Any:
        """A `FluxTransformer2DModel`."""
        return self.painter.pipeline.transformer

    def frozen(self) -> FrozenFlux:
        """See `Base`."""
        parts = self.painter.pipeline
        return FrozenFlux(parts.transformer, parts.text_encoder, parts.text_encoder_2)

    def latents(
        self, store: RecordStore, records: Sequence[int], file: Path | None = None, *, progress: bool = False
    ) -> Tensor:
        """See `Base`. The file holds them as scaled and not yet shifted."""
        vae = self.painter.pipeline.vae.requires_grad_(False).eval()
        found = latents_of(vae, store, records, self.painter.size, file, progress=progress)
        return found - offset(vae)


def base_of(painter: AnyPainter) -> Base:
    """The base that a painter paints with."""
    if isinstance(painter, FluxPainter):
        return FluxBase(painter)
    return UNetBase(painter)


def open_painter(source: str | Path, *, download: bool = False) -> AnyPainter:
    """Open a checkpoint of latent diffusion, a folder of diffusers (Stable Diffusion or Flux), or a hub id of one.

    Args:
        source: where it is.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        CheckpointError: it is another kind of model, incomplete, or holds its weights as pickles only.
    """
    # A checkpoint of the project is no pipeline, and says so itself.
    known = checkpoint.is_checkpoint(Path(source))
    if not known and pipeline_kind(source, download=download) == PIPELINE:
        return load_flux(source, download=download)
    return load_painter(source, download=download)

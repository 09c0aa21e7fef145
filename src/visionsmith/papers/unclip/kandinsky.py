"""Kandinsky 2.2 in diffusers' layout: a folder of a prior with its encoders, and one of the decoder.

Axes: e embedding, h/w pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionsmith.data.progress import DelayedBar
from visionsmith.diffusion.library import KandinskyV22Pipeline, KandinskyV22PriorPipeline, silenced
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.memory.locks import opening, require_loaded
from visionsmith.papers.model_folder import find_pipeline
from visionsmith.papers.unclip.parts import ImageEncoder, Parts, Prior, TextEncoder, counted

__all__ = ["DECODER", "PRIOR", "open_kandinsky"]

DECODER, PRIOR = "KandinskyV22Pipeline", "KandinskyV22PriorPipeline"
DECODER_PARTS = ("unet", "movq")
PRIOR_PARTS = ("prior", "text_encoder", "image_encoder")
SIZE = 512


class KandinskyPainter:
    """A `KandinskyV22Pipeline`, and what it is guided away from; see `Painter`."""

    steps = 100
    guidance = 4.0
    fewest_steps = 1
    reads_text = False

    def __init__(self, pipeline: Any, nothing: Tensor) -> None:
        """Make it.

        Args:
            pipeline: of the decoder.
            nothing: embedding of an empty picture, `1 e`.
        """
        self.pipeline, self.nothing = pipeline, nothing

    @property
    def size(self) -> int:
        """See `Painter`; what the decoder's config notes, else the library's default."""
        latents = self.pipeline.unet.config.sample_size
        side: int = latents * self.pipeline.movq_scale_factor if latents else SIZE
        return side

    @property
    def most_steps(self) -> int:
        """See `Painter`."""
        most: int = self.pipeline.scheduler.config.num_train_timesteps
        return most

    def evaluations(self, steps: int) -> int:
        """See `Painter`."""
        return steps

    def paint(
        self,
        embedding: Tensor,
        text: str,
        stream: torch.Generator,
        *,
        steps: int,
        guidance: float,
        bar: DelayedBar,
    ) -> np.ndarray:
        """See `Painter`; the text does not count."""
        device = self.pipeline.unet.device
        with counted(self.pipeline, bar):
            found = self.pipeline(
                image_embeds=embedding[None].to(device),
                negative_image_embeds=self.nothing.to(device),
                height=self.size,
                width=self.size,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=stream,
                output_type="np",
            )
        picture: np.ndarray = found.images[0]
        return picture


def open_kandinsky(source: str | Path, prior: str | Path | None = None, *, download: bool = False) -> Parts:
    """Open folders of a `KandinskyV22Pipeline` and of its `KandinskyV22PriorPipeline`, or hub ids of them.

    Args:
        source: the decoder's.
        prior: the prior's, which has the encoders too.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        CheckpointError: one is of another kind, incomplete, damaged, or holds weights as pickles only; or the two do
            not fit.
        ConfigError: no prior was named.
    """
    if prior is None:
        raise ConfigError(
            "holds the decoder of Kandinsky 2.2, which cannot do without its prior",
            where=source,
            do=f"name the folder of its {PRIOR} too: --prior FOLDER",
        )
    place, before = _open(prior, KandinskyV22PriorPipeline, PRIOR_PARTS, download=download)
    folder, decoder = _open(source, KandinskyV22Pipeline, DECODER_PARTS, download=download)
    made, taken = before.prior.config.embedding_dim, decoder.unet.config.encoder_hid_dim
    if made != taken:
        raise CheckpointError(
            f"its embeddings have {made} values, and the decoder takes {taken}",
            where=place,
            do=f"name the prior that belongs to {folder}",
        )
    text = TextEncoder(before.tokenizer, before.text_encoder)
    with torch.no_grad():
        nothing = before.get_zero_embed()
    return Parts(
        folder,
        KandinskyPainter(decoder, nothing),
        text,
        prior=Prior(before.prior, before.scheduler, text, where=place),
        images=ImageEncoder(before.image_processor, before.image_encoder),
    )


def _open(source: str | Path, library: Any, parts: tuple[str, ...], *, download: bool) -> tuple[Path, Any]:
    """The folder and its pipeline; weights are float32 and frozen."""
    kind = library.__name__
    folder = find_pipeline(source, kind, parts, download=download)
    with opening(folder, kind, do="copy it again from its source"), silenced():
        pipeline = library.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
    for name in parts:
        part = getattr(pipeline, name)
        require_loaded(part, str(folder / name))
        part.requires_grad_(False).eval()
    return folder, pipeline

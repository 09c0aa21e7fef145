"""Karlo in diffusers' layout: a folder that paints texts, and one that varies pictures.

Axes: e embedding, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import PriorTransformer, UnCLIPScheduler, UNet2DConditionModel, UNet2DModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from visionsmith.data.progress import DelayedBar
from visionsmith.diffusion.library import UnCLIPImageVariationPipeline, UnCLIPPipeline, silenced
from visionsmith.errors import ConfigError
from visionsmith.memory.locks import opening, require_loaded
from visionsmith.papers.model_folder import find_pipeline
from visionsmith.papers.unclip.parts import ImageEncoder, Parts, Prior, TextEncoder, counted

with silenced():
    # It says on import that torchvision is missing, which is on purpose.
    from transformers import CLIPImageProcessor

__all__ = ["PICTURES", "TEXTS", "open_texts", "open_variations"]

TEXTS, PICTURES = "UnCLIPPipeline", "UnCLIPImageVariationPipeline"
ENLARGING = 7
"""Steps of the super-resolution."""
MODELS = {
    "text_encoder": CLIPTextModelWithProjection,
    "text_proj": UnCLIPTextProjModel,
    "decoder": UNet2DConditionModel,
    "super_res_first": UNet2DModel,
    "super_res_last": UNet2DModel,
}
"""Parts with weights that both folders have."""
SETTINGS = {
    "tokenizer": CLIPTokenizer,
    "decoder_scheduler": UnCLIPScheduler,
    "super_res_scheduler": UnCLIPScheduler,
}
"""Parts without weights that both have."""


class _Karlo:
    """What painting from a text and painting from an embedding have in common; see `Painter`."""

    steps = 25
    guidance = 8.0
    fewest_steps = 2

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    @property
    def size(self) -> int:
        """See `Painter`."""
        side: int = self.pipeline.super_res_first.config.sample_size
        return side

    @property
    def most_steps(self) -> int:
        """See `Painter`."""
        most: int = self.pipeline.decoder_scheduler.config.num_train_timesteps
        return most

    def evaluations(self, steps: int) -> int:
        """See `Painter`."""
        return steps + ENLARGING

    def _paint(
        self, stream: torch.Generator, steps: int, guidance: float, bar: DelayedBar, **given: Any
    ) -> np.ndarray:
        with counted(self.pipeline, bar):
            found = self.pipeline(
                **given,
                decoder_num_inference_steps=steps,
                super_res_num_inference_steps=ENLARGING,
                decoder_guidance_scale=guidance,
                generator=stream,
                output_type="np",
            )
        picture: np.ndarray = found.images[0]
        return picture


class TextPainter(_Karlo):
    """A `UnCLIPPipeline` from its decoder on; see `Painter`."""

    reads_text = True

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
        """See `Painter`."""
        prior = self.pipeline.prior
        # The pipeline begins with its prior. Where that has no steps, what it starts from is what it draws.
        drawn = (embedding[None].to(prior.clip_mean) - prior.clip_mean) / prior.clip_std
        return self._paint(
            stream, steps, guidance, bar, prompt=[text], prior_latents=drawn, prior_num_inference_steps=0
        )


class VariationPainter(_Karlo):
    """A `UnCLIPImageVariationPipeline` from its image embedding on; see `Painter`."""

    reads_text = False

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
        given = embedding[None].to(self.pipeline.decoder.device)
        return self._paint(stream, steps, guidance, bar, image_embeddings=given)


def open_texts(source: str | Path, prior: str | Path | None = None, *, download: bool = False) -> Parts:
    """Open a folder of a `UnCLIPPipeline`, or a hub id of one.

    Args:
        source: where it is.
        prior: to be left out; it has its own.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        CheckpointError: it is incomplete, damaged, or holds weights as pickles only.
        ConfigError: a prior was named.
    """
    _no_other(prior)
    models = {**MODELS, "prior": PriorTransformer}
    folder, found = _open(source, TEXTS, models, {"prior_scheduler": UnCLIPScheduler}, download=download)
    with silenced():
        painter = TextPainter(UnCLIPPipeline(**found))
    text = TextEncoder(found["tokenizer"], found["text_encoder"])
    return Parts(
        folder, painter, text, prior=Prior(found["prior"], found["prior_scheduler"], text, where=folder)
    )


def open_variations(source: str | Path, prior: str | Path | None = None, *, download: bool = False) -> Parts:
    """Open a folder of a `UnCLIPImageVariationPipeline`, or a hub id of one; see `open_texts`."""
    _no_other(prior)
    models = {**MODELS, "image_encoder": CLIPVisionModelWithProjection}
    folder, found = _open(
        source, PICTURES, models, {"feature_extractor": CLIPImageProcessor}, download=download
    )
    with silenced():
        painter = VariationPainter(UnCLIPImageVariationPipeline(**found))
    return Parts(
        folder,
        painter,
        TextEncoder(found["tokenizer"], found["text_encoder"]),
        images=ImageEncoder(found["feature_extractor"], found["image_encoder"]),
    )


def _no_other(prior: str | Path | None) -> None:
    if prior is not None:
        raise ConfigError(
            "a prior was named, and a folder of Karlo takes none",
            where=prior,
            do="leave --prior out; it is for Kandinsky 2.2",
        )


def _open(
    source: str | Path,
    kind: str,
    models: Mapping[str, Any],
    more: Mapping[str, Any],
    *,
    download: bool,
) -> tuple[Path, dict[str, Any]]:
    """The folder and its parts, each opened by the class that is known for it; weights are float32 and frozen.

    The library's own `from_pretrained` no longer finds the class of `text_proj`, which it has moved, whatever a folder
    calls it.
    """
    folder = find_pipeline(source, kind, [*models], download=download)
    found = {}
    with opening(folder, kind, do="copy it again from its source"), silenced():
        for name, library in models.items():
            part = library.from_pretrained(folder / name, use_safetensors=True, local_files_only=True)
            found[name] = part.float().requires_grad_(False).eval()
        for name, library in {**SETTINGS, **more}.items():
            found[name] = library.from_pretrained(folder / name, local_files_only=True)
    for name in models:
        require_loaded(found[name], str(folder / name))
    return folder, found

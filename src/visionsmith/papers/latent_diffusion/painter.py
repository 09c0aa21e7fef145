"""A latent diffusion model as a user meets it: sentences in, pictures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from visionsmith.config import encode
from visionsmith.data.progress import DelayedBar
from visionsmith.diffusion.library import StableDiffusionPipeline, silenced
from visionsmith.errors import ConfigError
from visionsmith.papers.latent_diffusion.model import LatentDiffusion, make_sampler
from visionsmith.papers.latent_diffusion.text import make_tokenizer

if TYPE_CHECKING:
    from visionsmith.train.task import Export

__all__ = ["Painter", "export", "tokenize"]

TOKENIZER_FILE = "tokenizer.json"
BATCH = 16
"""Pictures that are painted at a time."""


class Painter:
    """A latent diffusion model with its tokenizer and a pipeline of diffusers round them.

    painter = visionsmith.load("latent_diffusion")
    painter.paint(["a woman with red hair"])        # uint8 (1, 64, 64, 3)
    """

    def __init__(self, pipeline: StableDiffusionPipeline) -> None:
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def of(cls, model: LatentDiffusion, tokenizer: bytes) -> Painter:
        """Put a model of this project into a pipeline. `tokenizer`: the content of a tokenizer.json."""
        return cls(
            StableDiffusionPipeline(
                vae=model.vae,
                text_encoder=model.text_encoder,
                tokenizer=make_tokenizer(tokenizer, model.config.text),
                unet=model.unet,
                scheduler=make_sampler(model.config.noise),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        where: torch.device = self.pipeline.unet.device
        return where

    @property
    def size(self) -> int:
        """Side of the pictures that it was trained on, pixels."""
        side: int = self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor
        return side

    def to(self, device: str | torch.device) -> Painter:
        """Move the model."""
        self.pipeline.to(device)
        return self

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Captions to ids `b n` int64, padded and cut to the context."""
        return tokenize(self.pipeline.tokenizer, texts)

    def too_long(self, text: str) -> int:
        """How many tokens of a text are beyond the context, and would not be read."""
        tokenizer = self.pipeline.tokenizer
        length: int = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        most: int = tokenizer.model_max_length
        return max(0, length - most)

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
        progress: bool = False,
        **options: Any,
    ) -> np.ndarray:
        """Paint a picture for each text.

        Args:
            texts: what to paint.
            seeds: one a text; with the same text and settings a seed gives the same picture again. None: 0, 1, ...
            steps: of the sampler.
            guidance: how much more the text counts than no text; 1: no guidance.
            negative: what takes the place of no text.
            height: of the pictures, pixels; a multiple of the side of a latent. None: as trained.
            width: likewise.
            progress: whether to show a bar.
            options: further arguments of the pipeline, for all pictures alike.

        Returns:
            RGB uint8 `b h w 3`.

        Raises:
            ConfigError: a setting is out of range.
        """
        seeds = range(len(texts)) if seeds is None else seeds
        assert len(seeds) == len(texts), f"{len(seeds)} seeds for {len(texts)} texts"
        height, width = height or self.size, width or self.size
        self._check(steps, guidance, height, width)
        done = []
        with DelayedBar("painting", len(texts) * steps, show=progress) as bar:

            def tell(pipeline: Any, step: int, time: int, states: dict[str, Any]) -> dict[str, Any]:
                bar.advance(len(part))
                return states

            for begin in range(0, len(texts), BATCH):
                part = list(texts[begin : begin + BATCH])
                # The first latents are drawn on the CPU, so that a seed says the same on every device.
                drawn = [torch.Generator().manual_seed(seed) for seed in seeds[begin : begin + BATCH]]
                images = self.pipeline(
                    part,
                    negative_prompt=[negative] * len(part),
                    num_inference_steps=steps,
                    guidance_scale=guidance,
                    height=height,
                    width=width,
                    generator=drawn,
                    output_type="np",
                    callback_on_step_end=tell,
                    **options,
                ).images
                done.append((images * 255).round().astype(np.uint8))
        return np.concatenate(done)

    def _check(self, steps: int, guidance: float, height: int, width: int) -> None:
        most, unit = self.pipeline.scheduler.config.num_train_timesteps, self.pipeline.vae_scale_factor
        unit *= 2 ** (len(self.pipeline.unet.config.block_out_channels) - 1)
        sides = f"choose a multiple of {unit}"
        for name, value, holds, hint in (
            ("steps", steps, 1 <= steps <= most, f"choose 1 to {most}"),
            ("guidance", guidance, guidance >= 0, "choose 0 or more; 1 is no guidance"),
            ("height", height, height > 0 and height % unit == 0, sides),
            ("width", width, width > 0 and width % unit == 0, sides),
        ):
            if not holds:
                raise ConfigError(f"{name} = {value} is out of range", do=hint)

    def save_pretrained(self, folder: Path) -> None:
        """Write a folder that `StableDiffusionPipeline.from_pretrained` opens."""
        with silenced():
            self.pipeline.save_pretrained(folder, safe_serialization=True)


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """Captions to ids `b n` int64, padded and cut to the context."""
    found = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = found.input_ids
    return ids


def export(model: LatentDiffusion, tokenizer: bytes, state: Mapping[str, Tensor] | None = None) -> Export:
    """The checkpoint of a model, or of a state dict of it: weights in float16, vectors in float32."""
    from visionsmith.train.task import Export

    tensors = {
        name: value.detach().half() if value.ndim > 1 else value.detach().float()
        for name, value in (state or model.state_dict()).items()
        if value.is_floating_point()
    }
    return Export(config=encode(model.config), tensors=tensors, files={TOKENIZER_FILE: tokenizer})

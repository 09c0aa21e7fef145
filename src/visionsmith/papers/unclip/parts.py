"""What a published system is made of: two encoders, a prior and what paints, all of them the library's.

Axes: b texts or pictures, s samples, e embedding, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from visionsmith.data.progress import DelayedBar
from visionsmith.diffusion.library import KandinskyV22PriorPipeline, silenced
from visionsmith.errors import CheckpointError
from visionsmith.image.io import read_image

__all__ = ["ImageEncoder", "Painter", "Parts", "Picture", "Prior", "TextEncoder", "counted"]

Picture = np.ndarray | Path | str
"""RGB uint8 `h w 3`, or a file."""


class TextEncoder:
    """A `CLIPTextModelWithProjection` with its tokenizer."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer, self.model = tokenizer, model

    def too_long(self, text: str) -> int:
        """How many tokens of a text are beyond what the model reads."""
        length: int = len(self.tokenizer(text, truncation=False, verbose=False).input_ids)
        most: int = self.tokenizer.model_max_length
        return max(0, length - most)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of unit norm, float32 `b e` on the CPU."""
        most = self.tokenizer.model_max_length
        found = self.tokenizer(
            list(texts), padding="max_length", max_length=most, truncation=True, return_tensors="pt"
        )
        embeddings: Tensor = self.model(found.input_ids.to(self.model.device)).text_embeds
        return F.normalize(embeddings.float(), dim=1).cpu()


class ImageEncoder:
    """A `CLIPVisionModelWithProjection` with its image processor."""

    def __init__(self, processor: Any, model: Any) -> None:
        self.processor, self.model = processor, model

    @torch.no_grad()
    def embed(self, pictures: Iterable[Picture]) -> Tensor:
        """Embeddings as long as the model makes them, float32 `b e` on the CPU."""
        return torch.cat([self._embed(picture) for picture in pictures])

    def _embed(self, picture: Picture) -> Tensor:
        pixels = picture if isinstance(picture, np.ndarray) else read_image(Path(picture))
        found = self.processor(images=Image.fromarray(pixels), return_tensors="pt").pixel_values
        embedding: Tensor = self.model(found.to(self.model.device)).image_embeds
        return embedding.float().cpu()


class Prior:
    """A `PriorTransformer` that the library samples from: Karlo's and Kandinsky's go the same way."""

    steps = 25
    guidance = 4.0

    def __init__(self, prior: Any, scheduler: Any, text: TextEncoder, *, where: Path) -> None:
        """Put the parts together.

        Args:
            prior: the network.
            scheduler: its `UnCLIPScheduler`.
            text: what it reads.
            where: the folder that it is from.

        Raises:
            CheckpointError: its statistics were never measured, so that all that it draws is the same.
        """
        if not bool(prior.clip_std.all()):
            raise CheckpointError(
                "its prior has a deviation of 0 (clip_std), so that it draws the same for every text",
                where=where,
                do="measure the statistics of its training's embeddings and save it again",
            )
        with silenced():
            self.pipeline = KandinskyV22PriorPipeline(
                prior=prior,
                image_encoder=None,
                text_encoder=text.model,
                tokenizer=text.tokenizer,
                scheduler=scheduler,
                image_processor=None,
            )
        # The library sees an empty picture after each sampling. Not every folder has what sees, and once is enough.
        self.pipeline.get_zero_embed = lambda count, device: None

    @property
    def most_steps(self) -> int:
        """Of the sampler."""
        most: int = self.pipeline.scheduler.config.num_train_timesteps
        return most

    def draw(
        self, text: str, streams: Sequence[torch.Generator], *, steps: int, guidance: float, bar: DelayedBar
    ) -> Tensor:
        """Embeddings of pictures of a text, one a stream of noise: float32 `s e` on the CPU."""
        with counted(self.pipeline, bar):
            found: Tensor = self.pipeline(
                [text],
                num_images_per_prompt=len(streams),
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=list(streams),
            ).image_embeds
        return found.float().cpu()


class Painter(Protocol):
    """A decoder, and what enlarges or decodes what it makes."""

    steps: int
    """Of the decoder, where nothing else is asked for; the library's own."""
    guidance: float
    """Likewise."""
    fewest_steps: int
    reads_text: bool
    """Whether a text counts beside the embedding."""
    pipeline: Any

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""

    @property
    def most_steps(self) -> int:
        """Of the decoder."""

    def evaluations(self, steps: int) -> int:
        """How often a network is asked for one picture."""

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
        """A picture, float `h w 3` in 0 to 1, of an embedding `e` as long as its image encoder makes them."""


@dataclass(frozen=True)
class Parts:
    """A system, and the folder that is to be named when something is missing."""

    where: Path
    painter: Painter
    text: TextEncoder
    prior: Prior | None = None
    images: ImageEncoder | None = None


@contextmanager
def counted(pipeline: Any, bar: DelayedBar) -> Iterator[None]:
    """Let each step of a pipeline advance a bar, in place of the library's own bar and messages."""

    def steps(times: Iterable[Any]) -> Iterator[Any]:
        for time in times:
            yield time
            bar.advance()

    pipeline.progress_bar = steps
    try:
        with silenced():
            yield
    finally:
        del pipeline.progress_bar

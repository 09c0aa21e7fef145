"""Image encoders, frozen: the CLIP that ships, and vision towers in a folder of transformers.

Axes: n pictures, s states, i width of the features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from visionsmith.errors import ConfigError
from visionsmith.image.io import read_image
from visionsmith.memory.locks import opening, require_loaded
from visionsmith.papers.clip import Clip, normalise, resize_and_crop
from visionsmith.papers.clip import load as load_clip
from visionsmith.papers.ip_adapter.config import Variant
from visionsmith.papers.model_folder import find_folder

__all__ = ["ClipEncoder", "ImageEncoder", "Picture", "TowerEncoder", "open_encoder"]

BATCH = 64

Picture = np.ndarray | Path | str
"""RGB HWC uint8 [0, 255], or a file."""


class ImageEncoder(Protocol):
    """What turns pictures into the features that an adapter takes."""

    width: int
    """Of the features."""

    def encode(self, pictures: Iterable[Picture]) -> Tensor:
        """Features float32 on the CPU: of "base" `n i`, of the other variants `n s i`."""
        ...

    def nothing(self) -> Tensor:
        """Features that stand for no picture, of one row."""
        ...


class ClipEncoder:
    """The embeddings of a CLIP of this project, for the base variant.

    DIFFERS: published adapters take embeddings of any norm, whose elements are of about unit variance. Those of this
    project have unit norm, and are scaled by the root of their width to such elements.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.width: int = clip.model.config.embed_dim

    def encode(self, pictures: Iterable[Picture]) -> Tensor:
        """Embeddings `n i` float32."""
        return self.clip.encode_images(pictures) * math.sqrt(self.width)

    def nothing(self) -> Tensor:
        """The zero embedding, `1 i`; the projector still sees it."""
        return torch.zeros(1, self.width)


class TowerEncoder:
    """A `CLIPVisionModelWithProjection` of transformers: its embedding, or its last hidden states but one."""

    def __init__(self, tower: Any, variant: Variant) -> None:
        self.tower, self.variant = tower.eval().requires_grad_(False), variant
        self.width: int = tower.config.projection_dim if variant == "base" else tower.config.hidden_size

    def encode(self, pictures: Iterable[Picture]) -> Tensor:
        """Features `n i` or `n s i` float32; pictures are cut square in the middle, as published."""
        stream, size = iter(pictures), self.tower.config.image_size
        parts = [self._run(normalise(batch)) for batch in _batches(stream, size)]
        return torch.cat(parts) if parts else torch.empty(0, *self.nothing().shape[1:])

    def nothing(self) -> Tensor:
        """Of "base" the zero embedding; of the others the states of a picture that is zero after normalisation."""
        if self.variant == "base":
            return torch.zeros(1, self.width)
        return self._run(torch.zeros(1, 3, self.tower.config.image_size, self.tower.config.image_size))

    @torch.no_grad()
    def _run(self, pixels: Tensor) -> Tensor:
        found = self.tower(pixels.to(self.tower.device), output_hidden_states=self.variant != "base")
        features: Tensor = found.image_embeds if self.variant == "base" else found.hidden_states[-2]
        return features.float().cpu()


def _batches(stream: Iterator[Picture], size: int) -> Iterator[Tensor]:
    while part := list(islice(stream, BATCH)):
        squares = [resize_and_crop(_pixels(picture), size) for picture in part]
        yield torch.from_numpy(np.stack(squares))


def _pixels(picture: Picture) -> np.ndarray:
    return picture if isinstance(picture, np.ndarray) else read_image(Path(picture))


def open_encoder(source: str | None, variant: Variant, *, download: bool = False) -> ImageEncoder:
    """Open an image encoder.

    Args:
        source: a folder of transformers or a hub id; a checkpoint of this project's CLIP; None: the CLIP that ships.
        variant: of the adapter that it is for.
        download: whether a hub id that is not in the local cache may be fetched.

    Raises:
        ConfigError: a CLIP of this project, which gives no states, was asked for another variant than the base.
        CheckpointError: it cannot be opened.
    """
    from visionsmith.checkpoint import is_checkpoint

    if source is None or is_checkpoint(Path(source)):
        if variant != "base":
            raise ConfigError(
                f"a '{variant}' adapter reads hidden states, which a CLIP of this project does not give",
                do="name a vision tower in a folder of transformers with --encoder",
            )
        return ClipEncoder(load_clip(source))
    return TowerEncoder(_tower(find_folder(source, download=download)), variant)


def _tower(folder: Path) -> Any:
    from transformers import CLIPVisionModelWithProjection

    do = "give a folder that CLIPVisionModelWithProjection saved, with safetensors"
    with opening(folder, "CLIP vision tower", do=do):
        tower = CLIPVisionModelWithProjection.from_pretrained(
            folder, use_safetensors=True, local_files_only=True
        )
    require_loaded(tower, str(folder))
    return tower

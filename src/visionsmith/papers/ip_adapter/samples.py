"""The pictures' features, computed once and kept, and the samples that an adapter learns from.

The prompt is the picture itself, as published: no augmented view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.kept import compute_once
from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.image.io import decode
from visionsmith.papers.clip import reword
from visionsmith.papers.ip_adapter.config import DropConfig
from visionsmith.papers.ip_adapter.encoder import ImageEncoder
from visionsmith.papers.ip_adapter.objective import dropped

__all__ = ["PromptCollate", "PromptSample", "PromptSamples", "features_of"]

BATCH = 64


def features_of(
    encoder: ImageEncoder,
    store: RecordStore,
    records: Sequence[int],
    file: Path | None = None,
    *,
    progress: bool = False,
) -> Tensor:
    """Features of the records' pictures, float32 `n i` or `n s i`.

    Args:
        encoder: frozen.
        store: of the pictures.
        records: which.
        file: where they are kept, a safetensors file; None: nowhere.
        progress: whether to show a bar.
    """

    def compute(part: Sequence[int]) -> dict[str, Tensor]:
        pictures = (decode(store[index].image, where=f"{store.path}[{index}]") for index in part)
        return {"features": encoder.encode(pictures)}

    return compute_once(
        records,
        compute,
        title="image features",
        batch=BATCH,
        file=file,
        # Another encoder's would have another width.
        mark=torch.tensor([encoder.width, *records]),
        progress=progress,
    )["features"]


class PromptSample(NamedTuple):
    """One picture with its text."""

    latents: Tensor
    """Scaled, `c i j`."""
    features: Tensor
    """`i` or `s i`."""
    caption: str


class PromptSamples(Dataset[PromptSample]):
    """`dataset[(epoch, index)]` -> a sample, its picture or its text at times dropped."""

    def __init__(
        self,
        store: RecordStore,
        latents: Tensor,
        features: Tensor,
        nothing: Tensor,
        records: Sequence[int],
        *,
        drop: DropConfig,
        reword: float,
        seed: int,
    ) -> None:
        """Make it.

        Args:
            store: of the captions.
            latents: of the records, in their order.
            features: likewise.
            nothing: features of one row that take the place of a dropped picture's.
            records: which.
            drop: how often what is dropped.
            reword: chance that a caption is said in other words.
            seed: of both.
        """
        self.store, self.latents, self.features, self.nothing = store, latents, features, nothing[0]
        self.place = {index: place for place, index in enumerate(records)}
        self.drop, self.reword, self.seed = drop, reword, seed

    def __getitem__(self, key: Key) -> PromptSample:
        record, place = self.store[key[1]], self.place[key[1]]
        rng = generator(self.seed, *key)
        without_picture, without_text = dropped(rng.random(), self.drop)
        caption = record.caption
        if rng.random() < self.reword:
            caption = reword(caption, record.meta, rng)
        return PromptSample(
            self.latents[place],
            self.nothing if without_picture else self.features[place],
            "" if without_text else caption,
        )


class PromptCollate:
    """A list of samples -> {"latents": `b c i j`, "features": `b i` or `b s i`, "tokens": int64 `b n`}."""

    def __init__(self, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self.tokenize = tokenize

    def __call__(self, samples: Sequence[PromptSample]) -> dict[str, Tensor]:
        """See the class."""
        return {
            "latents": torch.from_numpy(np.stack([sample.latents.numpy() for sample in samples])),
            "features": torch.from_numpy(np.stack([sample.features.numpy() for sample in samples])),
            "tokens": self.tokenize([sample.caption for sample in samples]),
        }

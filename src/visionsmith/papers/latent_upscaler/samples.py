"""Pictures and their halves, the latents of both, computed once and kept, and the samples to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.kept import compute_once
from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.papers.latent_diffusion import encode, some_pictures

__all__ = ["UpscalingCollate", "UpscalingPairs", "halved", "pairs_of"]

Sample = tuple[Tensor, Tensor, str]
BATCH = 64
"""Pictures that are encoded at a time."""


def halved(images: np.ndarray) -> np.ndarray:
    """Pictures of half the sides, uint8 `b h/2 w/2 3`: means of 2 x 2 pixels, the one degradation meant here."""
    height, width = images.shape[1:3]
    return np.stack(
        [cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for image in images]
    )


def pairs_of(
    autoencoder: Any,
    store: RecordStore,
    records: Sequence[int],
    size: int,
    file: Path | None = None,
    *,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """Scaled latents of the halves, float32 `n c i/2 j/2`, and of the records' pictures, `n c i j`.

    Args:
        autoencoder: an `AutoencoderKL`, frozen.
        store: of the pictures.
        records: which.
        size: side of the pictures, pixels; the halves have half of it.
        file: where they are kept, a safetensors file; None: nowhere.
        progress: whether to show a bar.
    """

    def compute(part: Sequence[int]) -> dict[str, Tensor]:
        pictures = some_pictures(store, part, size, len(part))
        low = torch.from_numpy(halved(pictures.numpy()))
        return {"low": encode(autoencoder, low), "high": encode(autoencoder, pictures)}

    found = compute_once(
        records,
        compute,
        title="latents",
        batch=BATCH,
        file=file,
        mark=torch.tensor(list(records)),
        progress=progress,
    )
    return found["low"], found["high"]


class UpscalingPairs(Dataset[Sample]):
    """`dataset[(epoch, index)]` -> (small latents `c i/2 j/2`, latents `c i j`, caption, at times left out)."""

    def __init__(
        self,
        store: RecordStore,
        latents: tuple[Tensor, Tensor],
        records: Sequence[int],
        *,
        drop_text: float,
        seed: int,
    ) -> None:
        self.store, self.latents = store, latents
        self.place = {index: place for place, index in enumerate(records)}
        self.drop_text, self.seed = drop_text, seed

    def __getitem__(self, key: Key) -> Sample:
        place = self.place[key[1]]
        dropped = generator(self.seed, *key).random() < self.drop_text
        low, high = self.latents
        return low[place], high[place], "" if dropped else self.store[key[1]].caption


class UpscalingCollate:
    """A list of samples -> {"low": float32 `b c i/2 j/2`, "high": float32 `b c i j`, "tokens": int64 `b n`}."""

    def __init__(self, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self.tokenize = tokenize

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """See the class."""
        return {
            "low": torch.from_numpy(np.stack([low.numpy() for low, _, _ in samples])),
            "high": torch.from_numpy(np.stack([high.numpy() for _, high, _ in samples])),
            "tokens": self.tokenize([caption for _, _, caption in samples]),
        }

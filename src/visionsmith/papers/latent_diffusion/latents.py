"""The latents of every picture, computed once and kept, and the samples that a denoiser learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.kept import compute_once
from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.papers.clip import reword
from visionsmith.papers.latent_diffusion.autoencoder import BATCH, encode
from visionsmith.papers.latent_diffusion.pictures import Pictures, picture_batch

__all__ = ["LatentPairs", "PairCollate", "latents_of"]

Pair = tuple[Tensor, str]


def latents_of(
    autoencoder: AutoencoderKL,
    store: RecordStore,
    records: Sequence[int],
    size: int,
    file: Path | None = None,
    *,
    progress: bool = False,
) -> Tensor:
    """Scaled latents of the records' pictures: float32 `n c i j`.

    Args:
        autoencoder: frozen.
        store: of the pictures.
        records: which.
        size: side of the pictures, pixels.
        file: where they are kept, a safetensors file; None: nowhere.
        progress: whether to show a bar.
    """
    pictures = Pictures(store, size)

    def compute(part: Sequence[int]) -> dict[str, Tensor]:
        images = picture_batch([pictures[0, index] for index in part])["images"]
        return {"latents": encode(autoencoder, images)}

    return compute_once(
        records,
        compute,
        title="latents",
        batch=BATCH,
        file=file,
        mark=torch.tensor(list(records)),
        progress=progress,
    )["latents"]


class LatentPairs(Dataset[Pair]):
    """`dataset[(epoch, index)]` -> (scaled latents `c i j` of the picture, its caption).

    The caption is at times said in other words, and at times left out.
    """

    def __init__(
        self,
        store: RecordStore,
        latents: Tensor,
        records: Sequence[int],
        *,
        reword: float,
        drop_text: float,
        seed: int,
    ) -> None:
        self.store, self.latents = store, latents
        self.place = {index: place for place, index in enumerate(records)}
        self.reword, self.drop_text, self.seed = reword, drop_text, seed

    def __getitem__(self, key: Key) -> Pair:
        record = self.store[key[1]]
        rng = generator(self.seed, *key)
        caption = record.caption
        if rng.random() < self.reword:
            caption = reword(caption, record.meta, rng)
        if rng.random() < self.drop_text:
            caption = ""
        return self.latents[self.place[key[1]]], caption


class PairCollate:
    """A list of pairs -> {"latents": float32 `b c i j`, "tokens": int64 `b n`, n the context}."""

    def __init__(self, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self.tokenize = tokenize

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """See the class."""
        return {
            "latents": torch.from_numpy(np.stack([latents.numpy() for latents, _ in pairs])),
            "tokens": self.tokenize([caption for _, caption in pairs]),
        }

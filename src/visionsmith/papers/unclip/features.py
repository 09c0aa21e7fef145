"""The pictures' CLIP embeddings, computed once and kept, and the samples that a prior learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.kept import compute_once
from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.image.io import decode
from visionsmith.papers.clip import Clip, reword

__all__ = ["EmbeddingPairs", "PairCollate", "embeddings_of"]

BATCH = 256
Pair = tuple[Tensor, str]


def embeddings_of(
    clip: Clip, store: RecordStore, file: Path | None = None, *, progress: bool = False
) -> Tensor:
    """Unit-norm embeddings of every picture of a store: float32 `n e`.

    Args:
        clip: frozen.
        store: of the pictures.
        file: where they are kept, a safetensors file; None: nowhere.
        progress: whether to show a bar.
    """

    def compute(part: Sequence[int]) -> dict[str, Tensor]:
        images = [decode(store[place].image, where=f"{store.path}[{place}]") for place in part]
        return {"images": clip.encode_images(images)}

    places = range(len(store))
    return compute_once(
        places,
        compute,
        title="embeddings",
        batch=BATCH,
        file=file,
        mark=torch.tensor(places),
        progress=progress,
    )["images"]


class EmbeddingPairs(Dataset[Pair]):
    """`dataset[(epoch, index)]` -> (embedding of the picture `e`, its caption, at times in other words or left out)."""

    def __init__(
        self, store: RecordStore, embeddings: Tensor, *, reword: float, drop_text: float, seed: int
    ) -> None:
        self.store, self.embeddings = store, embeddings
        self.reword, self.drop_text, self.seed = reword, drop_text, seed

    def __getitem__(self, key: Key) -> Pair:
        record = self.store[key[1]]
        rng = generator(self.seed, *key)
        caption = record.caption
        if rng.random() < self.reword:
            caption = reword(caption, record.meta, rng)
        if rng.random() < self.drop_text:
            caption = ""
        return self.embeddings[key[1]], caption


class PairCollate:
    """A list of pairs -> {"images": float32 `b e`, "tokens": int64 `b n`, n the context}."""

    def __init__(self, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self.tokenize = tokenize

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """See the class."""
        return {
            "images": torch.stack([embedding for embedding, _ in pairs]),
            "tokens": self.tokenize([caption for _, caption in pairs]),
        }


class WithLatents(Dataset[tuple[Tensor, Tensor, str]]):
    """`dataset[(epoch, index)]` -> (scaled latents `c i j`, embedding `e`, caption) of a record."""

    def __init__(self, pairs: EmbeddingPairs, latents: Tensor, records: Sequence[int]) -> None:
        self.pairs, self.latents = pairs, latents
        self.place = {index: place for place, index in enumerate(records)}

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor, str]:
        return (self.latents[self.place[key[1]]], *self.pairs[key])


class DecoderCollate:
    """Samples of `WithLatents` -> "latents" float32 `b c i j`, "images" float32 `b e`, "tokens" int64 `b n`."""

    def __init__(self, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self.pairs = PairCollate(tokenize)

    def __call__(self, samples: Sequence[tuple[Tensor, Tensor, str]]) -> dict[str, Tensor]:
        """See the class."""
        latents = torch.stack([latents for latents, _, _ in samples])
        return {"latents": latents, **self.pairs([(embedding, caption) for _, embedding, caption in samples])}

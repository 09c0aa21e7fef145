"""Pictures of a store at one size, for the autoencoder and for the latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.image.io import decode
from visionsmith.papers.clip import resize_and_crop

__all__ = ["Pictures", "picture_batch", "some_pictures"]


class Pictures(Dataset[np.ndarray]):
    """`dataset[(epoch, index)]` -> a record's picture, RGB uint8 (size, size, 3), at times mirrored."""

    def __init__(self, store: RecordStore, size: int, *, mirror: float = 0.0, seed: int = 0) -> None:
        """Make it.

        Args:
            store: of pictures.
            size: side, pixels; other pictures are scaled, and cut square in the middle.
            mirror: chance that left and right are exchanged.
            seed: of the chance.
        """
        self.store, self.size, self.mirror, self.seed = store, size, mirror, seed

    def __getitem__(self, key: Key) -> np.ndarray:
        image = decode(self.store[key[1]].image, where=f"{self.store.path}[{key[1]}]")
        if image.shape[:2] != (self.size, self.size):
            image = resize_and_crop(image, self.size)
        if self.mirror and generator(self.seed, *key).random() < self.mirror:
            image = np.ascontiguousarray(image[:, ::-1])
        return image


def picture_batch(pictures: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """A list of pictures -> {"images": uint8 (b, h, w, 3)}."""
    return {"images": torch.from_numpy(np.stack(pictures))}


def some_pictures(store: RecordStore, indices: Sequence[int], size: int, count: int) -> Tensor:
    """At most `count` of the records' pictures, evenly spread: uint8 (n, size, size, 3)."""
    few = count < len(indices)
    shown = [indices[place * len(indices) // count] for place in range(count)] if few else indices
    dataset = Pictures(store, size)
    return picture_batch([dataset[0, index] for index in shown])["images"]

"""A typical picture pipeline for training: read, decode, crop at random, collate. What `advise` measures.

Axes: b pictures, h/w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.image.augment import random_square_crop
from visionsmith.image.io import decode

__all__ = ["PictureDataset", "Row", "collate"]

Row = tuple[int, np.ndarray, float]
"""Record number, picture uint8 (size, size, 3) RGB, and the next number of the sample's random stream."""


class PictureDataset(Dataset[Row]):
    """`dataset[(epoch, index)]` -> one `Row`. The three stages are methods, so that each can be timed alone."""

    def __init__(self, store: RecordStore, size: int, seed: int = 0) -> None:
        self.store, self.size, self.seed = store, size, seed

    def __getitem__(self, key: Key) -> Row:
        index = key[1]
        return self.augment(self.decode(self.read(index), index), key)

    def read(self, index: int) -> bytes:
        """The encoded picture, compared with its checksum."""
        return self.store[index].image

    def decode(self, content: bytes, index: int) -> np.ndarray:
        """The picture as HWC uint8 RGB.

        Raises:
            DataError: it is damaged.
        """
        return decode(content, where=f"{self.store.path}[{index}]")

    def augment(self, image: np.ndarray, key: Key) -> Row:
        """The random crop, resized."""
        rng = generator(self.seed, *key)
        return key[1], random_square_crop(image, rng, self.size), float(rng.random())


def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
    """A list of rows -> {"index": int64 (b,), "images": uint8 (b, h, w, 3), "draw": float64 (b,)}."""
    indices, images, draws = zip(*rows, strict=True)
    return {
        "index": torch.tensor(indices, dtype=torch.int64),
        "images": torch.from_numpy(np.stack(images)),
        "draw": torch.tensor(draws, dtype=torch.float64),
    }

"""Training pairs from a record store: picture and caption, every random choice from (seed, epoch, index)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import Key, generator
from visionsmith.image.augment import random_affine, random_square_crop
from visionsmith.image.io import decode
from visionsmith.papers.clip.captions import reword
from visionsmith.papers.clip.preprocess import resize_and_crop
from visionsmith.papers.clip.prompts import PHRASES
from visionsmith.papers.clip.recipes import AugmentConfig
from visionsmith.papers.clip.tokenizer import ClipTokenizer

__all__ = ["PairCollate", "PairDataset", "subject_groups"]

Pair = tuple[np.ndarray, str]


class PairDataset(Dataset[Pair]):
    """`dataset[(epoch, index)]` -> (picture uint8 (size, size, 3) RGB, caption)."""

    def __init__(self, store: RecordStore, size: int, augment: AugmentConfig, seed: int) -> None:
        self.store, self.size, self.augment, self.seed = store, size, augment, seed

    def __getitem__(self, key: Key) -> Pair:
        epoch, index = key
        record = self.store[index]
        rng = generator(self.seed, epoch, index)
        image = decode(record.image, where=f"{self.store.path}[{index}]")
        augment = self.augment
        if augment.crop is not None:
            image = random_square_crop(image, rng, self.size, augment.crop)
        elif image.shape[:2] != (self.size, self.size):
            image = resize_and_crop(image, self.size)
        if augment.degrees or augment.shift or augment.scale != (1.0, 1.0):
            image = random_affine(
                image, rng, degrees=augment.degrees, shift=augment.shift, scale=augment.scale
            )
        caption = record.caption
        if rng.random() < augment.reword:
            caption = reword(caption, record.meta, rng)
        if rng.random() < augment.phrase:
            caption = PHRASES[rng.integers(len(PHRASES))].format(caption)
        return image, caption


class PairCollate:
    """A list of pairs -> {"images": uint8 (b, h, w, 3), "tokens": int64 (b, n)}, n the longest caption of the batch."""

    def __init__(self, tokenizer: ClipTokenizer) -> None:
        self.tokenizer = tokenizer

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Tensor]:
        """See the class."""
        images = torch.from_numpy(np.stack([image for image, _ in pairs]))
        return {"images": images, "tokens": self.tokenizer.encode([caption for _, caption in pairs])}


_DETAIL = re.compile(r",.*|^(man|woman|person|men|women|people) (?=\S)")


def subject_groups(store: RecordStore, indices: Sequence[int]) -> list[list[int]]:
    """The records grouped by what they show: by the factor "subject" where records have it, else by the caption's head.

    Args:
        store: of pairs.
        indices: the records to group.
    """
    groups: dict[Any, list[int]] = defaultdict(list)
    for index in indices:
        record = store[index]
        subject = record.meta.get("subject") or _DETAIL.sub("", record.caption).strip() or record.caption
        groups[subject].append(index)
    return list(groups.values())

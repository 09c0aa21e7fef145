"""Training batches: as many real as forged pictures in each, every random choice from (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.face_forensics import ForgerySet
from visionsmith.data.sampler import Key, generator
from visionsmith.errors import ConfigError
from visionsmith.image.augment import horizontal_flip
from visionsmith.image.io import decode
from visionsmith.papers.f3net.detector import to_square

__all__ = ["BalancedBatches", "FrameDataset", "collate"]

Labelled = tuple[np.ndarray, bool]


class BalancedBatches:
    """Half of each batch is real, half is forged; see `data.sampler.BatchPlan`.

    An epoch shows each picture of the larger kind at most once; the smaller kind is drawn in as many rounds as that
    takes.
    """

    def __init__(self, real: Sequence[int], forged: Sequence[int], batch_size: int, seed: int) -> None:
        if batch_size < 2 or batch_size % 2:
            raise ConfigError(f"batch_size = {batch_size} has no two halves", do="choose an even number")
        self.kinds = [np.asarray(kind, dtype=np.int64) for kind in (real, forged)]
        if max(map(len, self.kinds)) < batch_size // 2:
            raise ConfigError(
                f"batch_size = {batch_size} is larger than the {len(real)} real and {len(forged)} forged pictures",
                do=f"set batch_size to at most {2 * max(map(len, self.kinds))}",
            )
        self.batch_size, self.seed = batch_size, seed

    def __len__(self) -> int:
        return max(map(len, self.kinds)) // (self.batch_size // 2)

    def epoch(self, epoch: int) -> np.ndarray:
        """See `BatchPlan.epoch`."""
        rng = np.random.default_rng((self.seed, epoch))
        half = self.batch_size // 2
        halves = []
        for kind in self.kinds:
            rounds = -(-len(self) * half // len(kind))
            drawn = np.concatenate([rng.permutation(kind) for _ in range(rounds)])
            halves.append(drawn[: len(self) * half].reshape(len(self), half))
        # In turns, so that the rows of any process or micro-batch are balanced too.
        return np.stack(halves, axis=2).reshape(len(self), self.batch_size)


class FrameDataset(Dataset[Labelled]):
    """`dataset[(epoch, index)]` -> (picture uint8 (size, size, 3) RGB, whether it is forged), flipped at random."""

    def __init__(self, data: ForgerySet, size: int, seed: int) -> None:
        self.data, self.size, self.seed = data, size, seed

    def __getitem__(self, key: Key) -> Labelled:
        epoch, index = key
        image = to_square(decode(self.data.store[index].image, where=f"{self.data.name}[{index}]"), self.size)
        image = horizontal_flip(image, generator(self.seed, epoch, index))
        return image, bool(self.data.forged[index])


def collate(frames: Sequence[Labelled]) -> dict[str, Tensor]:
    """{"images": uint8 (b, h, w, 3), "forged": float32 (b,)}."""
    images = torch.from_numpy(np.stack([image for image, _ in frames]))
    return {"images": images, "forged": torch.tensor([float(forged) for _, forged in frames])}

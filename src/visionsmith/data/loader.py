"""From planned batches to tensors: workers that change nothing but the speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from visionsmith.data.sampler import RankBatches

__all__ = ["loader"]


def loader(
    dataset: Dataset[Any],
    batches: RankBatches,
    collate: Callable[[Sequence[Any]], dict[str, torch.Tensor]],
    *,
    workers: int = 0,
    pin: bool = False,
) -> DataLoader[Any]:
    """A loader over (epoch, index) keys.

    Order and content are the same at any number of workers, because every random choice of a sample comes from its key.

    Args:
        dataset: answers `dataset[(epoch, index)]` with one sample.
        batches: this process's batches.
        collate: a list of samples -> a batch of tensors.
        workers: worker processes; 0 loads in this process.
        pin: whether to place batches in pinned memory, for faster copies to a GPU.
    """
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        # A worker's own generator is never used; without this, building the loader would draw from the global one and
        # a resumed run would no longer be equal bit for bit.
        generator=torch.Generator().manual_seed(0),
    )

"""From planned batches to tensors: workers that change nothing but the speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from visionsmith.data.sampler import RankBatches
from visionsmith.errors import DataError

__all__ = ["loader", "worker_errors"]


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


@contextmanager
def worker_errors() -> Iterator[None]:
    """Round `next` of a loader: say in one sentence what stopped a worker.

    Raises:
        DataError: with the reason alone, where torch wrapped it into the text of the worker's traceback.
    """
    try:
        yield
    except DataError as error:
        if "Traceback" not in error.what:
            raise
        # The last line is the error's own.
        reason = error.what.rstrip(". \n").splitlines()[-1].partition(": ")[2]
        raise DataError(
            f"a worker stopped: {reason}", do="see all with `visionsmith data inspect`"
        ) from error

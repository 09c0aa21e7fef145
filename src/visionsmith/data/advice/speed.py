"""Samples a second through the project's loader, by number of workers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from visionsmith.data.advice.pictures import collate
from visionsmith.data.loader import loader, worker_errors
from visionsmith.data.sampler import RankBatches, ShuffledBatches

__all__ = ["CLOSE_ENOUGH", "Speed", "fewest_workers", "measure_speed", "quiet_loading"]

CLOSE_ENOUGH = 0.95
"""Share of the best speed at which fewer workers are preferred."""


@dataclass(frozen=True)
class Speed:
    """What one number of workers gave."""

    workers: int
    samples_per_second: float
    start_seconds: float
    """Until the first batch was there, once a run."""


def measure_speed(
    dataset: Dataset[Any], indices: Sequence[int], *, workers: int, rows: int, seconds: float
) -> Speed:
    """Load batches and throw them away.

    Counted from the moment when every worker has delivered once, in whole rounds of the workers, so that neither
    their start nor what they had prepared beforehand counts.

    Args:
        dataset: answers keys with rows that `pictures.collate` takes.
        indices: the records.
        workers: loader processes.
        rows: samples of a batch.
        seconds: about how long; one round at least.

    Raises:
        DataError: a picture is damaged.
    """
    round_length = max(1, workers)
    with quiet_loading():
        begun = time.perf_counter()
        batches = iter(
            loader(dataset, RankBatches(ShuffledBatches(indices, rows, 0)), collate, workers=workers)
        )
        next(batches)
        start_seconds = time.perf_counter() - begun
        for _ in range(round_length - 1):
            next(batches)
        start, done = time.perf_counter(), 0
        while True:
            for _ in range(round_length):
                next(batches)
            done += round_length
            elapsed = time.perf_counter() - start
            if elapsed >= seconds:
                return Speed(workers, done * rows / elapsed, start_seconds)


def fewest_workers(speeds: Sequence[Speed]) -> Speed:
    """The smallest number of workers whose speed is within 5 % of the best."""
    best = max(speed.samples_per_second for speed in speeds)
    close = [speed for speed in speeds if speed.samples_per_second >= CLOSE_ENOUGH * best]
    return min(close, key=lambda speed: speed.workers)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """`worker_errors`, without torch's warning of more workers than cores: the advice says how many help."""
    with warnings.catch_warnings(), worker_errors():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield

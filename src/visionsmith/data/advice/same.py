"""Whether order and content are the same at any number of workers: compared, not assumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.advice.speed import quiet_loading
from visionsmith.data.loader import loader
from visionsmith.data.sampler import BatchPlan, RankBatches

__all__ = ["Sameness", "compare"]


@dataclass(frozen=True)
class Sameness:
    """What the same positions of training held without workers and with some."""

    workers: int
    samples: int
    """Positions that were compared."""
    differing: list[int]
    """Positions whose content differs; empty when all is well."""
    streams: int
    """Different random numbers that the samples drew in the workers; as many as samples when all is well."""


def compare(
    dataset: Dataset[Any],
    plan: BatchPlan,
    collate: Callable[[Sequence[Any]], dict[str, Tensor]],
    *,
    workers: int,
    batches: int,
) -> Sameness:
    """Load the same batches in this process and in workers, and compare a digest of every sample.

    Args:
        dataset: answers keys with samples.
        plan: of the batches.
        collate: samples -> tensors with a first axis of samples; "draw" is one random number a sample.
        workers: loader processes, at least one.
        batches: how many to compare.

    Raises:
        DataError: a picture is damaged.
    """
    assert workers >= 1, "without workers there is nothing to compare"
    alone, _ = _load(dataset, plan, collate, 0, batches)
    shared, draws = _load(dataset, plan, collate, workers, batches)
    differing = [place for place, (one, other) in enumerate(zip(alone, shared, strict=True)) if one != other]
    return Sameness(workers, len(alone), differing, len(set(draws)))


def _load(
    dataset: Dataset[Any],
    plan: BatchPlan,
    collate: Callable[[Sequence[Any]], dict[str, Tensor]],
    workers: int,
    batches: int,
) -> tuple[list[bytes], list[float]]:
    """A digest of every sample, in order, and what each drew."""
    digests: list[bytes] = []
    draws: list[float] = []
    with quiet_loading():
        for batch in islice(loader(dataset, RankBatches(plan), collate, workers=workers), batches):
            for row in range(plan.batch_size):
                digest = hashlib.blake2b(digest_size=16)
                for name in sorted(batch):
                    digest.update(batch[name][row].numpy().tobytes())
                digests.append(digest.digest())
            draws += batch["draw"].tolist()
    return digests, draws

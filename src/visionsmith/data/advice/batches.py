"""The last batch of an epoch: its size, what it does to a model, and what dropping it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from visionsmith.data.advice.classes import Pictures
from visionsmith.data.sampler import BatchPlan

__all__ = ["Dropped", "LastBatch", "batch_norm_error", "dropped", "last_batch", "neighbours"]

_REACH = 0.25
"""How far from the wanted batch size others are looked for, as a share of it."""
_NAMED = 3


@dataclass(frozen=True)
class LastBatch:
    """The batch that is left over when an epoch is cut into batches, if it is kept."""

    full: int
    """Full batches of an epoch."""
    size: int
    """Samples of the last one; 0 when the batches come out even."""
    weight: float | None
    """How much more each of its samples counts in a step, and in BatchNorm's running statistics, than one of a full
    batch: batch size / size."""
    noise: float | None
    """How much more its mean scatters than that of a full batch: the square root of `weight`."""
    error: str | None
    """What torch's BatchNorm says to it in training, where it refuses it."""
    loss_at_chance: float | None
    """Contrastive loss of a model that knows nothing, ln(size); with one sample it is 0, and so is its gradient."""
    full_loss_at_chance: float
    """The same for a full batch."""


@dataclass(frozen=True)
class Dropped:
    """What is not seen when the last batch is dropped."""

    samples: int
    """In each epoch."""
    share: float
    never_expected: float
    """Samples that no epoch has seen, after all of them, when each is shuffled anew."""
    never_measured: int
    """The same in the batches of the project's sampler."""
    by_class: list[dict[str, Any]]
    """Without classes empty; else for each, the one that loses the largest share at the end of the data first:
    "class", "pictures", "expected" (lost in an epoch that is shuffled), "at_the_end" (lost in every epoch that is
    not)."""


def last_batch(records: int, batch_size: int) -> LastBatch:
    """What cutting `records` into batches of `batch_size` leaves over."""
    full, size = divmod(records, batch_size)
    return LastBatch(
        full=full,
        size=size,
        weight=batch_size / size if size else None,
        noise=math.sqrt(batch_size / size) if size else None,
        error=batch_norm_error(size) if size else None,
        loss_at_chance=math.log(size) if size else None,
        full_loss_at_chance=math.log(batch_size),
    )


def batch_norm_error(size: int) -> str | None:
    """What torch says to a batch of `size` vectors in a BatchNorm that trains; None where it takes it."""
    try:
        torch.nn.BatchNorm1d(1)(torch.zeros(size, 1))
    except ValueError as error:
        return str(error)
    return None


def dropped(plan: BatchPlan, pictures: Pictures, epochs: int) -> Dropped:
    """Count what the last batch takes with it.

    Args:
        plan: batches of positions in `pictures`; the incomplete one is left out.
        pictures: with or without classes.
        epochs: how many to look at.
    """
    total = len(pictures.indices)
    rest = total - len(plan) * plan.batch_size
    seen = np.zeros(total, dtype=bool)
    for epoch in range(epochs):
        seen[plan.epoch(epoch)] = True
    by_class = []
    if pictures.codes is not None:
        names, counts = pictures.names, np.bincount(pictures.codes)
        tail = np.bincount(pictures.codes[total - rest :], minlength=len(names))
        for code in sorted(range(len(names)), key=lambda code: (-tail[code] / counts[code], names[code])):
            by_class.append(
                {
                    "class": names[code],
                    "pictures": int(counts[code]),
                    "expected": float(counts[code] * rest / total),
                    "at_the_end": int(tail[code]),
                }
            )
    return Dropped(
        samples=rest,
        share=rest / total,
        never_expected=total * (rest / total) ** epochs,
        never_measured=int((~seen).sum()),
        by_class=by_class,
    )


def neighbours(records: int, batch_size: int) -> list[tuple[int, int]]:
    """Batch sizes within a quarter of the wanted one that leave least over, with what they leave.

    Of those that leave equally much the nearest comes first; three at most, none that is not better.
    """
    low, high = math.ceil(batch_size * (1 - _REACH)), min(records, math.floor(batch_size * (1 + _REACH)))
    sizes = sorted(
        range(max(1, low), high + 1), key=lambda size: (records % size, abs(size - batch_size), size)
    )
    better = [(size, records % size) for size in sizes if records % size < records % batch_size]
    return better[:_NAMED]

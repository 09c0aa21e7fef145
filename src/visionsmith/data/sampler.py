"""Which records make which batch: a function of (seed, epoch) alone.

The plan of an epoch is the same at any number of workers and processes; a process takes its own rows of each global
batch. Since the plan depends on nothing else, a position in training is one number, the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import Protocol, runtime_checkable

import numpy as np
from torch.utils.data import Sampler

from visionsmith.errors import ConfigError

__all__ = [
    "BatchPlan",
    "GroupedBatches",
    "Key",
    "OrderedBatches",
    "RankBatches",
    "ShuffledBatches",
    "VaryingPlan",
    "batch_rows",
    "generator",
]

Key = tuple[int, int]
"""(epoch, index): what a data set needs to make one sample, augmentation included."""


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random stream of one sample in one epoch, independent of every other."""
    return np.random.default_rng((seed, epoch, index))


class BatchPlan(Protocol):
    """Global batches of an epoch.

    Every epoch has the same number of batches, all of the same size, unless the plan is a `VaryingPlan`.
    """

    batch_size: int

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int) -> np.ndarray:
        """Record indices of one epoch: int64 (batches, batch_size)."""


@runtime_checkable
class VaryingPlan(BatchPlan, Protocol):
    """A plan whose batches are of several sizes, and whose epochs have more batches or fewer.

    `epoch` gives the rows of all its batches in one: int64 (rows,). `batch_size` and the length are nominal.
    """

    batch_sizes: tuple[int, ...]
    """Every number of rows that a batch may have."""

    def lengths(self, epoch: int) -> Sequence[int]:
        """Rows of each batch of one epoch."""

    def marks(self, epoch: int) -> Sequence[tuple[int, ...]]:
        """For each batch of one epoch: what its keys carry after (epoch, index)."""


class ShuffledBatches:
    """Every record at most once an epoch, in a new order each epoch; the last incomplete batch is dropped."""

    def __init__(self, indices: Sequence[int], batch_size: int, seed: int) -> None:
        _require_batch(len(indices), batch_size)
        self.indices = np.asarray(indices, dtype=np.int64)
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.indices) // self.batch_size

    def epoch(self, epoch: int) -> np.ndarray:
        """See `BatchPlan.epoch`."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.indices)
        return order[: len(self) * self.batch_size].reshape(len(self), self.batch_size)


class OrderedBatches:
    """Records in their order, in every epoch; the last incomplete batch is dropped.

    For data that are made while they are used, each epoch's anew: there is nothing to shuffle, and the place of a
    record says in which batch it is.
    """

    def __init__(self, count: int, batch_size: int) -> None:
        _require_batch(count, batch_size)
        self.count, self.batch_size = count, batch_size

    def __len__(self) -> int:
        return self.count // self.batch_size

    def epoch(self, epoch: int) -> np.ndarray:
        """See `BatchPlan.epoch`."""
        return np.arange(len(self) * self.batch_size).reshape(len(self), self.batch_size)


class GroupedBatches:
    """Shuffled batches in which a share of the rows comes in groups of like records.

    Like records in one batch are each other's hard negatives, which a contrastive loss learns fine distinctions from.
    No record occurs twice in a batch.
    """

    def __init__(
        self, groups: Sequence[Sequence[int]], batch_size: int, seed: int, *, share: float, take: int = 16
    ) -> None:
        """Make the plan.

        Args:
            groups: a partition of the records; groups of one are drawn as single records only.
            batch_size: rows of a global batch.
            seed: of the order.
            share: of the rows that come in groups, 0 to 1 (1 excluded).
            take: most records of one group in one draw.
        """
        if not 0 <= share < 1:
            raise ConfigError(f"share of grouped rows = {share} is out of range", do="choose 0 <= share < 1")
        self.groups = [np.asarray(group, dtype=np.int64) for group in groups]
        self.indices = np.concatenate(self.groups)
        _require_batch(len(self.indices), batch_size)
        self.batch_size = batch_size
        self.seed = seed
        self.take = take
        self.singles = batch_size - int(batch_size * share)

    def __len__(self) -> int:
        return max(1, len(self.indices) // self.batch_size)

    def epoch(self, epoch: int) -> np.ndarray:
        """See `BatchPlan.epoch`."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(self.indices)
        large = [group for group in self.groups if len(group) > 1]
        weights = np.array([len(group) for group in large], dtype=float)
        weights /= max(weights.sum(), 1)
        rows = []
        for batch in range(len(self)):
            singles = order[batch * self.singles : (batch + 1) * self.singles]
            rows.append(self._fill(list(singles), order, large, weights, rng))
        return np.asarray(rows, dtype=np.int64)

    def _fill(
        self,
        batch: list[int],
        order: np.ndarray,
        large: list[np.ndarray],
        weights: np.ndarray,
        rng: np.random.Generator,
    ) -> list[int]:
        present = set(batch)
        attempts = 0
        while len(batch) < self.batch_size and large and attempts < 50 * self.batch_size:
            attempts += 1
            group = large[rng.choice(len(large), p=weights)]
            for index in rng.permutation(group)[: self.take]:
                if len(batch) < self.batch_size and index not in present:
                    batch.append(index)
                    present.add(index)
        # Small data sets: the groups may run out before the batch is full.
        batch.extend([index for index in order if index not in present][: self.batch_size - len(batch)])
        return batch


class RankBatches(Sampler[list[tuple[int, ...]]]):
    """A DataLoader's batch sampler: one process's rows of the planned batches from a step on, without end.

    A key is (epoch, index), followed by the batch's mark where the plan is a `VaryingPlan`.
    """

    def __init__(
        self,
        plan: BatchPlan,
        *,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
    ) -> None:
        """Make the sampler.

        Args:
            plan: the global batches.
            start_step: how many global batches have been used up.
            rank: this process.
            world: number of processes; divides the batch size.
            parts: micro-batches that each process's rows are cut into, in order; divides the rows.
        """
        for size in plan.batch_sizes if isinstance(plan, VaryingPlan) else (plan.batch_size,):
            if size % (world * parts):
                raise ConfigError(
                    f"batch_size = {size} is not a multiple of {world} processes x {parts} micro-batches",
                    do=f"choose a multiple of {world * parts}",
                )
        self.plan, self.start_step, self.rank, self.world, self.parts = plan, start_step, rank, world, parts

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        for epoch, batch, mark in _batches(self.plan, self.start_step):
            rows = len(batch) // self.world
            micro = rows // self.parts
            own = batch[self.rank * rows : (self.rank + 1) * rows]
            for part in range(self.parts):
                yield [(epoch, int(index), *mark) for index in own[part * micro : (part + 1) * micro]]


def batch_rows(plan: BatchPlan, start_step: int = 0) -> Iterator[int]:
    """Rows of the global batches from a step on, without end."""
    if not isinstance(plan, VaryingPlan):
        yield from repeat(plan.batch_size)
        return
    first, skip = _locate(plan, start_step)
    yield from plan.lengths(first)[skip:]
    for epoch in count(first + 1):
        yield from plan.lengths(epoch)


def _batches(plan: BatchPlan, start_step: int) -> Iterator[tuple[int, np.ndarray, tuple[int, ...]]]:
    """Epoch, rows and mark of the global batches from a step on, without end."""
    epoch, skip = _locate(plan, start_step)
    while True:
        if isinstance(plan, VaryingPlan):
            cuts = np.cumsum(plan.lengths(epoch))[:-1]
            batches = list(zip(np.split(plan.epoch(epoch), cuts), plan.marks(epoch), strict=True))
        else:
            batches = [(rows, ()) for rows in plan.epoch(epoch)]
        for rows, mark in batches[skip:]:
            yield epoch, rows, mark
        epoch, skip = epoch + 1, 0


def _locate(plan: BatchPlan, step: int) -> tuple[int, int]:
    """The epoch of a step, and its place there."""
    if not isinstance(plan, VaryingPlan):
        return divmod(step, len(plan))
    epoch = 0
    while step >= (batches := len(plan.lengths(epoch))):
        epoch, step = epoch + 1, step - batches
    return epoch, step


def _require_batch(records: int, batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch_size = {batch_size} is not positive", do="choose at least 1")
    if records < batch_size:
        raise ConfigError(
            f"batch_size = {batch_size} is larger than the data set of {records} records",
            do=f"set batch_size to at most {records}",
        )

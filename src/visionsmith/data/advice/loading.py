"""How fast a store loads, what limits it, and how many workers are worth their cores."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from visionsmith.data.advice.machine import OtherWork, free_memory, free_shared_memory, usable_cores
from visionsmith.data.advice.pictures import PictureDataset, collate
from visionsmith.data.advice.same import Sameness, compare
from visionsmith.data.advice.speed import Speed, fewest_workers, measure_speed
from visionsmith.data.advice.stages import ColdReads, Stages, measure_cold_reads, measure_stages
from visionsmith.data.loader import loader
from visionsmith.data.records import RecordStore
from visionsmith.data.sampler import RankBatches, ShuffledBatches

__all__ = ["Limit", "Loading", "measure_loading", "steps"]

Limit = Literal["disk", "read", "decode", "augment", "collate", "transfer", "cores", "unknown"]

ROUNDS = 20
"""Into about how many batches the time of one measurement is cut."""
COMPARED_ROWS = 8
BUSY = 0.25
"""Cores that other processes may take before the measurement is called disturbed."""
SATURATED = 0.7
"""Share of its time that the main process spends on receiving where that is what limits."""


@dataclass(frozen=True)
class Loading:
    """What was measured of a store, its pictures cropped and resized at random."""

    cores: int
    """That this process may use."""
    others: float | None
    """How many of those other processes took meanwhile; None where the system does not tell."""
    rows: int
    """Samples of a measured batch: the batch size, or as many as let the time hold several batches."""
    speeds: list[Speed]
    """By number of workers, from 0."""
    stages: Stages
    cold: ColdReads | None
    fits_in_memory: bool | None
    """Whether the store fits into free memory, so that the disk is read once only; None where that is not known."""
    prefetch: int
    """Batches that each worker prepares ahead."""
    batch_bytes: int
    """Of one batch of the wanted size."""
    shared_memory_free: int | None
    """Bytes for batches on their way from workers; None where the system has no such limit."""
    sameness: Sameness | None
    """None where no workers were measured."""

    @property
    def speed(self) -> Speed:
        """The recommended: of the fewest workers within 5 % of the best whose batches fit into shared memory."""
        free = self.shared_memory_free
        return fewest_workers(
            [speed for speed in self.speeds if free is None or self.shared_memory(speed.workers) <= free]
        )

    @property
    def limit(self) -> Limit:
        """What keeps the recommended number of workers from being faster.

        "disk" where the data do not fit into memory and reading from the disk takes longest; "transfer" where the
        main process is busy with receiving, or handing over costs most; "cores" where every core that other work left
        is in use; a stage where more workers than were measured may help, which is then the one that takes longest;
        "unknown" where more workers do not help although cores are left.
        """
        stages, speed, cold, slowest = self.stages, self.speed, self.cold, self.stages.slowest
        longest = stages.in_worker[slowest]
        if self.fits_in_memory is False and cold is not None and cold.is_cold and cold.milliseconds > longest:
            return "disk"
        receiving = speed.samples_per_second * (stages.receive + (stages.to_gpu or 0.0)) / 1e3
        if len(self.speeds) > 1 and receiving >= SATURATED:
            return "transfer"
        if max(1, speed.workers) >= round(self.cores - (self.others or 0.0)):
            return "cores"
        if slowest == "send":
            return "transfer"
        return slowest if speed.workers == self.speeds[-1].workers else "unknown"

    @property
    def disturbed(self) -> bool:
        """Whether other work took so much that the speeds are uncertain."""
        return self.others is not None and self.others >= BUSY

    def shared_memory(self, workers: int) -> int:
        """Bytes that the batches take which workers have ready."""
        return workers * self.prefetch * self.batch_bytes


def measure_loading(
    store: RecordStore,
    indices: Sequence[int],
    *,
    batch_size: int,
    workers: int,
    size: int,
    seconds: float,
    on_step: Callable[[], None],
) -> Loading:
    """Measure one store.

    Args:
        store: of pictures.
        indices: the records that have one; at least `batch_size`.
        batch_size: samples of a training step.
        workers: the most loader processes to try.
        size: side of the crop, pixels.
        seconds: about how long each number of workers is measured.
        on_step: called after each of the `steps(workers)`.

    Raises:
        DataError: a picture is damaged.
    """
    others = OtherWork()
    order = [int(index) for index in np.random.default_rng(0).permutation(indices)]
    dataset = PictureDataset(store, size)
    cold = measure_cold_reads(store, order, seconds / 4)
    on_step()
    picture_bytes = size * size * 3
    prefetch, free = _prefetch(dataset, indices), free_shared_memory()
    rows = min(batch_size, _rows_in(dataset, order, seconds / ROUNDS))
    if free is not None:
        # Shared memory is often small in containers, and a worker that overruns it is killed by the system.
        rows = max(1, min(rows, free // (2 * prefetch * picture_bytes * max(1, workers))))
    stages = measure_stages(dataset, order, rows, seconds / 2)
    on_step()
    tried: list[list[Speed]] = [[] for _ in range(workers + 1)]
    # Up and down again, and the better of the two: other work on the machine comes and goes.
    for number in (*range(workers + 1), *reversed(range(workers + 1))):
        tried[number].append(measure_speed(dataset, indices, workers=number, rows=rows, seconds=seconds / 2))
        on_step()
    plan = ShuffledBatches(indices, min(batch_size, COMPARED_ROWS), 0)
    sameness = compare(dataset, plan, collate, workers=workers, batches=2 * workers) if workers else None
    on_step()
    taken, memory = others.cores(), free_memory()
    return Loading(
        cores=usable_cores(),
        others=taken,
        rows=rows,
        speeds=[max(both, key=lambda speed: speed.samples_per_second) for both in tried],
        stages=stages,
        cold=cold,
        fits_in_memory=None if memory is None else store.info()["bytes"] <= memory,
        prefetch=prefetch,
        batch_bytes=batch_size * picture_bytes,
        shared_memory_free=free,
        sameness=sameness,
    )


def steps(workers: int) -> int:
    """How many steps `measure_loading` takes: each number of workers twice, the stages, the disk, the comparison."""
    return 2 * (workers + 1) + 3


def _prefetch(dataset: PictureDataset, indices: Sequence[int]) -> int:
    """How many batches a worker of the project's loader prepares ahead."""
    made = loader(dataset, RankBatches(ShuffledBatches(indices, 1, 0)), collate, workers=1)
    assert made.prefetch_factor is not None, "a loader with workers prepares batches ahead"
    return made.prefetch_factor


def _rows_in(dataset: PictureDataset, order: Sequence[int], seconds: float) -> int:
    """How many samples this process makes in the given time."""
    rows, start = 0, time.perf_counter()
    for index in order:
        dataset[(0, index)]
        rows += 1
        if time.perf_counter() - start > seconds:
            break
    return rows

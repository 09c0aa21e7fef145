"""Where the time of a sample goes: read, decode, augment, collate, hand over."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from visionsmith.data.advice.pictures import PictureDataset, collate
from visionsmith.data.loader import loader
from visionsmith.data.records import RecordStore, layout
from visionsmith.data.sampler import Key, RankBatches, ShuffledBatches

__all__ = ["ColdReads", "Stage", "Stages", "measure_cold_reads", "measure_stages"]

Stage = Literal["read", "decode", "augment", "collate", "send"]
"""What a worker does for a sample; it sends a batch by a copy into shared memory."""

_IO = Path("/proc/self/io")
COLD = 0.5
"""Share of the bytes that must have come from the disk for a read to count as one from there."""
_HANDED_OVER = 4
"""Batches whose hand-over is timed."""


@dataclass(frozen=True)
class Stages:
    """Milliseconds a sample, in one process, of files that are in memory."""

    samples: int
    """How many were timed."""
    read: float
    decode: float
    augment: float
    collate: float
    send: float
    """A worker's copy of the batch into shared memory."""
    receive: float
    """The main process's part of taking over a batch from a worker."""
    to_gpu: float | None
    """The copy to the GPU; None without one."""

    @property
    def transfer(self) -> float:
        """All of the way from a worker to where the model is."""
        return self.send + self.receive + (self.to_gpu or 0.0)

    @property
    def in_worker(self) -> dict[Stage, float]:
        """What a worker spends on a sample, by stage."""
        return {
            "read": self.read,
            "decode": self.decode,
            "augment": self.augment,
            "collate": self.collate,
            "send": self.send,
        }

    @property
    def slowest(self) -> Stage:
        """The stage that a worker spends most time on."""
        return max(self.in_worker, key=self.in_worker.__getitem__)


@dataclass(frozen=True)
class ColdReads:
    """Random reads after the store was dropped from the system's cache of files."""

    samples: int
    milliseconds: float
    """A sample."""
    from_disk: float | None
    """Bytes that came from the disk, as a share of the pictures' bytes; above 1 where whole pages are fetched, 0
    where the cache could not be dropped, None where the system does not tell."""

    @property
    def is_cold(self) -> bool:
        """Whether it is known that the disk was read."""
        return self.from_disk is not None and self.from_disk >= COLD


def measure_cold_reads(store: RecordStore, indices: Sequence[int], seconds: float) -> ColdReads | None:
    """Time random reads from the disk.

    No right of an administrator is needed: the system is advised that the file's pages are not wanted any more, which
    it may ignore; `from_disk` says whether it did. Caches below the system (of the disk, of a virtual machine's host)
    stay as they are.

    Args:
        store: not open elsewhere in this process, for pages in use are not dropped.
        indices: records, at random; read until the time is over.
        seconds: about how long.

    Returns:
        None on systems that take no such advice.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    store.close()
    handle = os.open(store.path / layout.DATA, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
    before, start, samples, size = _bytes_from_disk(), time.perf_counter(), 0, 0
    for index in indices:
        size += len(store[index].image)
        samples += 1
        if time.perf_counter() - start > seconds:
            break
    elapsed, after = time.perf_counter() - start, _bytes_from_disk()
    from_disk = None if before is None or after is None else (after - before) / size
    return ColdReads(samples, 1e3 * elapsed / samples, from_disk)


def _bytes_from_disk() -> int | None:
    """What this process has made the disk read so far."""
    try:
        lines = _IO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes:")), None)


def measure_stages(dataset: PictureDataset, indices: Sequence[int], rows: int, seconds: float) -> Stages:
    """Time each stage of the same samples, batch by batch.

    Args:
        dataset: the pipeline.
        indices: records, at random; as many as fit into the time, one batch at least.
        rows: samples of a batch.
        seconds: about how long, without the hand-over.

    Raises:
        DataError: a picture is damaged.
    """
    assert len(indices) >= rows, f"{len(indices)} records do not make a batch of {rows}"
    spent, samples, start = np.zeros(4), 0, time.perf_counter()
    batch: dict[str, Tensor] = {}
    for first in range(0, len(indices) - rows + 1, rows):
        own = indices[first : first + rows]
        for index in own:  # to have them in memory before they are timed
            dataset.read(index)
        marks = [time.perf_counter()]
        contents = [dataset.read(index) for index in own]
        marks.append(time.perf_counter())
        images = [dataset.decode(content, index) for content, index in zip(contents, own, strict=True)]
        marks.append(time.perf_counter())
        augmented = [dataset.augment(image, (0, index)) for image, index in zip(images, own, strict=True)]
        marks.append(time.perf_counter())
        batch = collate(augmented)
        marks.append(time.perf_counter())
        spent += np.diff(marks)
        samples += rows
        if marks[-1] - start > seconds:
            break
    read, decoded, augmented_time, collated = (1e3 * float(part) / samples for part in spent)
    return Stages(
        samples=samples,
        read=read,
        decode=decoded,
        augment=augmented_time,
        collate=collated,
        send=_send(batch) / rows,
        receive=_receive(batch) / rows,
        to_gpu=_to_gpu(batch["images"]) / rows if torch.cuda.is_available() else None,
    )


def _send(batch: dict[str, Tensor]) -> float:
    """Milliseconds that copying a batch into shared memory takes, which is what a worker's queue does first."""
    times = []
    for _ in range(_HANDED_OVER):
        copies = [tensor.clone() for tensor in batch.values()]
        start = time.perf_counter()
        for tensor in copies:
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


class _Ready(Dataset[int]):
    """Takes no time, so that what is left is the hand-over."""

    def __getitem__(self, key: Key) -> int:
        return key[1]


class _Copy:
    """Gives a fresh copy of one batch whatever is asked for; a batch shared before would not be copied again."""

    def __init__(self, batch: dict[str, Tensor]) -> None:
        self.batch = batch

    def __call__(self, _: Sequence[int]) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.batch.items()}


def _receive(batch: dict[str, Tensor]) -> float:
    """Milliseconds in which the main process takes a batch that a worker has ready."""
    batches = iter(loader(_Ready(), RankBatches(ShuffledBatches([0], 1, 0)), _Copy(batch), workers=1))
    start = time.perf_counter()
    next(batches)
    next(batches)
    pause = 2 * (time.perf_counter() - start)
    times = []
    for _ in range(_HANDED_OVER):
        time.sleep(pause)  # the worker gets ahead
        start = time.perf_counter()
        next(batches)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def _to_gpu(images: Tensor) -> float:
    """Milliseconds that the copy of a batch to the GPU takes."""
    times = []
    for _ in range(_HANDED_OVER):
        torch.cuda.synchronize()
        start = time.perf_counter()
        images.to("cuda")
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))

"""What of the machine decides how fast pictures load: cores and who uses them, memory, shared memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["OtherWork", "free_memory", "free_shared_memory", "usable_cores"]

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SHARED_MEMORY = Path("/dev/shm")
_TIMES = Path("/proc/stat")
_IDLE = (3, 4)
"""Columns of its first line in which nothing was computed: idle, and waiting for a disk."""
_COUNTED = 8
"""Its columns up to the time that a virtual machine's host took; those after it are parts of others."""


class OtherWork:
    """How many of this process's cores others take, from the moment that it is made."""

    def __init__(self) -> None:
        self._start = self._now()

    def cores(self) -> float | None:
        """Mean number since then; None where the system does not tell.

        Work of this process and of its children that have ended does not count, nor what the cores that this process
        may not use can have done.
        """
        if self._start is None or (now := self._now()) is None:
            return None
        wall, busy, own = (after - before for after, before in zip(now, self._start, strict=True))
        elsewhere = (os.cpu_count() or 1) - usable_cores()
        return max(0.0, (busy - own) / wall - elsewhere)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds: of the clock, of all cores at work, of this process's cores."""
        try:
            ticks = [int(text) for text in _TIMES.read_text().splitlines()[0].split()[1 : _COUNTED + 1]]
        except (OSError, ValueError, IndexError):
            return None
        working = sum(count for place, count in enumerate(ticks) if place not in _IDLE)
        return time.monotonic(), working / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and a container's quota rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no control group, or the quota is "max"
        return cores


def free_memory() -> int | None:
    """Memory for processes and cached files, bytes; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        values = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return values["MemAvailable"] * 1024
    except (OSError, ValueError, IndexError, KeyError):
        return None


def free_shared_memory() -> int | None:
    """What is free in /dev/shm, through which workers hand over batches, bytes; None where there is none."""
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize

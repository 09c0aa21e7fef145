"""The machine below Python: memory, drivers, clocks, disks, sockets, read from files and without running anything."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Cache",
    "Disk",
    "Memory",
    "Socket",
    "TimeZone",
    "User",
    "read_cache",
    "read_disks",
    "read_driver",
    "read_memory",
    "read_shared_memory",
    "read_socket",
    "read_time_zone",
    "runs_in_container",
]

_UNLIMITED = 2**60
_MOST_ENTRIES = 20_000
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}


@dataclass(frozen=True)
class User:
    """Who runs this."""

    uid: int
    groups: frozenset[int]


@dataclass(frozen=True)
class Memory:
    """Main memory, in bytes."""

    total: int | None
    """Of the machine."""
    limit: int | None
    """Of this process's control group; None: no limit."""


@dataclass(frozen=True)
class TimeZone:
    """How the local time is set."""

    name: str
    """Of TZ; empty when it is not set."""
    known: bool
    """Whether the zone's data are there."""


@dataclass(frozen=True)
class Socket:
    """A UNIX socket: who may use it."""

    path: Path
    mode: int
    uid: int
    gid: int

    def admits(self, user: User) -> bool:
        """Whether a user may read and write it."""
        if user.uid == 0:
            return True
        if user.uid == self.uid:
            return self.mode & 0o600 == 0o600
        if self.gid in user.groups:
            return self.mode & 0o060 == 0o060
        return self.mode & 0o006 == 0o006


@dataclass(frozen=True)
class Disk:
    """A place that fills up."""

    purpose: str
    path: Path
    free: int
    """Bytes."""


@dataclass(frozen=True)
class Cache:
    """The hub's cache of downloaded models."""

    path: Path
    exists: bool
    writable: bool
    bytes: int
    counted: bool
    """Whether all of it was counted; a very large one is not."""


def read_memory(root: Path) -> Memory:
    """Memory of the machine, and the limit of the control group that this process is in (version 1 or 2)."""
    total = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), flags=re.MULTILINE)
    limits = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            limits += _limits(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return Memory(1024 * int(total[1]) if total else None, min(limits, default=None))


def _limits(mount: Path, group: str, name: str) -> list[int]:
    """The limits of a control group and of those above it. A container sees its own group as the mount itself."""
    places = [mount]
    for part in Path(group.lstrip("/")).parts:
        places.append(places[-1] / part)
    found = [_text(place / name).strip() for place in places]
    return [int(value) for value in found if value.isdigit() and int(value) < _UNLIMITED]


def read_shared_memory(root: Path) -> int | None:
    """Size of /dev/shm in bytes; None where there is none."""
    for line in _text(root / "proc/mounts").splitlines():
        size = re.match(r"\S+ /dev/shm \S+ \S*\bsize=(\d+)([kmg]?)", line)
        if size is not None:
            return int(size[1]) * _UNITS[size[2]]
    try:
        return shutil.disk_usage(root / "dev/shm").total
    except OSError:
        return None


def read_driver(root: Path) -> str:
    """Version of NVIDIA's kernel driver, e.g. "535.104.05"; empty where none is loaded."""
    text = _text(root / "proc/driver/nvidia/version")
    found = re.search(r"Module\s+(?:for\s+\S+\s+)?(\d+(?:\.\d+)+)", text)
    return found[1] if found else ""


def read_time_zone(root: Path, environment: Mapping[str, str]) -> TimeZone:
    """The time zone of TZ, or of /etc/localtime."""
    name = environment.get("TZ", "").lstrip(":")
    if not name:
        return TimeZone("", (root / "etc/localtime").exists())
    # A rule such as "KST-9" needs no data.
    rule = re.fullmatch(r"(?:[A-Za-z]{3,}|<[^>]+>)[+-]?\d.*", name) is not None
    return TimeZone(name, rule or (root / "usr/share/zoneinfo" / name.lstrip("/")).is_file())


def read_socket(path: Path) -> Socket | None:
    """A socket's owner and mode, or None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Socket(path, found.st_mode, found.st_uid, found.st_gid) if stat.S_ISSOCK(found.st_mode) else None


def runs_in_container(root: Path) -> bool:
    """Whether this is a container, by the marks that Docker, Podman and Kubernetes leave."""
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    return re.search(r"docker|kubepods|libpod|containerd", _text(root / "proc/1/cgroup")) is not None


def read_disks(places: Mapping[str, Path]) -> tuple[Disk, ...]:
    """Free space at each place, or at the nearest folder above it that exists."""
    found = []
    for purpose, path in places.items():
        place = path
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            found.append(Disk(purpose, path, shutil.disk_usage(place).free))
        except OSError:
            continue
    return tuple(found)


def read_cache(environment: Mapping[str, str], home: Path) -> Cache:
    """Where the hub keeps models, by its own rules for the environment, and how much lies there."""
    caches = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    base = Path(environment.get("HF_HOME") or caches / "huggingface")
    path = Path(environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE") or base / "hub")
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    size, counted = _size(path)
    return Cache(path, path.is_dir(), os.access(existing, os.W_OK), size, counted)


def _size(folder: Path) -> tuple[int, bool]:
    """Bytes of the files below a folder, links not followed, and whether all were counted."""
    size = entries = 0
    for place, _, names in os.walk(folder):
        for name in names:
            entries += 1
            if entries > _MOST_ENTRIES:
                return size, False
            try:
                size += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return size, True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

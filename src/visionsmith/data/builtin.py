"""The built-in data set, packed once into a cache folder and opened from there."""

from __future__ import annotations

from pathlib import Path

from visionsmith.data import openmoji
from visionsmith.data.cache import cache_folder
from visionsmith.data.records import RecordStore, open_or_make, pack

__all__ = ["openmoji_store"]


def openmoji_store(size: int = 64, *, progress: bool = False, path: Path | None = None) -> RecordStore:
    """OpenMoji at `size` x `size` px; packed on first use (seconds).

    Args:
        size: side of the pictures, pixels.
        progress: whether to show a bar while packing.
        path: where the store is or shall be, in place of the cache folder.
    """
    path = path or cache_folder() / f"openmoji-{size}-r{openmoji.REVISION}.records"
    attributes = {**openmoji.ATTRIBUTES, "size": size}
    return open_or_make(
        path,
        lambda: pack(
            openmoji.samples(size), path, attributes=attributes, progress=progress, total=openmoji.count()
        ),
    )

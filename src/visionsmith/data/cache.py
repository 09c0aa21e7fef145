"""Packed copies of data sets, in a folder of the user's that may be deleted at any time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from visionsmith.data.records import RecordStore
from visionsmith.data.sources import open_or_pack

__all__ = ["cache_folder", "cached_store"]


def cache_folder() -> Path:
    """Where packed data lies: $VISIONSMITH_CACHE, else the user's cache folder."""
    chosen = os.environ.get("VISIONSMITH_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visionsmith"


def cached_store(source: Path) -> RecordStore:
    """Any data set as a record store: a store as it is, anything else packed once and packed again when it changes."""
    digest = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:12]
    return open_or_pack(source, cache_folder() / f"{source.stem}-{digest}.records")

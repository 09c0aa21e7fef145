"""Edits of a user's."""

from __future__ import annotations

from pathlib import Path

from visionsmith.papers.icedit.edits import EditWorld, builtin_world

__all__ = ["open_edits"]


def open_edits(data: Path | None, *, size: int, seed: int = 0, progress: bool = False) -> EditWorld:
    """Open the built-in edits."""
    return builtin_world(size, seed=seed, progress=progress)

"""A folder as `data unpack` makes it: KEY.png, KEY.txt, and a list of all with metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from visionsmith.data.records.pack import LIST_NAME, write_files
from visionsmith.data.sample import Sample
from visionsmith.data.sources.problems import OnProblem

__all__ = ["write"]


def write(samples: Iterable[Sample], folder: Path, cannot_hold: OnProblem) -> None:
    """Write samples into an empty folder; there is a place for every sample."""
    with (folder / LIST_NAME).open("w", encoding="utf-8") as listing:
        for sample in samples:
            listing.write(json.dumps(write_files(sample, folder), ensure_ascii=False) + "\n")

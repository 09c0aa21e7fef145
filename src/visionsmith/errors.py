"""What a user's mistake looks like: what is wrong, where, and what to do.

Every error that a person can mend derives from `VisionsmithError`. The command line prints it as one
sentence and exits with code 2; a traceback appears only with `--debug`. Anything else that escapes is a
defect of the project.

    VisionsmithError
    ├── ConfigError       a setting: unknown key, wrong type, out of range
    ├── DataError         an input file or data set
    ├── CheckpointError   weights: missing, damaged, of another shape or layout
    └── OutputError       a place that cannot be written
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["CheckpointError", "ConfigError", "DataError", "OutputError", "VisionsmithError", "nearest"]


class VisionsmithError(Exception):
    """A mistake that the user can mend.

    Args:
        what: what is wrong, in one clause, with the value that was found.
        where: the file, key or record that it was found in.
        do: what to do about it, as an imperative sentence without the final stop.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path | None = None, do: str | None = None) -> None:
        self.what, self.where, self.do = what, where, do
        place = f"{where}: " if where is not None else ""
        advice = f"; {do}" if do else ""
        super().__init__(f"{place}{what}{advice}.")


class ConfigError(VisionsmithError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(VisionsmithError):
    """An input file or data set cannot be used."""


class CheckpointError(VisionsmithError):
    """Weights are missing, damaged, or of another shape or layout."""


class OutputError(VisionsmithError):
    """A place cannot be written."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`, or None when nothing is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None

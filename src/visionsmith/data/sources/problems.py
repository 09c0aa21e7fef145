"""What a source does with a sample that it cannot read: it tells, and goes on or stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from visionsmith.errors import DataError

__all__ = ["OnProblem", "picture_bytes", "stop_at"]

OnProblem = Callable[[str, str], object]
"""Called with the key of a sample and the reason why it cannot be read; the reading goes on if it returns."""


def stop_at(source: Path) -> OnProblem:
    """An `OnProblem` that ends the reading of `source`."""

    def stop(key: str, reason: str) -> NoReturn:
        raise DataError(reason, where=f"{source}, sample '{key}'", do="mend it, or leave it out")

    return stop


def picture_bytes(path: Path, name: str, key: str, on_problem: OnProblem) -> bytes | None:
    """Content of a sample's picture file; None, and a problem, when it cannot be read.

    Args:
        path: of the file.
        name: the path as the source writes it.
        key: of the sample.
        on_problem: is told.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        on_problem(key, f"there is no picture '{name}'")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        on_problem(key, f"the picture '{name}' cannot be read ({reason.lower()})")
    else:
        if content:
            return content
        on_problem(key, f"the picture '{name}' is empty")
    return None

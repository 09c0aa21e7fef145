"""A bar for work that takes longer than two seconds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["DelayedBar"]

DELAY = 2.0
"""Seconds until it appears."""
_INTERVAL = 0.1


class DelayedBar:
    """A bar on the terminal's error stream; nothing where that is no terminal."""

    def __init__(self, title: str, total: int | None, *, show: bool) -> None:
        """Make the bar.

        Args:
            title: what is being done.
            total: steps, or None when they are not known beforehand.
            show: whether it may appear at all.
        """
        self._title, self._total = title, total
        self._console = Console(stderr=True) if show else None
        self._bar: Progress | None = None
        self._done = 0
        self._next = time.monotonic() + DELAY

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1) -> None:
        """Say that `steps` more are done."""
        self._done += steps
        if self._console is None or not self._console.is_terminal or time.monotonic() < self._next:
            return
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task(self._title, total=self._total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._done)
        self._next = time.monotonic() + _INTERVAL

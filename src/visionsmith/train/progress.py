"""What a person sees of a training: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["TrainingProgress"]

LINE_EVERY = 20.0
"""Seconds between lines where there is no terminal."""


class TrainingProgress:
    """Progress of a run; a context manager."""

    def __init__(self, *, total: int, start: int, show: bool) -> None:
        self.console = Console(stderr=True, quiet=not show)
        self.total, self.begin, self.step = total, start, start
        self.clock = self.last_line = time.monotonic()
        self.bar = Progress(
            TextColumn("[bold]train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (show and self.console.is_terminal),
        )
        self.task = self.bar.add_task("train", total=total, completed=start, status="")

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, status: str | None = None) -> None:
        """A step is done."""
        self.step += 1
        if status is None:
            self.bar.update(self.task, advance=1)
            return
        self.bar.update(self.task, advance=1, status=status)
        now = time.monotonic()
        if not self.console.is_terminal and (now - self.last_line >= LINE_EVERY or self.step == self.total):
            self.last_line = now
            left = (now - self.clock) / max(1, self.step - self.begin) * (self.total - self.step)
            self.say(f"step {self.step}/{self.total}  {status}  {left / 60:.1f} min left")

    def say(self, sentence: str) -> None:
        """A sentence above the bar."""
        self.console.print(sentence, highlight=False, markup=False)

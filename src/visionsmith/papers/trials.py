"""The short trainings behind a claim: each runs once, goes on when interrupted, and is read when it is finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visionsmith.train.task import Task

__all__ = ["Trials"]


class Trials:
    """A folder of short training runs, one a name."""

    def __init__(self, folder: Path, paper: str, *, progress: bool = True) -> None:
        """Open the folder.

        Args:
            folder: where the runs stay.
            paper: whose runs they are.
            progress: whether to show bars.
        """
        self.folder, self.paper, self.progress = folder, paper, progress

    def fit(
        self, name: str, recipe: Any, make_task: Callable[[], Task], *, data: Path | None = None
    ) -> Mapping[str, float]:
        """Train, or go on, or read the result of a finished run.

        Args:
            name: of the run's folder.
            recipe: the paper's recipe; its `train` holds the loop's settings. A run that was made with another recipe
                is refused.
            make_task: makes the task when there is something left to train.
            data: what it is trained on; None for the built-in data.

        Returns:
            The last evaluation of the run's log, by name.
        """
        from visionsmith.checkpoint import is_checkpoint
        from visionsmith.train.loop import Stopped, fit
        from visionsmith.train.run_folder import RunFolder

        run = RunFolder(self.folder / name)
        run.start(paper=self.paper, data=data, recipe=recipe, resume=True)
        if not is_checkpoint(run.model):
            try:
                fit(make_task(), recipe.train, run, progress=self.progress)
            except Stopped as stopped:
                # A claim's command has no --resume: it always goes on with what is in its folder.
                hint = "give the same command again, with the same --output"
                raise Stopped(stopped.run, stopped.step, do=hint) from stopped
        lines = [json.loads(line) for line in run.log_file.read_text(encoding="utf-8").splitlines()]
        result: Mapping[str, float] = [line for line in lines if "evaluate" in line][-1]["evaluate"]
        return result

    def log(self, name: str) -> list[dict[str, Any]]:
        """Every line of a run's log, e.g. for its speed."""
        lines = (self.folder / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

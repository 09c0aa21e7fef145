"""What `train` does for every paper whose training is one run of the loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["train_once"]


def train_once(
    paper: str,
    recipe: Any,
    make_task: Callable[[Any, RunFolder, bool], Task],
    *,
    data: Path | None,
    output: Path,
    resume: bool,
    progress: bool,
) -> Path:
    """Start or resume a run, train it, and write its report.

    Of several processes the main one packs the data first.

    Args:
        paper: whose run it is.
        recipe: the paper's; its `train` holds the loop's settings.
        make_task: recipe (its precision settled), run folder, whether to show a bar -> the task.
        data: where the data are; None for the built-in ones.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show a bar.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.report.run_report import write_run_report
    from visionsmith.train.loop import fit
    from visionsmith.train.precision import settle_precision
    from visionsmith.train.processes import processes
    from visionsmith.train.run_folder import RunFolder

    recipe = dataclasses.replace(recipe, train=settle_precision(recipe.train))
    state = processes()
    run = RunFolder(output)
    with state.main_process_first():
        run.start(paper=paper, data=data, recipe=recipe, resume=resume or not state.is_main_process)
        task = make_task(recipe, run, progress and state.is_main_process)
    checkpoint = fit(task, recipe.train, run, progress=progress)
    if state.is_main_process:
        write_run_report(run.path)
    return checkpoint

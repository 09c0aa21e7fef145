"""What `train` does for a paper whose training is one run of the loop, or two, the second of which needs the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["First", "train_in_two", "train_once"]


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


@dataclasses.dataclass(frozen=True)
class First:
    """The first of two runs."""

    name: str
    """Of its folder inside the second's."""
    recipe: Any
    make_task: Callable[[Any, RunFolder, bool], Task]


def train_in_two(
    paper: str,
    recipe: Any,
    first: First | None,
    make_task: Callable[[Any, RunFolder, Path | None, bool], Task],
    *,
    data: Path | None,
    output: Path,
    resume: bool,
    progress: bool,
) -> Path:
    """Train what comes first where it is needed, then the rest; each is a run with its own report.

    Args:
        paper: whose runs they are.
        recipe: of the second run; its `train` holds the loop's settings.
        first: the first run; None: there is none.
        make_task: recipe (its precision settled), run folder, the first run's checkpoint, whether to show a bar -> the
            second task.
        data: where the data are; None for the built-in ones.
        output: folder of the second run.
        resume: go on with the runs that the folder holds.
        progress: whether to show bars.

    Returns:
        The folder of the second run's finished checkpoint.
    """
    from visionsmith.checkpoint import is_checkpoint
    from visionsmith.report.run_report import write_run_report
    from visionsmith.train.loop import fit
    from visionsmith.train.precision import settle_precision
    from visionsmith.train.processes import processes
    from visionsmith.train.run_folder import RunFolder

    def settled(recipe: Any) -> Any:
        return dataclasses.replace(recipe, train=settle_precision(recipe.train))

    recipe = settled(recipe)
    state = processes()
    show = progress and state.is_main_process
    run = RunFolder(output)
    before = RunFolder(output / first.name) if first else None
    with state.main_process_first():
        resume = resume or not state.is_main_process
        if first and before and before.path.exists():
            # Refuses other settings before the outer folder is touched.
            before.start(paper=paper, data=data, recipe=settled(first.recipe), resume=resume)
        run.start(paper=paper, data=data, recipe=recipe, resume=resume)
    if first and before:
        own = settled(first.recipe)
        with state.main_process_first():
            before.start(paper=paper, data=data, recipe=own, resume=True)
            task = first.make_task(own, before, show) if not is_checkpoint(before.model) else None
        if task is not None:
            fit(task, own.train, before, progress=progress, more_to_come=True)
            if state.is_main_process:
                write_run_report(before.path)
    with state.main_process_first():
        task = make_task(recipe, run, before.model if before else None, show)
    checkpoint = fit(task, recipe.train, run, progress=progress)
    if state.is_main_process:
        write_run_report(run.path)
    return checkpoint

"""Training LLaVA: the parts where they are to be made, then the paper's two stages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from visionsmith.errors import ConfigError

STAGES = ("align", "read", "instruct")
"""Captions for the projector; captions for projector and language model; conversations."""

if TYPE_CHECKING:
    from visionsmith.papers.llava.recipes import LanguageRecipe, LlavaRecipe, TowerRecipe
    from visionsmith.train.task import Task

__all__ = ["train"]


def train(
    recipe: LlavaRecipe | TowerRecipe | LanguageRecipe,
    *,
    data: Path | None,
    output: Path,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train a LLaVA, or with the presets `tower` and `language` a part of one.

    Args:
        recipe: model and settings.
        data: conversations about pictures, in LLaVA's JSON or any form that a record store is packed from; None for the
            built-in world.
        output: folder of the run; parts that are made go to `tower/` and `language/` in it.
        resume: go on with the run that the folder holds.
        progress: whether to show a bar.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.llava.recipes import LlavaRecipe
    from visionsmith.report.run_report import write_run_report
    from visionsmith.train.loop import fit
    from visionsmith.train.precision import settle_precision
    from visionsmith.train.processes import processes
    from visionsmith.train.run_folder import RunFolder

    if not isinstance(recipe, LlavaRecipe):
        return _train_part(recipe, data=data, output=output, resume=resume, progress=progress)
    recipe = dataclasses.replace(recipe, train=settle_precision(recipe.train))
    _refuse_incomplete(recipe)
    state, run = processes(), RunFolder(output)
    with state.main_process_first():
        run.start(paper="llava", data=data, recipe=recipe, resume=resume or not state.is_main_process)
    if recipe.initial is None and recipe.tower is None and recipe.tower_recipe is not None:
        made = _made(recipe.tower_recipe, output / "tower", progress=progress)
        recipe = dataclasses.replace(recipe, tower=str(made))
    if recipe.initial is None and recipe.language is None and recipe.language_recipe is not None:
        made = _made(recipe.language_recipe, output / "language", progress=progress)
        recipe = dataclasses.replace(recipe, language=str(made))
    from visionsmith.papers.llava.stages import make_task

    with state.main_process_first():
        task = make_task(recipe, data=data, folder=run.path, progress=progress and state.is_main_process)
    parts = {"tower": _story(recipe.tower), "language": _story(recipe.language)}
    stories = {name: story for name, story in parts.items() if story and recipe.initial is None}
    task = dataclasses.replace(task, about={**task.about, **stories})
    finished = fit(task, recipe.train, run, progress=progress)
    if state.is_main_process:
        write_run_report(run.path)
    return finished


def _train_part(
    recipe: TowerRecipe | LanguageRecipe, *, data: Path | None, output: Path, resume: bool, progress: bool
) -> Path:
    from visionsmith.papers.training import train_once

    if data is not None:
        raise ConfigError(
            "the parts of the small model are made from the built-in world",
            do="leave --data out, or train a whole LLaVA with it",
        )
    return train_once(
        "llava",
        recipe,
        lambda settled, run, show: _part_task(settled),
        data=None,
        output=output,
        resume=resume,
        progress=progress,
    )


def _made(part: TowerRecipe | LanguageRecipe, output: Path, *, progress: bool) -> Path:
    """The checkpoint of a part: finished before, or trained now."""
    from visionsmith.checkpoint import is_checkpoint
    from visionsmith.report.run_report import write_run_report
    from visionsmith.train.loop import fit
    from visionsmith.train.precision import settle_precision
    from visionsmith.train.processes import processes
    from visionsmith.train.run_folder import RunFolder

    part = dataclasses.replace(part, train=settle_precision(part.train))
    run, state = RunFolder(output), processes()
    with state.main_process_first():
        run.start(paper="llava", data=None, recipe=part, resume=True)
    if not is_checkpoint(run.model):
        fit(_part_task(part), part.train, run, progress=progress, more_to_come=True)
        if state.is_main_process:
            write_run_report(run.path)
    return run.model


def _part_task(part: TowerRecipe | LanguageRecipe) -> Task:
    from visionsmith.papers.llava.parts import language_task, tower_task
    from visionsmith.papers.llava.recipes import TowerRecipe

    return tower_task(part) if isinstance(part, TowerRecipe) else language_task(part)


def _story(part: str | None) -> dict[str, object]:
    """What the card of a part that was trained here says."""
    card = Path(part or "") / "card.json"
    if not card.is_file():
        return {}
    content = json.loads(card.read_text(encoding="utf-8"))
    return {name: content[name] for name in ("command", "minutes", "measured")}


def _refuse_incomplete(recipe: LlavaRecipe) -> None:
    """Before anything is written."""
    from visionsmith.papers.model_folder import find_folder

    names = [stage.name for stage in recipe.train.schedule]
    if not names or names != [name for name in STAGES if name in names]:
        raise ConfigError(
            f"the stages are {', '.join(names)}", do=f"name some of {', '.join(STAGES)}, in this order"
        )
    for source in (recipe.initial, recipe.tower, recipe.language):
        if source is not None:
            find_folder(source)
    if recipe.lora is not None and names != ["instruct"]:
        raise ConfigError(
            "low-rank updates are for the second stage alone",
            do="run align first, and give its checkpoint as initial with the stage instruct only",
        )

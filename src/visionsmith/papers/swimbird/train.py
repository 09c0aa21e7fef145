"""Training SwimBird: from a recipe and data to a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.swimbird.reasoner import Reasoner
    from visionsmith.papers.swimbird.recipes import SwimBirdRecipe
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["check_data", "make_task", "train"]

QUICK = 16
"""Questions of each kind that a running training is measured with."""


def check_data(data: Path) -> None:
    """Refuse what is no list of dialogues.

    Raises:
        DataError: it cannot be read, is empty, or an item is malformed.
    """
    from visionsmith.papers.swimbird.dialogues import read_dialogues

    read_dialogues(data)


def train(
    recipe: SwimBirdRecipe, *, data: Path | None, output: Path, resume: bool = False, progress: bool = True
) -> Path:
    """Train SwimBird.

    Args:
        recipe: model and settings.
        data: a JSON list in the published layout, see `dialogues.read_dialogues`; None for the built-in world.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show a bar.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.training import train_once

    def make(recipe: SwimBirdRecipe, run: RunFolder, show: bool) -> Task:
        return make_task(recipe, data, folder=run.path, progress=show)

    return train_once("swimbird", recipe, make, data=data, output=output, resume=resume, progress=progress)


def make_task(
    recipe: SwimBirdRecipe,
    data: Path | None = None,
    *,
    folder: Path | None = None,
    progress: bool = False,
    measures: Callable[[Reasoner], Mapping[str, float]] | None = None,
) -> Task:
    """Model, objective and data of a recipe.

    Args:
        recipe: model and settings.
        data: a JSON list; None for the built-in world.
        folder: where thoughts of a frozen tower are kept; None: they are computed in each step.
        progress: whether to show bars.
        measures: what is measured of a model that is trained on the built-in world; None: exact answers by kind.
    """
    from functools import partial

    from accelerate.utils import set_seed
    from torch.utils.data import Dataset

    from visionsmith.data.sampler import BatchPlan, OrderedBatches, ShuffledBatches
    from visionsmith.papers.swimbird.evaluate import measure
    from visionsmith.papers.swimbird.objective import SwimBirdObjective, collate_chats
    from visionsmith.papers.swimbird.recipes import ROUND
    from visionsmith.papers.swimbird.samples import WorldChats
    from visionsmith.train.task import Task

    measures = measures or partial(measure, side=recipe.side, count=QUICK)
    set_seed(recipe.train.seed)
    bird = make_reasoner(recipe)
    config = bird.model.config
    size = recipe.train.batch_size
    dataset: Dataset[Any]
    about: dict[str, Any]
    plan: BatchPlan
    if data is None:
        dataset, about = WorldChats(recipe, config, bird.tokenizer), WORLD
        plan = OrderedBatches(ROUND * size, size)
    else:
        from visionsmith.papers.swimbird.dialogues import DialogueChats, read_dialogues

        dialogues = read_dialogues(data)
        kept = None
        if folder is not None and _tower_is_frozen(recipe, bird):
            from visionsmith.papers.swimbird.thoughts import keep_thoughts

            kept = keep_thoughts(bird.model, dialogues, folder, progress=progress)
        dataset = DialogueChats(dialogues, config, bird.tokenizer, system=recipe.system, kept=kept)
        about = {"source": data.name, "records": len(dialogues)}
        plan = ShuffledBatches(range(len(dialogues)), size, recipe.train.seed)
    return Task(
        paper="swimbird",
        objective=SwimBirdObjective(bird.model, chunk=4096),
        dataset=dataset,
        plan=plan,
        collate=partial(collate_chats, pad=config.end_id),
        export=lambda state: bird.export(
            {name.removeprefix("model."): value for name, value in state.items()}
        ),
        about=about,
        evaluate=(lambda: measures(bird)) if data is None else None,
    )


def _tower_is_frozen(recipe: SwimBirdRecipe, bird: Reasoner) -> bool:
    """Whether no stage trains a parameter of the tower or its mergers."""
    from fnmatch import fnmatchcase

    names = [f"model.{name}" for name, _ in bird.model.named_parameters() if ".visual." in name]
    patterns = [pattern for stage in recipe.train.schedule for pattern in stage.trainable]
    return not any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


WORLD = {
    "source": "scenes of OpenMoji things, and sums and orders in words; made while training",
    "licence": "CC-BY-SA-4.0 (drawings)",
}
"""What a card says of the built-in data."""


def make_reasoner(recipe: SwimBirdRecipe) -> Reasoner:
    """A new model with a learned vocabulary, or the one that the recipe starts from."""
    from visionsmith.papers.swimbird.begin import begin
    from visionsmith.papers.swimbird.chat import with_ids
    from visionsmith.papers.swimbird.model import SwimBird
    from visionsmith.papers.swimbird.reasoner import Reasoner
    from visionsmith.papers.swimbird.samples import learn_vocabulary

    if recipe.initial is not None:
        from visionsmith.papers.swimbird.official import open_reasoner

        return open_reasoner(recipe.initial, budgets=recipe.model, system=recipe.system)
    tokenizer = learn_vocabulary(recipe.vocabulary)
    # The ids of the published model are not in a small vocabulary; it has its own.
    config = with_ids(recipe.model, tokenizer)
    return Reasoner(begin(SwimBird(config)), tokenizer, system=recipe.system)

"""Training: the encoder under its loss, then the linear classifier on the frozen encoder (sec. 3.1).

The two stages are two runs of the one loop, since batches, rates and views differ:

    RUN/encoder/   the first stage: encoder and projection
    RUN/           the second stage, whose model/ holds the encoder, its projection and the classifier

Cross-entropy trains the encoder with its classifier, in RUN/ alone.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.supcon.model import SupConResNet
    from visionsmith.papers.supcon.recipes import SupConRecipe
    from visionsmith.train.recipe import TrainConfig
    from visionsmith.train.task import Task

__all__ = ["encoder_task", "linear_task", "linear_train", "open_data", "train", "training_labels"]


def train(
    recipe: SupConRecipe, *, data: Path | None, output: Path, resume: bool = False, progress: bool = True
) -> Path:
    """Train SupCon, SimCLR or the cross-entropy baseline.

    Args:
        recipe: model and settings.
        data: pictures with classes in any form that `data.labelled.open_labelled` takes; None for the built-in scenes.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show a bar.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.checkpoint import is_checkpoint
    from visionsmith.papers.supcon.official import load_any
    from visionsmith.report.run_report import write_run_report
    from visionsmith.train.loop import fit
    from visionsmith.train.precision import settle_precision
    from visionsmith.train.processes import processes
    from visionsmith.train.run_folder import RunFolder

    recipe = dataclasses.replace(
        recipe, train=settle_precision(recipe.train), linear=settle_precision(recipe.linear)
    )
    state = processes()
    run, first = RunFolder(output), RunFolder(output / "encoder")
    with state.main_process_first():
        resume = resume or not state.is_main_process
        if first.path.exists():
            # Refuses other settings before the outer folder is touched.
            first.start(paper="supcon", data=data, recipe=recipe, resume=resume)
        run.start(paper="supcon", data=data, recipe=recipe, resume=resume)
        labelled = open_data(recipe, data, output / "records", progress=progress and state.is_main_process)
        if recipe.objective != "ce":
            first.start(paper="supcon", data=data, recipe=recipe, resume=True)
    if recipe.objective == "ce":
        checkpoint = fit(encoder_task(recipe, labelled), recipe.train, run, progress=progress)
    else:
        if not is_checkpoint(first.model):
            task = encoder_task(recipe, labelled)
            fit(task, recipe.train, first, progress=progress, more_to_come=True)
        task = linear_task(recipe, labelled, load_any(first.model))
        card = json.loads((first.model / "card.json").read_text(encoding="utf-8"))
        first_stage = {"minutes": card["minutes"], "measured": card["measured"]}
        task = dataclasses.replace(task, about={**task.about, "encoder": first_stage})
        checkpoint = fit(task, linear_train(recipe), run, progress=progress)
    if state.is_main_process:
        for folder in (first.path, run.path) if recipe.objective != "ce" else (run.path,):
            write_run_report(folder)
    return checkpoint


def open_data(recipe: SupConRecipe, data: Path | None, into: Path, *, progress: bool = False) -> Labelled:
    """The pictures of a recipe; a folder is packed to `into`."""
    from visionsmith.data.labelled import open_labelled

    return open_labelled(data, size=recipe.model.image_size, into=into, progress=progress)


def encoder_task(recipe: SupConRecipe, data: Labelled) -> Task:
    """The first stage: the encoder with its projection, or with cross-entropy the encoder with its classifier."""
    from accelerate.utils import set_seed

    from visionsmith.data.labelled import PictureCollate, PictureDataset
    from visionsmith.data.sampler import ShuffledBatches
    from visionsmith.papers.supcon.feature_map import feature_map_of
    from visionsmith.papers.supcon.model import SupConResNet
    from visionsmith.papers.supcon.neighbours import feature_scores
    from visionsmith.papers.supcon.objective import ContrastiveObjective
    from visionsmith.papers.supcon.supcon import SupCon
    from visionsmith.papers.supcon.views import Views
    from visionsmith.train.task import Task

    if recipe.objective == "ce":
        return _cross_entropy_task(recipe, data)
    set_seed(recipe.train.seed)
    # The network is built as it is trained: no gradient would reach a classifier.
    user = SupCon(SupConResNet(dataclasses.replace(recipe.model, classes=())))
    _channels_last(user.model)
    objective = ContrastiveObjective(
        user.model,
        use_labels=recipe.objective != "simclr",
        form="in" if recipe.objective == "supcon_in" else "out",
        temperature=recipe.temperature,
        base_temperature=recipe.base_temperature,
        contrast=recipe.contrast,
    )
    labels = training_labels(recipe, data)
    return Task(
        paper="supcon",
        objective=objective,
        dataset=PictureDataset(
            data, Views(recipe.model.image_size, recipe.augment), recipe.train.seed, labels=labels
        ),
        plan=ShuffledBatches(data.train, recipe.train.batch_size, recipe.train.seed),
        collate=PictureCollate(),
        export=lambda state: user.export(_without_wrapper(state)),
        about=data.about(),
        evaluate=(lambda: feature_scores(user, data, labels)) if data.test else None,
        samples=(lambda: feature_map_of(user, data)) if len(data.test) > 2 else None,
    )


def _cross_entropy_task(recipe: SupConRecipe, data: Labelled) -> Task:
    """The baseline: every view is a picture of its own."""
    from accelerate.utils import set_seed

    from visionsmith.papers.classify import classify_task
    from visionsmith.papers.supcon.model import SupConResNet
    from visionsmith.papers.supcon.neighbours import feature_scores
    from visionsmith.papers.supcon.supcon import SupCon
    from visionsmith.papers.supcon.views import Views, ViewsApart

    set_seed(recipe.train.seed)
    user = SupCon(SupConResNet(dataclasses.replace(recipe.model, head=None, classes=data.classes)))
    _channels_last(user.model)
    labels = training_labels(recipe, data)
    task = classify_task(
        "supcon",
        user,
        data,
        recipe.train,
        view=Views(recipe.model.image_size, recipe.augment),
        export=user.export,
        labels=labels,
    )
    own = task.evaluate

    def measure() -> dict[str, float]:
        assert own is not None, "called only where there are test pictures"
        return {**own(), **feature_scores(user, data, labels)}

    return dataclasses.replace(task, collate=ViewsApart(), evaluate=measure if own is not None else None)


def linear_task(recipe: SupConRecipe, data: Labelled, encoder: SupConResNet) -> Task:
    """The second stage: a linear classifier on an encoder that stays as it is."""
    from accelerate.utils import set_seed

    from visionsmith.papers.classify import classify_task
    from visionsmith.papers.supcon.model import SupConResNet
    from visionsmith.papers.supcon.supcon import SupCon
    from visionsmith.papers.supcon.views import CropAndFlip

    set_seed(recipe.linear.seed)
    model = SupConResNet(dataclasses.replace(encoder.config, classes=data.classes))
    model.load_state_dict({**model.state_dict(), **encoder.state_dict()})
    model.freeze_encoder()
    _channels_last(model)
    user = SupCon(model)
    return classify_task(
        "supcon",
        user,
        data,
        linear_train(recipe),
        view=CropAndFlip(recipe.model.image_size, recipe.augment),
        export=user.export,
        labels=training_labels(recipe, data),
    )


def linear_train(recipe: SupConRecipe) -> TrainConfig:
    """The loop's settings of the second stage: only the classifier learns."""
    from visionsmith.train.recipe import StageConfig

    stage = StageConfig(
        name="linear", steps=recipe.linear.steps, trainable=("model.fc.*",), optim=recipe.linear.optim
    )
    return dataclasses.replace(recipe.linear, stages=(stage,))


def training_labels(recipe: SupConRecipe, data: Labelled) -> np.ndarray:
    """What training is told, wrong labels included: int64, one a record."""
    from visionsmith.papers.supcon.views import wrong_labels

    return wrong_labels(
        data.labels, data.train, recipe.label_noise, len(data.classes), seed=recipe.train.seed
    )


def _channels_last(model: SupConResNet) -> None:
    """Convolutions on a CPU are faster so."""
    import torch

    model.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _without_wrapper(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}

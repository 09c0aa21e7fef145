"""Training MobileViT: from a recipe and data to a checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from visionsmith.config import encode

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.mobilevit.model import MobileViT
    from visionsmith.papers.mobilevit.recipes import MobileViTRecipe
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["make_task", "train"]


def train(
    recipe: MobileViTRecipe,
    *,
    data: Path | None,
    output: Path,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train MobileViT.

    Args:
        recipe: model and settings.
        data: pictures with classes, see `data.labelled.open_labelled`; None for the built-in scenes.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show a bar.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.data.labelled import open_labelled
    from visionsmith.papers.mobilevit.evaluate import scene_side
    from visionsmith.papers.training import train_once

    def make(recipe: MobileViTRecipe, run: RunFolder, show: bool) -> Task:
        size = scene_side(recipe.size)
        return make_task(recipe, open_labelled(data, size=size, into=run.path / "records", progress=show))

    return train_once("mobilevit", recipe, make, data=data, output=output, resume=resume, progress=progress)


def make_task(recipe: MobileViTRecipe, data: Labelled) -> Task:
    """Model, objective and data of a recipe.

    Raises:
        ConfigError: the data set is smaller than the largest batch.
    """
    import torch
    from accelerate.utils import set_seed

    from visionsmith.data.labelled import PictureDataset
    from visionsmith.data.multiscale import MultiScaleBatches, SizedDataset
    from visionsmith.papers.classify import classify_task
    from visionsmith.papers.mobilevit.classifier import MobileViTClassifier
    from visionsmith.train.task import Export

    set_seed(recipe.train.seed)
    model = make_model(recipe, len(data.classes)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = {
        "model": encode(model.config),
        "classes": list(data.classes),
        "size": recipe.size,
        "resize": recipe.resize,
    }
    task = classify_task(
        "mobilevit",
        MobileViTClassifier(model, data.classes, size=recipe.size, resize=recipe.resize),
        data,
        recipe.train,
        view=View(recipe, recipe.size),
        export=lambda state: Export(config=settings, tensors=state, files={}),
        smoothing=recipe.smoothing,
    )
    if recipe.scales is None:
        return task
    size, seed = recipe.train.batch_size, recipe.train.seed
    return dataclasses.replace(
        task,
        plan=MultiScaleBatches(data.train, size, seed, scales=recipe.scales),
        dataset=SizedDataset(
            lambda side: PictureDataset(data, View(recipe, side), seed), recipe.scales.sizes
        ),
    )


class View:
    """How a picture is shown in training: a random crop at one size, mirrored, recoloured, partly erased."""

    def __init__(self, recipe: MobileViTRecipe, size: int) -> None:
        self.recipe, self.size = recipe, size

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """RGB HWC uint8 of any size -> RGB HWC uint8, size x size."""
        from visionsmith.image.augment import (
            colour_jitter,
            horizontal_flip,
            random_erasing,
            random_resized_crop,
        )

        recipe = self.recipe
        image = horizontal_flip(random_resized_crop(image, rng, self.size, scale=recipe.crop), rng)
        if change := recipe.colour:
            image = colour_jitter(image, rng, brightness=change, contrast=change, saturation=change)
        return random_erasing(image, rng, recipe.erase)


def make_model(recipe: MobileViTRecipe, classes: int) -> MobileViT:
    """A new model for so many classes, or the one that the recipe starts from."""
    from torch import nn

    from visionsmith.papers.mobilevit.model import MobileViT
    from visionsmith.papers.mobilevit.official import load_any

    if recipe.initial is None:
        return MobileViT(dataclasses.replace(recipe.model, classes=classes))
    model = load_any(recipe.initial)
    if model.config.classes != classes:
        model.config = dataclasses.replace(model.config, classes=classes)
        last = nn.Linear(model.config.last_channels, classes)
        nn.init.trunc_normal_(last.weight, std=0.02)
        nn.init.zeros_(last.bias)
        model.classifier.fc = last
    return model

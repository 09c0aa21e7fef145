"""Training CrossViT: from a recipe and data to a checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.crossvit.model import CrossViT
    from visionsmith.papers.crossvit.recipes import AugmentConfig, CrossViTRecipe
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["View", "make_model", "make_task", "train"]


def train(
    recipe: CrossViTRecipe, *, data: Path | None, output: Path, resume: bool = False, progress: bool = True
) -> Path:
    """Train CrossViT.

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
    from visionsmith.papers.training import train_once

    def make(recipe: CrossViTRecipe, run: RunFolder, show: bool) -> Task:
        size = scene_side(recipe.model.input_size)
        return make_task(recipe, open_labelled(data, size=size, into=run.path / "records", progress=show))

    return train_once("crossvit", recipe, make, data=data, output=output, resume=resume, progress=progress)


def make_task(recipe: CrossViTRecipe, data: Labelled) -> Task:
    """Model, objective and data of a recipe."""
    from accelerate.utils import set_seed

    from visionsmith.papers.classify import classify_task
    from visionsmith.papers.crossvit.classifier import CrossViTClassifier, published_resize
    from visionsmith.train.task import Export

    set_seed(recipe.train.seed)
    model = make_model(recipe, len(data.classes))
    model.gradient_checkpointing = recipe.gradient_checkpointing
    resize = published_resize(model.config) if recipe.resize is None else recipe.resize
    classifier = CrossViTClassifier(model, data.classes, resize=resize)
    return classify_task(
        "crossvit",
        classifier,
        data,
        recipe.train,
        view=View(recipe.augment, model.config.input_size),
        export=lambda state: Export(config=classifier.settings(), tensors=state, files={}),
        mix=recipe.mix,
        smoothing=recipe.smoothing,
    )


def make_model(recipe: CrossViTRecipe, classes: int) -> CrossViT:
    """A new model for so many classes, or the one that the recipe starts from, fitted to the classes and image sizes.

    Raises:
        CheckpointError: the initial weights cannot be read.
        ConfigError: the image sizes are no multiples of the initial model's patches.
    """
    from visionsmith.papers.crossvit.model import CrossViT
    from visionsmith.papers.crossvit.official import load_any

    wanted = recipe.model
    if recipe.initial is None:
        return CrossViT(dataclasses.replace(wanted, classes=classes))
    start = load_any(recipe.initial)
    config = dataclasses.replace(
        start.config, classes=classes, image_sizes=wanted.image_sizes, drop_path=wanted.drop_path
    )
    model = CrossViT(config)
    state = model.state_dict()
    for name, value in start.state_dict().items():
        if state[name].shape == value.shape:
            state[name] = value
    for branch, side in enumerate(config.grids):
        state[f"pos_embed.{branch}"] = start.positions(branch, (side, side)).detach()
    model.load_state_dict(state)
    return model


class View:
    """How a picture is shown in training: cropped, mirrored, changed and partly erased at random."""

    def __init__(self, augment: AugmentConfig, size: int) -> None:
        self.augment, self.size = augment, size

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """RGB HWC uint8 of any size -> RGB HWC uint8, size x size."""
        from visionsmith.image.augment import (
            colour_jitter,
            horizontal_flip,
            random_erasing,
            random_resized_crop,
        )
        from visionsmith.image.rand_augment import rand_augment

        augment = self.augment
        image = random_resized_crop(image, rng, self.size, scale=augment.crop)
        image = horizontal_flip(image, rng, augment.flip)
        if augment.rand_augment is not None:
            image = rand_augment(image, rng, magnitude=augment.rand_augment)
        if change := augment.colour:
            image = colour_jitter(image, rng, brightness=change, contrast=change, saturation=change)
        return random_erasing(image, rng, augment.erase)


def scene_side(size: int) -> int:
    """Side at which the built-in scenes are kept for a model of `size` px; they are drawn at 16 to 256."""
    return min(256, max(16, size))

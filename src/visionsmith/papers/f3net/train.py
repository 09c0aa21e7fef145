"""Training F3-Net: from a recipe and data to a checkpoint with a calibrated threshold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.papers.f3net.recipes import F3NetRecipe
    from visionsmith.train.run_folder import RunFolder
    from visionsmith.train.task import Task

__all__ = ["make_task", "train"]


def train(
    recipe: F3NetRecipe, *, data: Path | None, output: Path, resume: bool = False, progress: bool = True
) -> Path:
    """Train F3-Net.

    Args:
        recipe: model and settings.
        data: real and forged pictures, as `data.face_forensics.open_forgeries` takes them; None for the built-in ones.
        output: folder of the run.
        resume: go on with the run that the folder holds.
        progress: whether to show a bar.

    Returns:
        The folder of the finished checkpoint.
    """
    from visionsmith.papers.training import train_once

    def make(recipe: F3NetRecipe, run: RunFolder, show: bool) -> Task:
        return make_task(recipe, data=data, progress=show)

    return train_once("f3net", recipe, make, data=data, output=output, resume=resume, progress=progress)


def make_task(recipe: F3NetRecipe, *, data: Path | None, progress: bool = False) -> Task:
    """Model, objective and data of a recipe."""
    import torch
    from accelerate.utils import set_seed

    from visionsmith.data.face_forensics import open_forgeries
    from visionsmith.papers.f3net.detector import Detector
    from visionsmith.papers.f3net.frames import BalancedBatches, FrameDataset, collate
    from visionsmith.papers.f3net.held_out import HeldOut
    from visionsmith.papers.f3net.model import F3Net
    from visionsmith.papers.f3net.objective import ForgeryObjective
    from visionsmith.train.task import Task

    size, seed = recipe.model.image_size, recipe.train.seed
    frames = open_forgeries(data, size=size, progress=progress)
    learned = frames.select("train", recipe.compression)
    held_out = HeldOut(frames, recipe.compression)
    set_seed(seed)
    model = F3Net(recipe.model)
    if recipe.initial is not None:
        from visionsmith.papers.f3net.official import start_from_xception

        start_from_xception(model, Path(recipe.initial))
    # Depthwise convolutions are faster so, on CPUs and GPUs.
    model.streams.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    detector = Detector(model)
    forged = [index for index in learned if frames.forged[index]]
    real = [index for index in learned if not frames.forged[index]]
    objective = ForgeryObjective(model)
    return Task(
        paper="f3net",
        objective=objective,
        dataset=FrameDataset(frames, size, seed),
        plan=BalancedBatches(real, forged, recipe.train.batch_size, seed),
        collate=collate,
        export=lambda state: detector.export(
            {name.removeprefix("model."): value for name, value in state.items()}, held_out.decision
        ),
        about={
            "data": frames.name,
            "compression": recipe.compression,
            "pictures": len(learned),
            **frames.store.info().get("attributes", {}),
        },
        evaluate=lambda: held_out.measure(detector),
        samples=lambda: held_out.sheet(detector),
    )

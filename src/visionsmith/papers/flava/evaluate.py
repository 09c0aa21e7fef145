"""Measuring FLAVA: retrieval, matching, masked words and patches, and one task of each kind, beside their baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionsmith.errors import DataError

if TYPE_CHECKING:
    from visionsmith.papers.flava.flava import Flava
    from visionsmith.papers.flava.measure import Asked
    from visionsmith.papers.flava.world import World

__all__ = ["evaluate", "parts"]


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a FLAVA on pictures that it was not trained on.

    Args:
        checkpoint: its folder; None for the one that ships.
        data: pictures with captions in any form that `train` takes; None for the held-out combinations of OpenMoji.
        progress: whether to show a bar.

    Returns:
        Plain values: "ways" (zero-shot among all captions, retrieval both ways), "matching", "masked_words",
        "masked_patches" (of pairs), "masked_pictures" (of pictures alone), "image_task", "text_task", "pair_task", each
        with its baselines; "model", "data". Shares from 0 to 1. A part that the data or the model cannot give says why
        under "skipped".
    """
    from visionsmith.data.progress import DelayedBar
    from visionsmith.papers.flava.measure import ask
    from visionsmith.papers.flava.run import load
    from visionsmith.papers.flava.world import open_world

    if data is not None and not data.exists():
        raise DataError("no such file or folder", where=data, do="give --data an existing path")
    flava = load(checkpoint)
    world = open_world(data, size=flava.model.config.image.image_size, held_out=1.0, progress=progress)
    asked = ask(flava, world)
    measures = parts(flava, world, asked)
    result: dict[str, Any] = {
        "model": {
            "checkpoint": str(checkpoint) if checkpoint else "shipped",
            "parameters": sum(parameter.numel() for parameter in flava.model.parameters()),
            "image_size": flava.model.config.image.image_size,
        },
        "data": {
            "name": str(data) if data else "openmoji held-out combinations",
            "pairs": len(asked.pictures),
            "candidates": len(world.candidates),
        },
    }
    with DelayedBar("evaluate", len(measures), show=progress) as bar:
        for name, measure in measures.items():
            result[name] = measure()
            bar.advance()
    return result


def parts(flava: Flava, world: World, asked: Asked) -> dict[str, Callable[[], Mapping[str, Any]]]:
    """What is measured, by name; each is measured when it is called."""
    from visionsmith.papers.flava import measure, tasks

    def coded(measured: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        return {"skipped": "the model came without its codebook"} if flava.codebook is None else measured()

    def learned(task: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        if not world.train:
            return {"skipped": "the classifier learns from a training part, which --data does not name"}
        return task() or {"skipped": "there are too few captions of four words or more"}

    return {
        "ways": lambda: measure.ways(flava, world, asked),
        "matching": lambda: measure.matching(flava, asked),
        "masked_words": lambda: measure.masked_words(flava, asked),
        "masked_patches": lambda: coded(lambda: measure.masked_patches(flava, asked)),
        "masked_pictures": lambda: coded(lambda: measure.masked_pictures(flava, measure.alone(flava, world))),
        "image_task": lambda: tasks.image_task(flava),
        "text_task": lambda: learned(lambda: tasks.text_task(flava, world)),
        "pair_task": lambda: learned(lambda: tasks.pair_task(flava, world)),
    }

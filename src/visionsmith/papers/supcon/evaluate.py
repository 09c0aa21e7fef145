"""Measuring SupCon: its classifier, and what its features are worth without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.supcon.supcon import SupCon

__all__ = ["evaluate"]


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a model on pictures that it was not trained on.

    Args:
        checkpoint: its folder; None for the one that ships.
        data: pictures with classes in any form that `train` takes; None for the built-in test scenes.
        progress: whether to show a bar.

    Returns:
        Plain values: "classifier" (`evaluate.classify.classify_scores`), "features" ("nearest.top1": votes of the 20
        nearest training pictures; "linear.top1": a logistic regression), "baseline" (the nearest training pictures in
        pixels), "model", "data". Shares from 0 to 1. A part that the model or the data cannot give says why under
        "skipped". Features are measured on any classes, the classifier on those that it knows.
    """
    from visionsmith.data.labelled import open_labelled
    from visionsmith.data.progress import DelayedBar
    from visionsmith.papers.supcon.run import load

    supcon = load(checkpoint)
    config = supcon.model.config
    own = open_labelled(data, size=config.image_size, progress=progress)
    parts: dict[str, Callable[[], Any]] = {
        "classifier": lambda: _classifier(supcon, own, data),
        "features": lambda: _features(supcon, own),
        "baseline": lambda: supcon.pixel_baseline(own) if own.test else _NO_TEST,
    }
    result: dict[str, Any] = {
        "model": {
            "checkpoint": str(checkpoint) if checkpoint else "shipped",
            "parameters": sum(parameter.numel() for parameter in supcon.model.parameters()),
            "encoder_parameters": sum(parameter.numel() for parameter in supcon.model.encoder.parameters()),
            "image_size": config.image_size,
        },
        "data": {
            "name": own.name,
            "train": len(own.train),
            "test": len(own.test),
            "classes": len(own.classes),
        },
    }
    with DelayedBar("evaluate", len(parts), show=progress) as bar:
        for name, measure in parts.items():
            result[name] = measure()
            bar.advance()
    return result


_NO_TEST = {"skipped": "every class has one picture, so that none is left to test on"}


def _classifier(supcon: SupCon, own: Labelled, data: Path | None) -> Mapping[str, Any]:
    from visionsmith.data.labelled import open_labelled

    known = set(supcon.classes) & set(own.classes)
    if supcon.model.fc is None:
        return {"skipped": "the model is an encoder without a classifier"}
    if not known:
        return {
            "skipped": f"the data have none of the classifier's {len(supcon.classes)} classes "
            f"({', '.join(supcon.classes[:3])}, ...)"
        }
    labelled = open_labelled(data, size=supcon.model.config.image_size, classes=supcon.classes)
    return supcon.measure(labelled) if labelled.test else _NO_TEST


def _features(supcon: SupCon, own: Labelled) -> Mapping[str, Any]:
    from visionsmith.papers.supcon.neighbours import feature_scores

    return feature_scores(supcon, own, own.labels) if own.test else _NO_TEST

"""Measuring MobileViT: accuracy, calibration, and accuracy at other sizes of picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.mobilevit.classifier import MobileViTClassifier

__all__ = ["by_size", "evaluate", "scene_side"]

LARGEST_SCENE = 256
"""Largest side of the built-in scenes, pixels."""
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Sizes at which the model is measured too, as shares of its own."""


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a MobileViT.

    Args:
        checkpoint: its folder; None for the one that ships.
        data: pictures with the model's classes; None for the built-in test scenes.
        progress: whether to show a bar.

    Returns:
        Plain values: what `evaluate.classify.classify_scores` gives, "by_size" (side in pixels -> top-1), "baseline"
        (nearest pixels), "model", "data".
    """
    from visionsmith.data.labelled import open_labelled
    from visionsmith.papers.mobilevit.classifier import SMALLEST
    from visionsmith.papers.mobilevit.run import load

    classifier = load(checkpoint)
    size = classifier.size
    opened = open_labelled(data, size=scene_side(size), classes=classifier.classes, progress=progress)
    sizes = [side for factor in FACTORS if (side := round(factor * size)) >= SMALLEST]
    return {
        **classifier.measure(opened),
        "by_size": by_size(classifier, opened, sizes, progress=progress),
        "baseline": classifier.pixel_baseline(opened) if data is None else {},
        "model": {
            "checkpoint": str(checkpoint) if checkpoint else "shipped",
            "parameters": sum(parameter.numel() for parameter in classifier.model.parameters()),
            "size": size,
        },
        "data": opened.name,
    }


def by_size(
    classifier: MobileViTClassifier, data: Labelled, sizes: Sequence[int], *, progress: bool = False
) -> dict[str, float]:
    """Top-1 on the test part (share, 0 to 1) by the side in pixels at which the pictures are shown."""
    from visionsmith.data.progress import DelayedBar

    found = {}
    with DelayedBar("sizes", len(sizes), show=progress) as bar:
        for side in sizes:
            found[str(side)] = float(classifier.at(side).measure(data)["top1"])
            bar.advance()
    return found


def scene_side(size: int) -> int:
    """Side at which the built-in scenes are kept for a model of `size`, pixels: enough for every measured size."""
    return min(LARGEST_SCENE, round(max(FACTORS) * size))

"""Measuring CrossViT: accuracy, calibration, what it mistakes, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["evaluate"]


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Measure a CrossViT.

    Args:
        checkpoint: its folder; None for the one that ships.
        data: pictures with the model's classes; None for the built-in test scenes.
        progress: whether to show a bar.

    Returns:
        Plain values: what `evaluate.classify.classify_scores` gives, "baseline" (nearest pixels), "model" (checkpoint,
        fusion, size in pixels, parameters, multiply-adds for a picture), "data".
    """
    from visionsmith.data.labelled import open_labelled
    from visionsmith.papers.crossvit.cost import count_macs
    from visionsmith.papers.crossvit.run import load
    from visionsmith.papers.crossvit.train import scene_side

    classifier = load(checkpoint)
    config = classifier.network.config
    opened = open_labelled(
        data, size=scene_side(config.input_size), classes=classifier.classes, progress=progress
    )
    return {
        **classifier.measure(opened),
        "baseline": classifier.pixel_baseline(opened) if data is None else {},
        "model": {
            "checkpoint": str(checkpoint) if checkpoint else "shipped",
            "fusion": config.fusion,
            "size": config.input_size,
            "parameters": sum(parameter.numel() for parameter in classifier.network.parameters()),
            "macs": count_macs(config),
        },
        "data": opened.name,
    }

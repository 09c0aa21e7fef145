"""What `visionsmith demo` shows of CrossViT: labels of scenes it has not seen, and where its class tokens look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.report.page import Page

__all__ = ["demo"]

LOOKED_AT = 4
SHOWN = 800
"""Test scenes that are labelled: done in seconds."""


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add CrossViT's sections to the page.

    Args:
        page: of the demo.
        folder: where a picture for the commands is written.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.data.labelled import open_labelled
    from visionsmith.image.io import decode, encode_png, write_image
    from visionsmith.papers.crossvit.run import load
    from visionsmith.papers.crossvit.train import scene_side
    from visionsmith.report.tables import percent

    classifier = load()
    data = open_labelled(None, size=scene_side(classifier.network.config.input_size), progress=progress)
    scores = classifier.measure(replace(data, test=data.some_test(SHOWN)))
    parameters = sum(parameter.numel() for parameter in classifier.network.parameters())
    page.section(
        "CrossViT: small patches and large ones",
        f"Two transformers of {parameters / 1e6:.1f} million parameters in all read one picture in patches of two "
        f"sizes, and their class tokens look at each other's patches. {percent(scores['top1'])} of "
        f"{scores['pictures']:,} test scenes get the right one of {scores['classes']} labels, "
        f"{percent(scores['top5'])} within five answers; chance is {percent(scores['chance'])}. Neither the drawings "
        "nor the photographs behind them occur in training.",
    )
    page.figure(
        encode_png(classifier.sheet(data)),
        "Test scenes, picked at random, under the answer. Green: right.",
        "contact sheet of test scenes with answers",
    )
    indices = data.some_test(LOOKED_AT)
    looked_at = classifier.attention_sheet(
        [decode(data.store[index].image) for index in indices],
        [data.classes[data.labels[index]] for index in indices],
    )
    page.figure(
        encode_png(looked_at),
        "Where the class tokens look in the last fusion: in colour what they look at most, beside each how many times "
        "the mean that is.",
        "scenes beside pictures of the attention of both branches",
    )
    scene = folder / "crossvit-scene.png"
    write_image(scene, decode(data.store[indices[0]].image))
    return (
        f"visionsmith run crossvit {scene} --attention attention.png",
        "visionsmith train crossvit --data YOUR_FOLDER --output runs/crossvit",
    )

"""What `visionsmith demo` shows of MobileViT: scenes labelled, and one model at many sizes of picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.report.page import Page

__all__ = ["demo"]

SHOWN = 400
"""Test scenes that are labelled at each size for the page: ten a class, and done in seconds."""


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add MobileViT's section to the page.

    Args:
        page: of the demo.
        folder: where a scene is written, to try the command on.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from dataclasses import replace

    from visionsmith.data.labelled import open_labelled
    from visionsmith.image.io import decode, encode_png, write_image
    from visionsmith.papers.mobilevit.evaluate import FACTORS, by_size, scene_side
    from visionsmith.papers.mobilevit.run import load
    from visionsmith.report.plots import curves
    from visionsmith.report.tables import percent

    classifier = load()
    data = open_labelled(None, size=scene_side(classifier.size), progress=progress)
    part = replace(data, test=data.some_test(SHOWN))
    sizes = [round(factor * classifier.size) for factor in FACTORS]
    shares = by_size(classifier, part, sizes, progress=progress)
    own = shares[str(classifier.size)]
    parameters = sum(parameter.numel() for parameter in classifier.model.parameters())
    page.section(
        "MobileViT: one light model at any size of picture",
        f"{parameters:,} parameters tell {len(data.classes)} subjects apart, in drawings and before photographs that "
        f"training has not shown: {percent(own)} of {len(part.test):,} scenes at {classifier.size} px, where chance is "
        f"{percent(1 / len(data.classes))}. Training showed several sizes, and no position is embedded, so that the "
        "size of a picture is free.",
    )
    page.figure(
        curves(
            {"top-1": (sizes, [shares[str(side)] for side in sizes])},
            x="side of the picture, px",
            y="share right",
        ),
        "The same weights at other sizes.",
        "curve of accuracy over picture size",
    )
    page.figure(
        encode_png(classifier.sheet(part, count=12)), "Answers, right and wrong.", "sheet of labelled scenes"
    )
    scene = folder / "scene.png"
    write_image(scene, decode(data.store[part.test[0]].image))
    return (
        f"visionsmith run mobilevit {scene}",
        f"visionsmith run mobilevit --onnx {folder / 'mobilevit.onnx'}",
        "visionsmith train mobilevit --data YOUR_FOLDER --output runs/light",
    )

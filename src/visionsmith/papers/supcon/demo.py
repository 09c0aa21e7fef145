"""What `visionsmith demo` shows of SupCon: labels of scenes it has not seen, and pictures found by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.data.labelled import Labelled
    from visionsmith.papers.supcon.supcon import SupCon
    from visionsmith.report.page import Page

__all__ = ["demo"]

QUERIES = 4
FOUND = 6


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add SupCon's sections to the page.

    Args:
        page: of the demo.
        folder: where pictures for the commands are written.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.data.labelled import open_labelled
    from visionsmith.image.io import decode, encode_png, write_image
    from visionsmith.papers.supcon.feature_map import feature_map_of
    from visionsmith.papers.supcon.run import load
    from visionsmith.report.tables import percent

    supcon = load()
    data = open_labelled(None, size=supcon.model.config.image_size, progress=progress)
    scores = supcon.measure(data)
    page.section(
        "SupCon: features pulled together by their labels",
        f"An encoder of {_parameters(supcon):,} parameters was trained to give pictures of one class one direction; a "
        f"linear classifier on it labels {percent(scores['top1'])} of {scores['pictures']:,} test scenes rightly "
        f"({percent(scores['top5'])} within five answers; chance {percent(scores['chance'])}). Neither drawings nor "
        "photographs behind them occur in training.",
    )
    page.figure(
        encode_png(supcon.sheet(data)),
        "Test scenes, picked at random, under the answer. Green: right.",
        "contact sheet of test scenes with answers",
    )
    page.figure(
        encode_png(feature_map_of(supcon, data)),
        "600 test scenes where their features lie (t-SNE): the frame's colour is the class.",
        "map of features, scenes of one class lie together",
        width=620,
    )
    _likeness(page, supcon, data)
    scene = folder / "supcon-scene.png"
    write_image(scene, decode(data.store[data.test[0]].image))
    return (
        f"visionsmith run supcon {scene}",
        "visionsmith run supcon --similar PICTURE --in YOUR_FOLDER",
        "visionsmith train supcon --data YOUR_FOLDER --output runs/mine",
    )


def _likeness(page: Page, supcon: SupCon, data: Labelled) -> None:
    from visionsmith.report.page import GalleryItem

    features = supcon.embed_records(data, data.test)
    page.section(
        "Pictures like a picture",
        "The first of each row is asked for; then come the test scenes nearest to it in the features, with their "
        "cosine as a score and marked by whether they are of its class.",
    )
    for place in [data.test.index(index) for index in data.some_test(QUERIES)]:
        cosine = features @ features[place]
        items = []
        for near in cosine.topk(FOUND).indices.tolist():
            index = data.test[near]
            same = bool(data.labels[index] == data.labels[data.test[place]])
            items.append(
                GalleryItem(
                    png=_png(data, index),
                    caption=data.classes[data.labels[index]],
                    score=None if near == place else max(0.0, float(cosine[near])),
                    right=None if near == place else same,
                )
            )
        page.gallery(items, columns=FOUND)


def _png(data: Labelled, index: int) -> bytes:
    from visionsmith.image.io import decode, encode_png

    return encode_png(decode(data.store[index].image))


def _parameters(supcon: SupCon) -> int:
    return sum(parameter.numel() for parameter in supcon.model.encoder.parameters())

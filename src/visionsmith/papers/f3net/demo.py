"""What `visionsmith demo` shows of F3-Net: forgeries of photographs it has not seen, and where it finds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.report.page import Page

__all__ = ["demo"]

PICTURES = 240
"""Held-out pictures that the demonstration measures on, picked at random."""
WRITTEN = 8
"""Forgeries that are left for the commands."""


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add F3-Net's section to the page.

    Args:
        page: of the demo.
        folder: where pictures for the commands are written.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    from visionsmith.data.face_forensics import open_forgeries
    from visionsmith.evaluate.forgery import forgery_scores
    from visionsmith.image.io import decode, encode_png, write_image
    from visionsmith.papers.f3net.held_out import HeldOut, score
    from visionsmith.papers.f3net.run import NO_PROOF, load
    from visionsmith.report.tables import percent

    detector = load()
    frames = open_forgeries(None, size=detector.model.config.image_size, progress=progress)
    held_out = HeldOut(frames, "any")
    # Every second record is forged, so an odd step keeps both kinds.
    step = max(1, len(held_out.test) // PICTURES) | 1
    chosen = held_out.test[::step]
    scores = forgery_scores(
        score(detector, frames, chosen), frames.forged[chosen], threshold=detector.decision.threshold
    )
    parameters = sum(parameter.numel() for parameter in detector.model.parameters())
    page.section(
        "F3-Net: forged parts, found in the spectrum",
        f"A network of {parameters:,} parameters looks at the bands of a picture's spectrum and at statistics of "
        f"windows. Of {scores['pictures']:,.0f} squares of photographs that it has not seen, half of them forged and "
        f"all compressed alike, it tells {percent(scores['balanced_accuracy'])} rightly, at the threshold that was "
        f"chosen on others (AUC {scores['auc']:.3f}; chance {percent(0.5)} and 0.5).\n\n{NO_PROOF}",
    )
    page.figure(
        encode_png(held_out.sheet(detector)),
        "Forgeries, picked at random, each beside the evidence that was found in it (red). White: what was forged.",
        "forged pictures beside heat maps",
    )
    pictures = folder / "forged"
    pictures.mkdir(exist_ok=True)
    forged = [index for index in held_out.test if frames.forged[index]]
    for index in forged[:: max(1, len(forged) // WRITTEN)][:WRITTEN]:
        record = frames.store[index]
        write_image(pictures / f"{record.meta['method']}-{index}.png", decode(record.image))
    return (
        f"visionsmith run f3net {pictures}",
        "visionsmith data forge YOUR_FOLDER forged.records",
        "visionsmith train f3net --data forged.records --output runs/mine",
    )

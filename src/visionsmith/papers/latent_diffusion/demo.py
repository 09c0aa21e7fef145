"""What `visionsmith demo` shows of latent diffusion: pictures of sentences, of which many were never seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.report.page import Page

__all__ = ["demo"]

SHOWN = 18
"""Held-out captions that are painted for the page."""
STEPS = 20
SENTENCES = (
    "a woman with red hair",
    "man astronaut, dark skin tone",
    "a smiling face with sunglasses",
    "a red apple",
    "a blue heart",
    "two people holding hands",
)


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add the section of latent diffusion to the page.

    Args:
        page: of the demo.
        folder: where a painted picture is written.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    import numpy as np

    from visionsmith.data.openmoji import ATTRIBUTION
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.latent_diffusion.measure import evenly
    from visionsmith.papers.latent_diffusion.pictures import some_pictures
    from visionsmith.papers.latent_diffusion.run import load
    from visionsmith.papers.latent_diffusion.world import open_world
    from visionsmith.report.sheet import contact_sheet

    painter = load()
    world = open_world(None, size=painter.size, progress=progress)
    asked = evenly(world.held_out, SHOWN)
    captions = [world.store[index].caption for index in asked]
    painted = painter.paint(captions, steps=STEPS, progress=progress)
    real = some_pictures(world.store, asked, painter.size, len(asked)).numpy()
    beside = [np.concatenate(pair, axis=1) for pair in zip(painted, real, strict=True)]
    free = painter.paint(SENTENCES, steps=STEPS, seeds=[7] * len(SENTENCES), progress=progress)
    parts = (painter.pipeline.vae, painter.pipeline.text_encoder, painter.pipeline.unet)
    parameters = sum(p.numel() for part in parts for p in part.parameters())
    page.section(
        "Latent diffusion: pictures of sentences",
        f"{parameters / 1e6:.1f} million parameters, trained from nothing on {len(world.train):,} emoji on a laptop's "
        "processor. Below, on the left of each pair, what it paints for captions whose picture it has never seen, and "
        "on the right that picture: not a selection, but every so many of the held-out ones.",
    )
    page.figure(
        encode_png(contact_sheet(beside, captions, columns=6)),
        "Painted, and the true picture that was kept from training.",
        "sheet of painted pictures beside the true ones",
    )
    page.figure(
        encode_png(contact_sheet(list(free), list(SENTENCES), columns=6)),
        "Sentences in other words.",
        "sheet of pictures painted for free sentences",
    )
    page.note(ATTRIBUTION)
    write_image(folder / "painted.png", free[0])
    return (
        'visionsmith run latent_diffusion "a woman with red hair" --count 4 --output painted.png',
        "visionsmith run latent_diffusion --export stable-diffusion-folder",
        "visionsmith train latent_diffusion --data YOUR_FOLDER --output runs/painter",
    )

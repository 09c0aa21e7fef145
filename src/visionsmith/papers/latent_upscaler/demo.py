"""What `visionsmith demo` shows of the x2 latent upscaler: held-out emoji, halved and enlarged again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visionsmith.report.page import Page

__all__ = ["demo"]

SHOWN = 6
"""Held-out pictures."""
STEPS = 4


def demo(page: Page, *, folder: Path, progress: bool) -> Sequence[str]:
    """Add the section of the x2 latent upscaler to the page.

    Args:
        page: of the demo.
        folder: where a small picture is written, to try the command on.
        progress: whether to show bars.

    Returns:
        Commands that a user would type next.
    """
    import numpy as np

    from visionsmith.data.openmoji import ATTRIBUTION, drawing
    from visionsmith.image.channels import convert
    from visionsmith.image.io import encode_png, write_image
    from visionsmith.papers.latent_diffusion import evenly, open_world
    from visionsmith.papers.latent_upscaler.measure import enlarged_pixels, pair_sheet, scores
    from visionsmith.papers.latent_upscaler.run import load
    from visionsmith.papers.latent_upscaler.samples import halved

    enlarger = load()
    size = 2 * enlarger.tile
    # The store at the small size opens in half the time; what it holds out is not trained on at the large one either.
    world = open_world(None, size=enlarger.tile, progress=progress)
    codes = [world.store[index].key for index in evenly(world.held_out, SHOWN)]
    high = np.stack([convert(drawing(code, size), "rgb") for code in codes])
    low = halved(high)
    found = enlarger.enlarge_batch(low, steps=STEPS)
    ours, bicubic = scores(found, high), scores(enlarged_pixels(low, "bicubic"), high)
    parameters = sum(p.numel() for p in enlarger.pipeline.unet.parameters())
    page.section(
        "x2 latent upscaler: twice the sides",
        f"{parameters / 1e6:.1f} million parameters turn the latents of a small picture into those of a large one. "
        f"Below, emoji that were kept from training, halved to {enlarger.tile} px and enlarged again to {size} px. "
        f"Mean of these: upscaler {ours['psnr']:.1f} dB and SSIM {ours['ssim']:.3f}, bicubic {bicubic['psnr']:.1f} dB "
        f"and {bicubic['ssim']:.3f}.",
    )
    page.figure(
        encode_png(pair_sheet(low, found, high)),
        "Bicubic, the upscaler, and the true picture, with the signal-to-noise ratio of each.",
        "sheet of enlarged pictures beside the true ones",
    )
    page.note(ATTRIBUTION)
    write_image(folder / "small.png", low[0])
    return (
        f"visionsmith run latent_upscaler {folder / 'small.png'} --output big.png",
        "visionsmith run latent_upscaler --export upscaler-folder",
        "visionsmith train latent_upscaler --data YOUR_FOLDER --output runs/upscaler",
    )

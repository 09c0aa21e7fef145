"""Make the picture of docs/papers/latent_upscaler.md.

    python docs/upscaler_sheet.py

It shows every so many of the held-out pictures that `visionsmith evaluate latent_upscaler` measures, not a selection.
"""

from __future__ import annotations

from pathlib import Path

from visionsmith.image import write_image
from visionsmith.papers.latent_diffusion import evenly, open_world
from visionsmith.papers.latent_upscaler.measure import pair_sheet, pictures_of
from visionsmith.papers.latent_upscaler.run import load

COUNT = 8
FILE = Path(__file__).parent / "images" / "latent_upscaler_pairs.png"


def main() -> None:
    """Enlarge held-out pictures with the checkpoint that ships, and lay them out."""
    enlarger = load()
    size = 2 * enlarger.tile
    world = open_world(None, size=size, progress=True)
    low, high = pictures_of(world, evenly(world.held_out, COUNT), size)
    write_image(FILE, pair_sheet(low, enlarger.enlarge_batch(low, progress=True), high))


if __name__ == "__main__":
    main()

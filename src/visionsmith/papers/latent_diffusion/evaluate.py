"""Measuring: pictures painted for captions that were kept from training, and for captions of the training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["evaluate"]

COUNT = 300
"""Captions of each kind."""
STEPS = 20
GUIDANCE = 3.0


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Paint and judge.

    Args:
        checkpoint: of the project, or a folder of diffusers; None for the one that ships.
        data: captioned pictures; None for the built-in ones.
        progress: whether to show a bar.

    Returns:
        "held_out" and "seen": each with figures (see `measure.Judge.scores`) of "painted" pictures, of the "nearest"
        training picture by caption (of held-out captions), and of the "real" pictures themselves. "autoencoder": how
        well held-out pictures come back from their latents. "settings": of the sampler.
    """
    from visionsmith.papers.latent_diffusion.autoencoder import scores
    from visionsmith.papers.latent_diffusion.measure import Judge, evenly
    from visionsmith.papers.latent_diffusion.pictures import some_pictures
    from visionsmith.papers.latent_diffusion.run import load
    from visionsmith.papers.latent_diffusion.world import open_world

    painter = load(checkpoint)
    size = painter.size
    world = open_world(data, size=size, progress=progress)
    judge = Judge(world, size)
    found: dict[str, Any] = {}
    for kind, records in (("held_out", world.held_out), ("seen", world.train)):
        asked = evenly(records, COUNT)
        captions = [world.store[index].caption for index in asked]
        painted = painter.paint(captions, steps=STEPS, guidance=GUIDANCE, progress=progress)
        found[kind] = {"pictures": len(asked), "painted": judge.scores(painted, asked)}
        if kind == "held_out":
            found[kind]["nearest"] = judge.scores(judge.nearest(asked), asked)
        found[kind]["real"] = judge.scores(judge.real(asked), asked)
    some = some_pictures(world.store, world.held_out, size, COUNT)
    found["autoencoder"] = scores(painter.pipeline.vae, some)
    found["settings"] = {"steps": STEPS, "guidance": GUIDANCE, "captions": len(world.store)}
    return found

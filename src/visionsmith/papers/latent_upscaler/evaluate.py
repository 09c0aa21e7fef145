"""How near held-out pictures come back from half their sides, beside other ways to enlarge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["evaluate"]

COUNT = 128
"""Pictures."""
STEPS = (2, 4, 10)
"""Of the sampler."""


def evaluate(
    *, checkpoint: Path | None = None, data: Path | None = None, progress: bool = True
) -> Mapping[str, Any]:
    """Halve pictures that were kept from training, enlarge them, and compare with what they were.

    Args:
        checkpoint: of the project, or a folder of diffusers; None for the one that ships.
        data: captioned pictures; None for the built-in ones.
        progress: whether to show bars.

    Returns:
        "upscaler": by the sampler's steps, mean "psnr" (dB) and "ssim". With the most steps "upscaler and text", with
        the caption, and "uncorrected", as the latents say. "pixels": by filter. "bicubic corrected": the correction of
        an enlargement that nothing was trained for. "latents": decoded from enlarged latents, by filter.
        "autoencoder": the true picture through the autoencoder, the most that latents can reach. "pictures", "size".
    """
    import torch

    from visionsmith.papers.latent_diffusion import decode, encode, evenly, open_world
    from visionsmith.papers.latent_upscaler.measure import (
        PIXELS,
        corrected,
        enlarged_latents,
        enlarged_pixels,
        pictures_of,
        scores,
    )
    from visionsmith.papers.latent_upscaler.run import load

    enlarger = load(checkpoint)
    size = 2 * enlarger.tile
    world = open_world(data, size=size, progress=progress)
    asked = evenly(world.held_out, COUNT)
    low, high = pictures_of(world, asked, size)
    captions = [world.store[index].caption for index in asked]
    vae = enlarger.pipeline.vae
    return {
        "pictures": len(asked),
        "size": size,
        "upscaler": {
            str(steps): scores(enlarger.enlarge_batch(low, steps=steps, progress=progress), high)
            for steps in STEPS
        },
        "upscaler and text": scores(
            enlarger.enlarge_batch(low, texts=captions, steps=STEPS[-1], progress=progress), high
        ),
        "uncorrected": scores(
            enlarger.enlarge_batch(low, steps=STEPS[-1], faithful=False, progress=progress), high
        ),
        "pixels": {kind: scores(enlarged_pixels(low, kind), high) for kind in PIXELS},
        "bicubic corrected": scores(corrected(enlarged_pixels(low, "bicubic"), low), high),
        "latents": {
            kind: scores(enlarged_latents(enlarger, low, kind), high) for kind in ("nearest", "bicubic")
        },
        "autoencoder": scores(decode(vae, encode(vae, torch.from_numpy(high))), high),
    }

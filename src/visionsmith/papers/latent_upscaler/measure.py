"""How near enlarged pictures are to the true ones, beside enlargements that nothing was trained for."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from visionsmith.evaluate.similarity import psnr, ssim
from visionsmith.papers.latent_diffusion import World, decode, encode, some_pictures
from visionsmith.papers.latent_upscaler.enlarger import Enlarger
from visionsmith.papers.latent_upscaler.faithful import back_projected
from visionsmith.papers.latent_upscaler.samples import halved
from visionsmith.report.sheet import contact_sheet

__all__ = [
    "PIXELS",
    "corrected",
    "enlarged_latents",
    "enlarged_pixels",
    "pair_sheet",
    "pictures_of",
    "scores",
]

PIXELS = {"nearest": cv2.INTER_NEAREST, "bicubic": cv2.INTER_CUBIC, "Lanczos": cv2.INTER_LANCZOS4}
"""Enlargements of pixels."""


def pictures_of(world: World, records: Sequence[int], size: int) -> tuple[np.ndarray, np.ndarray]:
    """The records' pictures halved, uint8 `n size/2 size/2 3`, and as they are, `n size size 3`."""
    high = some_pictures(world.store, records, size, len(records)).numpy()
    return halved(high), high


def scores(found: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Mean "psnr" (dB) and "ssim" over pictures, uint8 `n h w 3`."""
    pairs = list(zip(found, real, strict=True))
    return {
        "psnr": float(np.mean([psnr(one, true) for one, true in pairs])),
        "ssim": float(np.mean([ssim(one, true) for one, true in pairs])),
    }


def enlarged_pixels(low: np.ndarray, kind: str) -> np.ndarray:
    """Pictures of twice the sides by a filter of `PIXELS`: uint8 `n h w 3` to `n 2h 2w 3`."""
    height, width = low.shape[1:3]
    return np.stack([cv2.resize(one, (2 * width, 2 * height), interpolation=PIXELS[kind]) for one in low])


def corrected(found: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Any enlargement corrected as the upscaler's is, see `back_projected`: uint8 `n 2h 2w 3` of both."""
    both = zip(found, low, strict=True)
    return np.stack([back_projected(large, small) for large, small in both]).round().astype(np.uint8)


def enlarged_latents(enlarger: Enlarger, low: np.ndarray, kind: str) -> np.ndarray:
    """What the decoder makes of latents that a filter ("nearest", "bicubic") enlarges: `n h w 3` to `n 2h 2w 3`."""
    vae = enlarger.pipeline.vae
    latents = encode(vae, torch.from_numpy(low))
    return decode(vae, F.interpolate(latents, scale_factor=2, mode=kind))


def pair_sheet(low: np.ndarray, found: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Each picture bicubic, enlarged by the model, and as it truly is, side by side: RGB HWC uint8.

    Args:
        low: small pictures, uint8 `n h w 3`.
        found: enlarged by the model, `n 2h 2w 3`.
        high: the true ones, likewise.
    """
    shown, said = [], []
    for bicubic, made, true in zip(enlarged_pixels(low, "bicubic"), found, high, strict=True):
        shown += [bicubic, made, true]
        said += [
            f"bicubic, {psnr(bicubic, true):.1f} dB",
            f"upscaler, {psnr(made, true):.1f} dB",
            "the true picture",
        ]
    title = f"Pictures that were kept from training, from {low.shape[1]} px to {high.shape[1]} px"
    return contact_sheet(shown, said, columns=6, cell=192, title=title)

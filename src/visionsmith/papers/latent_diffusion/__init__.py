"""Latent diffusion: text to picture in the latents of an autoencoder (Rombach et al. 2022, arXiv:2112.10752).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.latent_diffusion.autoencoder import decode, encode, make_autoencoder
    from visionsmith.papers.latent_diffusion.config import (
        AutoencoderConfig,
        LatentDiffusionConfig,
        NoiseConfig,
        TextConfig,
    )
    from visionsmith.papers.latent_diffusion.control import control_picture, with_control
    from visionsmith.papers.latent_diffusion.latents import latents_of
    from visionsmith.papers.latent_diffusion.measure import Judge, evenly
    from visionsmith.papers.latent_diffusion.model import (
        LatentDiffusion,
        make_denoiser,
        make_noise,
        make_sampler,
    )
    from visionsmith.papers.latent_diffusion.official import from_official, load_checkpoint, load_painter
    from visionsmith.papers.latent_diffusion.painter import Painter, tokenize
    from visionsmith.papers.latent_diffusion.pictures import Pictures, picture_batch, some_pictures
    from visionsmith.papers.latent_diffusion.recipes import tiny
    from visionsmith.papers.latent_diffusion.text import (
        make_text_encoder,
        make_tokenizer,
        text_config,
        text_state,
    )
    from visionsmith.papers.latent_diffusion.train import denoiser_task, starting_model
    from visionsmith.papers.latent_diffusion.world import World, open_world

__all__ = [
    "AutoencoderConfig",
    "Judge",
    "LatentDiffusion",
    "LatentDiffusionConfig",
    "NoiseConfig",
    "Painter",
    "Pictures",
    "TextConfig",
    "World",
    "control_picture",
    "decode",
    "denoiser_task",
    "encode",
    "evenly",
    "from_official",
    "latents_of",
    "load_checkpoint",
    "load_painter",
    "make_autoencoder",
    "make_denoiser",
    "make_noise",
    "make_sampler",
    "make_text_encoder",
    "make_tokenizer",
    "open_world",
    "picture_batch",
    "some_pictures",
    "starting_model",
    "text_config",
    "text_state",
    "tiny",
    "tokenize",
    "with_control",
]

_HOME = {
    "autoencoder": ("decode", "encode", "make_autoencoder"),
    "config": ("AutoencoderConfig", "LatentDiffusionConfig", "NoiseConfig", "TextConfig"),
    "control": ("control_picture", "with_control"),
    "latents": ("latents_of",),
    "measure": ("Judge", "evenly"),
    "model": ("LatentDiffusion", "make_denoiser", "make_noise", "make_sampler"),
    "official": ("from_official", "load_checkpoint", "load_painter"),
    "painter": ("Painter", "tokenize"),
    "pictures": ("Pictures", "picture_batch", "some_pictures"),
    "recipes": ("tiny",),
    "text": ("make_text_encoder", "make_tokenizer", "text_config", "text_state"),
    "train": ("denoiser_task", "starting_model"),
    "world": ("World", "open_world"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

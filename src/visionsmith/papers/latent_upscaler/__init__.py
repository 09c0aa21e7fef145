"""The Stable Diffusion x2 latent upscaler: a K-diffusion denoiser from latents to latents of twice the sides.

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.latent_upscaler.config import UpscalerConfig
    from visionsmith.papers.latent_upscaler.enlarger import Enlarger
    from visionsmith.papers.latent_upscaler.model import make_scheduler, make_upscaler
    from visionsmith.papers.latent_upscaler.official import from_official, load_enlarger

__all__ = ["Enlarger", "UpscalerConfig", "from_official", "load_enlarger", "make_scheduler", "make_upscaler"]

_HOME = {
    "config": ("UpscalerConfig",),
    "enlarger": ("Enlarger",),
    "model": ("make_scheduler", "make_upscaler"),
    "official": ("from_official", "load_enlarger"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""FLAVA: one model for pictures, texts and both (Singh et al. 2021, arXiv:2112.04482).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.flava.codebook import Codebook
    from visionsmith.papers.flava.config import FlavaConfig
    from visionsmith.papers.flava.flava import Flava
    from visionsmith.papers.flava.model import FLAVA
    from visionsmith.papers.flava.official import from_official, load_any, load_codebook

__all__ = ["FLAVA", "Codebook", "Flava", "FlavaConfig", "from_official", "load_any", "load_codebook"]

_HOME = {
    "codebook": ("Codebook",),
    "config": ("FlavaConfig",),
    "flava": ("Flava",),
    "model": ("FLAVA",),
    "official": ("from_official", "load_any", "load_codebook"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

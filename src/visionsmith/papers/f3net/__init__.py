"""F3-Net: forged faces found in the spectrum (Qian et al. 2020, arXiv:2007.09355).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.f3net.config import DecisionConfig, F3NetConfig, XceptionConfig
    from visionsmith.papers.f3net.detector import Detector, Finding
    from visionsmith.papers.f3net.fad import FAD
    from visionsmith.papers.f3net.lfs import LFS
    from visionsmith.papers.f3net.mix import MixBlock
    from visionsmith.papers.f3net.model import F3Net
    from visionsmith.papers.f3net.official import from_official, load_any

__all__ = [
    "FAD",
    "LFS",
    "DecisionConfig",
    "Detector",
    "F3Net",
    "F3NetConfig",
    "Finding",
    "MixBlock",
    "XceptionConfig",
    "from_official",
    "load_any",
]

_HOME = {
    "config": ("DecisionConfig", "F3NetConfig", "XceptionConfig"),
    "detector": ("Detector", "Finding"),
    "fad": ("FAD",),
    "lfs": ("LFS",),
    "mix": ("MixBlock",),
    "model": ("F3Net",),
    "official": ("from_official", "load_any"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

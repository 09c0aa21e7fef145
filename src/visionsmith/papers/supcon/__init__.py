"""SupCon: supervised contrastive learning (Khosla et al. 2020, arXiv:2004.11362).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.supcon.config import ResNetConfig, SupConConfig
    from visionsmith.papers.supcon.config import published as published
    from visionsmith.papers.supcon.model import SupConResNet
    from visionsmith.papers.supcon.objective import ContrastiveObjective
    from visionsmith.papers.supcon.official import from_official, load_any
    from visionsmith.papers.supcon.supcon import SupCon

__all__ = [
    "ContrastiveObjective",
    "ResNetConfig",
    "SupCon",
    "SupConConfig",
    "SupConResNet",
    "from_official",
    "load_any",
    "published",
]

_HOME = {
    "config": ("ResNetConfig", "SupConConfig", "published"),
    "model": ("SupConResNet",),
    "objective": ("ContrastiveObjective",),
    "official": ("from_official", "load_any"),
    "supcon": ("SupCon",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

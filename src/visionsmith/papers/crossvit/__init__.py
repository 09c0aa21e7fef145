"""CrossViT: two vision transformers of different patch sizes, joined by cross-attention (Chen et al. 2021, 2103.14899).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.crossvit.classifier import CrossViTClassifier
    from visionsmith.papers.crossvit.config import CrossViTConfig
    from visionsmith.papers.crossvit.config import published as published
    from visionsmith.papers.crossvit.cost import count_macs, count_parameters
    from visionsmith.papers.crossvit.model import CrossViT
    from visionsmith.papers.crossvit.official import from_official, load_any

__all__ = [
    "CrossViT",
    "CrossViTClassifier",
    "CrossViTConfig",
    "count_macs",
    "count_parameters",
    "from_official",
    "load_any",
    "published",
]

_HOME = {
    "classifier": ("CrossViTClassifier",),
    "config": ("CrossViTConfig", "published"),
    "cost": ("count_macs", "count_parameters"),
    "model": ("CrossViT",),
    "official": ("from_official", "load_any"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

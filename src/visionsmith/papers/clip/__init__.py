"""CLIP: image and text towers trained to agree (Radford et al. 2021, arXiv:2103.00020).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.clip.captions import reword
    from visionsmith.papers.clip.clip import Clip
    from visionsmith.papers.clip.config import (
        CLIPConfig,
        ModifiedResNetConfig,
        TextConfig,
        VisionTransformerConfig,
    )
    from visionsmith.papers.clip.config import published as published
    from visionsmith.papers.clip.model import CLIP
    from visionsmith.papers.clip.official import from_official, from_transformers, load_any, tokenizer_for
    from visionsmith.papers.clip.preprocess import normalise, resize_and_crop
    from visionsmith.papers.clip.run import load
    from visionsmith.papers.clip.tokenizer import ClipTokenizer

__all__ = [
    "CLIP",
    "CLIPConfig",
    "Clip",
    "ClipTokenizer",
    "ModifiedResNetConfig",
    "TextConfig",
    "VisionTransformerConfig",
    "from_official",
    "from_transformers",
    "load",
    "load_any",
    "normalise",
    "published",
    "resize_and_crop",
    "reword",
    "tokenizer_for",
]

_HOME = {
    "captions": ("reword",),
    "clip": ("Clip",),
    "config": ("CLIPConfig", "ModifiedResNetConfig", "TextConfig", "VisionTransformerConfig", "published"),
    "model": ("CLIP",),
    "official": ("from_official", "from_transformers", "load_any", "tokenizer_for"),
    "preprocess": ("normalise", "resize_and_crop"),
    "run": ("load",),
    "tokenizer": ("ClipTokenizer",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

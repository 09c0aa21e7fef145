"""MobileViT: a light classifier of convolutions and transformers (Mehta and Rastegari 2022, arXiv:2110.02178).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.mobilevit.classifier import MobileViTClassifier
    from visionsmith.papers.mobilevit.config import MobileViTConfig
    from visionsmith.papers.mobilevit.config import published as published
    from visionsmith.papers.mobilevit.folding import fold_batch_norm
    from visionsmith.papers.mobilevit.model import MobileViT, MobileViTBlock
    from visionsmith.papers.mobilevit.official import from_official, from_transformers, load_any
    from visionsmith.papers.mobilevit.onnx_file import write_onnx
    from visionsmith.papers.mobilevit.preprocess import prepare, show

__all__ = [
    "MobileViT",
    "MobileViTBlock",
    "MobileViTClassifier",
    "MobileViTConfig",
    "fold_batch_norm",
    "from_official",
    "from_transformers",
    "load_any",
    "prepare",
    "published",
    "show",
    "write_onnx",
]

_HOME = {
    "classifier": ("MobileViTClassifier",),
    "config": ("MobileViTConfig", "published"),
    "folding": ("fold_batch_norm",),
    "model": ("MobileViT", "MobileViTBlock"),
    "official": ("from_official", "from_transformers", "load_any"),
    "onnx_file": ("write_onnx",),
    "preprocess": ("prepare", "show"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

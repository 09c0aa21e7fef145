"""LLaVA: a language model that is shown what a frozen CLIP sees (Liu et al. 2023, arXiv:2304.08485).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.llava.assistant import Assistant, Chat
    from visionsmith.papers.llava.config import LanguageConfig, LlavaConfig, TowerConfig, llava_7b, llava_13b
    from visionsmith.papers.llava.conversation import encode, write
    from visionsmith.papers.llava.lora import merge_adapter
    from visionsmith.papers.llava.model import Llava
    from visionsmith.papers.llava.official import from_official, load_any, load_projector

__all__ = [
    "Assistant",
    "Chat",
    "LanguageConfig",
    "Llava",
    "LlavaConfig",
    "TowerConfig",
    "encode",
    "from_official",
    "llava_7b",
    "llava_13b",
    "load_any",
    "load_projector",
    "merge_adapter",
    "write",
]

_HOME = {
    "assistant": ("Assistant", "Chat"),
    "config": ("LanguageConfig", "LlavaConfig", "TowerConfig", "llava_7b", "llava_13b"),
    "conversation": ("encode", "write"),
    "lora": ("merge_adapter",),
    "model": ("Llava",),
    "official": ("from_official", "load_any", "load_projector"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

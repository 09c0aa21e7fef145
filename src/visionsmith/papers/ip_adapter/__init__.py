"""IP-Adapter: a picture as a prompt, by cross-attention of its own (Ye et al. 2023, arXiv:2308.06721).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.ip_adapter.adapter import IPAdapter, config_for
    from visionsmith.papers.ip_adapter.attachment import Attachment, ImagePrompt
    from visionsmith.papers.ip_adapter.config import IPAdapterConfig, ResamplerConfig
    from visionsmith.papers.ip_adapter.header import Recognised, recognise
    from visionsmith.papers.ip_adapter.official import export, from_official, load_adapter
    from visionsmith.papers.ip_adapter.projector import Resampler
    from visionsmith.papers.ip_adapter.prompter import ImagePrompter

__all__ = [
    "Attachment",
    "IPAdapter",
    "IPAdapterConfig",
    "ImagePrompt",
    "ImagePrompter",
    "Recognised",
    "Resampler",
    "ResamplerConfig",
    "config_for",
    "export",
    "from_official",
    "load_adapter",
    "recognise",
]

_HOME = {
    "adapter": ("IPAdapter", "config_for"),
    "attachment": ("Attachment", "ImagePrompt"),
    "config": ("IPAdapterConfig", "ResamplerConfig"),
    "official": ("export", "from_official", "load_adapter"),
    "projector": ("Resampler",),
    "prompter": ("ImagePrompter",),
    "header": ("Recognised", "recognise"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

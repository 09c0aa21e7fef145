"""IP-Adapter: a picture as a prompt, by cross-attention of its own (Ye et al. 2023, arXiv:2308.06721).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.ip_adapter.adapter import IPAdapter, config_for
    from visionsmith.papers.ip_adapter.attachment import Attachment, ImagePrompt
    from visionsmith.papers.ip_adapter.bases import open_painter
    from visionsmith.papers.ip_adapter.config import IPAdapterConfig, ResamplerConfig
    from visionsmith.papers.ip_adapter.flux_painter import FluxPainter
    from visionsmith.papers.ip_adapter.header import Recognised, recognise
    from visionsmith.papers.ip_adapter.official import export, from_official, load_adapter
    from visionsmith.papers.ip_adapter.projector import Resampler
    from visionsmith.papers.ip_adapter.prompter import ImagePrompter

__all__ = [
    "Attachment",
    "FluxPainter",
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
    "open_painter",
    "recognise",
]

_HOME = {
    "adapter": ("IPAdapter", "config_for"),
    "attachment": ("Attachment", "ImagePrompt"),
    "bases": ("open_painter",),
    "config": ("IPAdapterConfig", "ResamplerConfig"),
    "flux_painter": ("FluxPainter",),
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

"""ICEdit: editing by instruction, in context, with an inpainting transformer (Zhang et al. 2025, arXiv:2504.20690).

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.icedit.adapter import Adapter, Attachment, Usage, adapter_for
    from visionsmith.papers.icedit.checkpoints import load_editor, load_filler
    from visionsmith.papers.icedit.config import AdapterConfig, FillerConfig, TransformerConfig
    from visionsmith.papers.icedit.editor import EarlyFilter, Editor, Parts
    from visionsmith.papers.icedit.judges import ClipJudge, EndpointJudge, NearestJudge, tournament
    from visionsmith.papers.icedit.official import export, from_official, load_adapter, recognise

__all__ = [
    "Adapter",
    "AdapterConfig",
    "Attachment",
    "ClipJudge",
    "EarlyFilter",
    "Editor",
    "EndpointJudge",
    "FillerConfig",
    "NearestJudge",
    "Parts",
    "TransformerConfig",
    "Usage",
    "adapter_for",
    "export",
    "from_official",
    "load_adapter",
    "load_editor",
    "load_filler",
    "recognise",
    "tournament",
]

_HOME = {
    "adapter": ("Adapter", "Attachment", "Usage", "adapter_for"),
    "checkpoints": ("load_editor", "load_filler"),
    "config": ("AdapterConfig", "FillerConfig", "TransformerConfig"),
    "editor": ("EarlyFilter", "Editor", "Parts"),
    "judges": ("ClipJudge", "EndpointJudge", "NearestJudge", "tournament"),
    "official": ("export", "from_official", "load_adapter", "recognise"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

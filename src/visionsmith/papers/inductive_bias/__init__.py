"""Inductive bias: FCN, CNN, RNN, GNN and Transformer of one size on one task.

The public names are loaded on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsmith.papers.inductive_bias.config import ARCHITECTURES, ExperimentConfig
    from visionsmith.papers.inductive_bias.experiment import Experiment, Results
    from visionsmith.papers.inductive_bias.models import build
    from visionsmith.papers.inductive_bias.probes import probe

__all__ = ["ARCHITECTURES", "Experiment", "ExperimentConfig", "Results", "build", "probe"]

_HOME = {
    "config": ("ARCHITECTURES", "ExperimentConfig"),
    "experiment": ("Experiment", "Results"),
    "models": ("build",),
    "probes": ("probe",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The processes of a run."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState

__all__ = ["on_cpu", "processes"]


def on_cpu() -> bool:
    """Whether several processes were launched on a machine without an accelerator.

    Accelerate must be told: left alone it takes each of them for a run of its own, and all write to the same folder.
    """
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.accelerator.is_available()


def processes() -> PartialState:
    """This process's place among the others; starts the communication on first use."""
    return PartialState(cpu=on_cpu())

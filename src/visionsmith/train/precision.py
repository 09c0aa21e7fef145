"""Which compute type a machine is fast at."""

from __future__ import annotations

import dataclasses

import torch

from visionsmith.train.recipe import TrainConfig

__all__ = ["has_bfloat16", "settle_precision"]


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by itself.

    A CPU without it does so by emulation: on one with AVX2 only a step of the tiny CLIP took 26 s in bfloat16 and
    2.5 s in float32; with AVX-512 it is the other way round.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a build without oneDNN
        return False


def settle_precision(config: TrainConfig) -> TrainConfig:
    """The settings with `precision` decided where it is "auto", so that a run records what it computed in."""
    if config.precision != "auto":
        return config
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    fast = has_bfloat16(device or torch.device("cpu"))
    return dataclasses.replace(config, precision="bf16" if fast else "fp32")

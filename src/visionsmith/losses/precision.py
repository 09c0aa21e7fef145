"""Losses are computed in float32 or better, under autocast too: a low temperature magnifies rounding."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_float32", "full_precision"]


def at_least_float32(*tensors: Tensor) -> torch.dtype:
    """The type to compute in: float32, or the widest of the tensors' own."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def full_precision(like: Tensor) -> torch.autocast:
    """Keeps autocast from turning the products of float32 features into bfloat16."""
    return torch.autocast(like.device.type, enabled=False)

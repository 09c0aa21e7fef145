"""Weights made elsewhere as float32 masters of a model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from visionsmith.keys import require_keys

__all__ = ["load_masters"]


def load_masters(model: nn.Module, state: Mapping[str, Tensor], *, otherwise: str) -> None:
    """Give a model the weights of a state dict, copied and in float32, which training needs.

    Args:
        model: may be on the meta device; its parameters are replaced.
        state: under the model's names, in any floating type; integers keep theirs.
        otherwise: what to do when names or shapes do not fit and no reason is recognised.

    Raises:
        CheckpointError: names or shapes do not fit; says which and why that may be.
    """
    require_keys(model.state_dict(), state, otherwise=otherwise)
    masters = {
        key: value.detach().to(dtype=torch.float32 if value.is_floating_point() else value.dtype, copy=True)
        for key, value in state.items()
    }
    model.load_state_dict(masters, assign=True)

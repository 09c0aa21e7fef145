"""An all-gather that gradients pass through.

Axes: W processes, n rows of one process.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gather_with_gradient", "world_size"]


def world_size() -> int:
    """Number of processes that train together; 1 where torch.distributed is not in use."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_with_gradient(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks.

    Backward, each process receives the sum over all processes of the gradients of its own rows. The plain
    collective has no gradient, which drops, in silence, what the other processes' losses say about them.

    Args:
        rows: `n ...`, floating point; n must be the same in every process, which is not checked.

    Returns:
        `W*n ...`, the same in every process.
    """
    if world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        gathered = rows.new_empty((world_size() * rows.shape[0], *rows.shape[1:]))
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        own = gradient.new_empty((gradient.shape[0] // world_size(), *gradient.shape[1:]))
        dist.reduce_scatter_tensor(own, gradient.contiguous(), op=dist.ReduceOp.SUM)
        return own

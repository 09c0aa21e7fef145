"""What a paper gives the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

from visionsmith.data.sampler import BatchPlan

__all__ = ["BatchCoupled", "Counted", "Export", "Task"]

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Export:
    """A model checkpoint for use: see `checkpoint.write`."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    files: dict[str, bytes]


@runtime_checkable
class BatchCoupled(Protocol):
    """An objective whose loss couples the samples of a batch, as contrastive losses do.

    With it, gradient accumulation stays exact: features of all micro-batches are computed first, the loss and its
    gradient with respect to the features come from the whole batch, and each micro-batch is then run once more with
    its share of that gradient.
    """

    def features(self, batch: Batch) -> tuple[Tensor, ...]:
        """Features of one micro-batch, samples along the first axis."""

    def loss(self, *features: Tensor) -> dict[str, Tensor]:
        """The losses of a whole batch's features; "loss" is minimised."""


@runtime_checkable
class Counted(Protocol):
    """An objective whose losses are means over something that batches hold unequally much of, e.g. supervised tokens.

    With it, a step over several micro-batches or processes has exactly the gradient of one large batch: every part
    divides its sums by the counts of the whole.
    """

    def counts(self, batch: Batch) -> Tensor:
        """How much a micro-batch holds of what its losses are means over: float `k`, one number a loss."""

    def __call__(self, batch: Batch, counts: Tensor | None = None) -> dict[str, Tensor]:
        """The losses of a micro-batch, as sums divided by `counts`; by its own where none are given."""


@dataclass(kw_only=True)
class Task:
    """A model with its objective and data, ready for the loop."""

    paper: str
    objective: nn.Module
    """`forward(batch) -> {"loss": scalar, other scalars to log}`; holds the model and nothing that is not saved."""
    dataset: Dataset[Any]
    """Answers `dataset[(epoch, index)]` with one sample; every random choice comes from that key."""
    plan: BatchPlan
    collate: Callable[[Sequence[Any]], Batch]
    export: Callable[[dict[str, Tensor]], Export]
    """The objective's state dict (on the CPU) -> the checkpoint for use."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the checkpoint's card says of the data: source, licence, split, ..."""
    after_step: Callable[[], None] | None = None
    """Called after each optimiser step, e.g. to clamp a temperature in place."""
    evaluate: Callable[[], Mapping[str, float]] | None = None
    """Measures the objective's model as it stands, in evaluation mode."""
    samples: Callable[[], np.ndarray] | None = None
    """A picture (HWC uint8) that shows what the model does now."""

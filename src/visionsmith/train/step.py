"""One optimiser step's losses and gradients, with exact accumulation over micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from visionsmith.train.task import Batch, BatchCoupled, Counted

__all__ = ["Stepper", "backward"]

Losses = dict[str, Tensor]


class Stepper(nn.Module):
    """An objective behind a single `forward`, the only way through which wrappers for several processes see a module.

    - `forward(batch)`: the losses of a batch.
    - `forward(batch, counts=...)`: a micro-batch's share of the losses of a whole step.
    - `forward(batch, want="features")`: the features of a micro-batch.
    - `forward(features=...)`: the losses of a whole batch's features.
    - `forward(batch, gradients=..., head=...)`: a scalar whose gradient is the micro-batch's share of the loss's.
    """

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(
        self,
        batch: Batch | None = None,
        *,
        want: str = "losses",
        features: Sequence[Tensor] | None = None,
        gradients: Sequence[Tensor] | None = None,
        head: dict[str, Tensor] | None = None,
        counts: Tensor | None = None,
    ) -> Losses | tuple[Tensor, ...] | Tensor:
        """See the class."""
        if features is not None:
            assert isinstance(self.objective, BatchCoupled)
            return self.objective.loss(*features)
        assert batch is not None, "a batch or features are needed"
        if want == "features" or gradients is not None:
            assert isinstance(self.objective, BatchCoupled)
            own = self.objective.features(batch)
            if gradients is None:
                return own
            surrogate = sum(
                (
                    (feature.float() * gradient).sum()
                    for feature, gradient in zip(own, gradients, strict=True)
                ),
                start=torch.zeros((), device=own[0].device),
            )
            parameters = dict(self.objective.named_parameters())
            for name, gradient in (head or {}).items():
                surrogate = surrogate + (parameters[name] * gradient).sum()
            return surrogate
        losses: Losses = self.objective(batch) if counts is None else self.objective(batch, counts)
        return losses


def backward(accelerator: Accelerator, stepper: nn.Module, parts: Sequence[Batch]) -> Losses:
    """Run the micro-batches of one step and accumulate the gradient of their common loss.

    Args:
        accelerator: of this process.
        stepper: a `Stepper`, wrapped or not.
        parts: this process's micro-batches.

    Returns:
        Detached scalars: "loss" and whatever else the objective reports, of the whole step.
    """
    objective = accelerator.unwrap_model(stepper).objective
    if isinstance(objective, Counted):
        return _backward_counted(accelerator, stepper, parts)
    if len(parts) == 1:
        losses: Losses = stepper(parts[0])
        accelerator.backward(losses["loss"])
        return _detached(losses)
    if isinstance(objective, BatchCoupled):
        return _backward_coupled(accelerator, stepper, parts)
    total: Losses = {}
    for place, part in enumerate(parts):
        with _synchronised(accelerator, stepper, last=place == len(parts) - 1):
            losses = stepper(part)
            accelerator.backward(losses["loss"] / len(parts))
        for name, value in losses.items():
            total[name] = total.get(name, torch.zeros_like(value)) + value.detach() / len(parts)
    return total


def _backward_counted(accelerator: Accelerator, stepper: nn.Module, parts: Sequence[Batch]) -> Losses:
    objective: Counted = accelerator.unwrap_model(stepper).objective
    own = torch.stack([objective.counts(part) for part in parts]).sum(dim=0)
    # Gradients are averaged over the processes, so each divides by their mean count. 0 of something is a loss of 0.
    counts = accelerator.reduce(own, reduction="mean").clamp(min=1e-9)
    total: Losses = {}
    for place, part in enumerate(parts):
        with _synchronised(accelerator, stepper, last=place == len(parts) - 1):
            losses = stepper(part, counts=counts)
            accelerator.backward(losses["loss"])
        for name, value in losses.items():
            total[name] = total.get(name, torch.zeros_like(value)) + value.detach()
    return total


def _backward_coupled(accelerator: Accelerator, stepper: nn.Module, parts: Sequence[Batch]) -> Losses:
    objective: nn.Module = accelerator.unwrap_model(stepper).objective
    buffers = {name: buffer.clone() for name, buffer in objective.named_buffers()}
    states = []
    with torch.no_grad():
        features = []
        for part in parts:
            states.append(_random_state(accelerator))
            features.append(stepper(part, want="features"))
        # The second pass updates running statistics and draws random numbers again, exactly as one pass would have.
        for name, buffer in objective.named_buffers():
            buffer.copy_(buffers[name])
    whole = [torch.cat(pieces).float().requires_grad_() for pieces in zip(*features, strict=True)]
    trainable = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    with accelerator.no_sync(stepper):
        losses = stepper(features=whole)
        found = torch.autograd.grad(losses["loss"], [*whole, *trainable.values()], allow_unused=True)
    head = {
        name: gradient
        for name, gradient in zip(trainable, found[len(whole) :], strict=True)
        if gradient is not None
    }
    after = _random_state(accelerator)
    sizes = [len(pieces[0]) for pieces in features]
    shares = zip(*(torch.split(gradient, sizes) for gradient in found[: len(whole)]), strict=True)
    for place, (part, gradients, state) in enumerate(zip(parts, shares, states, strict=True)):
        last = place == len(parts) - 1
        _set_random_state(accelerator, state)
        with _synchronised(accelerator, stepper, last=last):
            accelerator.backward(stepper(part, gradients=gradients, head=head if last else None))
    _set_random_state(accelerator, after)
    return _detached(losses)


def _synchronised(
    accelerator: Accelerator, stepper: nn.Module, *, last: bool
) -> AbstractContextManager[None]:
    """Processes exchange gradients once a step, with the last micro-batch."""
    return nullcontext() if last else accelerator.no_sync(stepper)


def _detached(losses: Losses) -> Losses:
    return {name: value.detach() for name, value in losses.items()}


def _random_state(accelerator: Accelerator) -> tuple[Tensor, Tensor | None]:
    on_gpu = accelerator.device.type == "cuda"
    return torch.get_rng_state(), torch.cuda.get_rng_state(accelerator.device) if on_gpu else None


def _set_random_state(accelerator: Accelerator, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], accelerator.device)

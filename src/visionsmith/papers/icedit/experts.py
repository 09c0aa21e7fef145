"""Low-rank updates of a Linear, and a mixture of them of which each token takes one (sec. 3.3).

    update(x) = scale * B A x                                  plain
    update(x) = scale * sum_e gate_e(x) * B_e A_e x            experts; the gate is 0 but for one

The experts' matrices are kept stacked: A of all is one matrix, B of all another, and between the two products the
states of each expert are multiplied by its gate. That is the sum above, in two large products of matrices.

Axes: n tokens of any number of axes, i inputs, o outputs, r ranks, e experts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visionsmith.papers.icedit.config import Router

__all__ = ["ExpertLowRank", "LowRank", "Routing"]


@dataclass(frozen=True)
class Routing:
    """Where the tokens of one layer went."""

    chosen: Tensor
    """The expert of each token, int64 `n`."""
    probabilities: Tensor
    """Of each expert by the router, float32 `n e`; with the "published" router without gradient."""

    def counts(self) -> Tensor:
        """How many tokens of a sample took each expert, int64 `b e`; the first axis of the tokens is the samples."""
        experts = torch.arange(self.probabilities.shape[-1], device=self.chosen.device)
        return (self.chosen.reshape(len(self.chosen), -1, 1) == experts).sum(dim=1)

    def balance(self) -> Tensor:
        """The balance loss of Switch Transformers (arXiv 2101.03961, equation 4) before its weight, float32 scalar.

        The share of tokens that an expert got, times its mean probability, summed over experts, times their number:
        1 when tokens are spread evenly, up to the number of experts when all take one.
        """
        experts = self.probabilities.shape[-1]
        counts = self.counts().sum(dim=0)
        # Counts have no gradient; the loss moves the probabilities.
        share = counts / self.chosen.numel()
        return experts * (share * self.probabilities.reshape(-1, experts).mean(dim=0)).sum()


class LowRank(nn.Module):
    """The plain update. A begins random, B as zeros, so that the update begins as zeros."""

    def __init__(self, inputs: int, outputs: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.lora_A = nn.Linear(inputs, rank, bias=False)
        self.lora_B = nn.Linear(rank, outputs, bias=False)
        _begin(self.lora_A, self.lora_B)

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        """`n i` to `n o`, times a factor."""
        states: Tensor = self.lora_A(x)
        # The states are the smallest place to multiply.
        if (scale := self.scale * factor) != 1:
            states = states * scale
        update: Tensor = self.lora_B(states)
        return update


class ExpertLowRank(nn.Module):
    """Several updates, of which a router gives each token one.

    Router "switch": the expert's gate is its probability among all experts, so that the router learns (arXiv
    2101.03961, equation 2). Router "published": the public code takes the softmax over the logits that were selected.
    Of one logit that is 1, and its gradient 0: the gate is 1, and the router stays as it began.
    """

    def __init__(
        self, inputs: int, outputs: int, rank: int, alpha: float, *, experts: int, router: Router
    ) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.rank, self.experts, self.router = rank, experts, router
        self.lora_A = nn.Linear(inputs, experts * rank, bias=False)
        """`(e r) i`: the matrices of the experts one below the other."""
        self.lora_B = nn.Linear(experts * rank, outputs, bias=False)
        """`o (e r)`: the matrices of the experts side by side."""
        self.lora_route = nn.Linear(inputs, experts, bias=False)
        # The bounds depend on the inputs alone, so that the stacked matrix begins as each expert's own would.
        _begin(self.lora_A, self.lora_B)

    def route(self, x: Tensor) -> Routing:
        """Choose an expert for each token.

        Args:
            x: `n i`.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.router == "switch"):
            probabilities = torch.softmax(self.lora_route(x).float(), dim=-1)
        return Routing(probabilities.argmax(dim=-1), probabilities)

    def forward(self, x: Tensor, factor: float = 1.0) -> tuple[Tensor, Routing]:
        """`n i` to `n o`, times a factor, and where the tokens went."""
        routing = self.route(x)
        gate = torch.zeros_like(routing.probabilities).scatter_(-1, routing.chosen[..., None], 1.0)
        if self.router == "switch":
            gate = gate * routing.probabilities
        states = self.lora_A(x)
        gate = (gate * (self.scale * factor)).to(states.dtype)
        gated = (states.unflatten(-1, (self.experts, self.rank)) * gate[..., None]).flatten(-2)
        return self.lora_B(gated), routing


def _begin(first: nn.Linear, second: nn.Linear) -> None:
    # The gain of a square root of 5 is the default of a Linear, and of the public LoRA code.
    nn.init.kaiming_uniform_(first.weight, a=math.sqrt(5))
    nn.init.zeros_(second.weight)

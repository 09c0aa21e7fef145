"""Muon for the matrices inside a network, AdamW for everything else, as one optimiser.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon); the scale of the updates is that of Liu et al. 2025
(arXiv:2502.16982, sec. 2.2), so that one learning rate and one weight decay serve both kinds. torch's own class takes
matrices alone, one at a time, and multiplies in bfloat16, which processors without such instructions emulate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from visionsmith.errors import ConfigError

__all__ = ["MuonAdamW", "inner_matrices", "orthogonal"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz step (Jordan et al.): singular values end between about 0.7 and 1.2."""
_STEPS = 5
_RMS = 0.2
"""Root mean square of AdamW's updates, which Muon's are given (Liu et al., eq. 4)."""

Groups = list[dict[str, Any]]


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices with orthonormal rows or columns, about: float `k m n` -> `k m n`.

    The dtype of the products is the input's.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """One optimiser over groups of two kinds: "matrices" True (Muon) and False (AdamW)."""

    def __init__(
        self,
        groups: Groups,
        *,
        lr: float,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
        half: bool = False,
    ) -> None:
        """Make it.

        Args:
            groups: {"params", "weight_decay", "matrices"}; of a parameter of a group of matrices all dimensions but
                the first count as one: the inputs of a convolution's output.
            lr: rate of both kinds.
            momentum: of Muon, with Nesterov's correction.
            betas: of AdamW.
            eps: of AdamW.
            half: whether Muon's products are in bfloat16, of which they need no more; on CUDA they always are.

        Raises:
            ConfigError: a matrix is sharded over processes.
        """
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps})
        self.half = half
        for group in self.param_groups:
            if group["matrices"] and any(_sharded(p) for p in group["params"]):
                raise ConfigError(
                    "optimizer = muon needs whole matrices, and these are sharded over processes",
                    do="use adamw with sharding, or muon without",
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; parameters without a gradient stay."""
        assert closure is None, "the training loop computes the gradients"
        for group in self.param_groups:
            learned = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not learned:
                continue
            if group["weight_decay"]:
                torch._foreach_mul_(learned, 1 - group["lr"] * group["weight_decay"])
            (self._muon if group["matrices"] else self._adam)(learned, group)

    def _muon(self, learned: list[nn.Parameter], group: dict[str, Any]) -> None:
        moments = [self._state(p, "momentum_buffer") for p in learned]
        grads = [p.grad for p in learned if p.grad is not None]
        torch._foreach_lerp_(moments, grads, 1 - group["momentum"])
        ahead = torch._foreach_lerp(grads, moments, group["momentum"])
        # Matrices of one shape go through the products together.
        for shape in dict.fromkeys(p.shape for p in learned):
            places = [place for place, p in enumerate(learned) if p.shape == shape]
            stacked = torch.stack([ahead[place].flatten(1) for place in places])
            kept = stacked.dtype
            products = torch.bfloat16 if self.half or stacked.is_cuda else torch.float32
            updates = orthogonal(stacked.to(products)).to(kept)
            scale = group["lr"] * _RMS * math.sqrt(max(stacked.shape[1:]))
            shaped = list(updates.reshape(-1, *shape))
            torch._foreach_add_([learned[place] for place in places], shaped, alpha=-scale)

    def _adam(self, learned: list[nn.Parameter], group: dict[str, Any]) -> None:
        first = [self._state(p, "exp_avg") for p in learned]
        second = [self._state(p, "exp_avg_sq") for p in learned]
        counts = [self._state(p, "step") for p in learned]
        grads = [p.grad for p in learned if p.grad is not None]
        (beta1, beta2), eps = group["betas"], group["eps"]
        torch._foreach_add_(counts, 1)
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        for parameter, mean, square, count in zip(learned, first, second, counts, strict=True):
            at = float(count)
            size = (square / (1 - beta2**at)).sqrt_().add_(eps)
            parameter.addcdiv_(mean, size, value=-group["lr"] / (1 - beta1**at))

    def _state(self, parameter: nn.Parameter, slot: str) -> Tensor:
        state = self.state[parameter]
        if slot not in state:
            state[slot] = torch.zeros(()) if slot == "step" else torch.zeros_like(parameter)
        found: Tensor = state[slot]
        return found


def _sharded(parameter: Tensor) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(parameter, DTensor)


def inner_matrices(model: nn.Module, spared: Iterable[str], *, convolutions: bool = False) -> set[int]:
    """Ids of the parameters that Muon is for: weights of linear layers, without heads and what embeddings share.

    Args:
        model: to look through.
        spared: name patterns of parameters that are left to AdamW.
        convolutions: whether weights of two-dimensional convolutions count too.
    """
    kinds = (nn.Linear, nn.Conv2d) if convolutions else (nn.Linear,)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    patterns = list(spared)
    return {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, kinds)
        and id(module.weight) not in tables
        and not any(fnmatchcase(f"{name}.weight", pattern) for pattern in patterns)
    }
